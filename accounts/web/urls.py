"""Routes of accounts' pages."""

from __future__ import annotations

from django.urls import path

from accounts.web.budgets import budget
from accounts.web.keys import keys, revoke
from accounts.web.language import choose_language
from accounts.web.signin import sign_in, sign_in_by_link, sign_out
from accounts.web.usage import usage, usage_csv

urlpatterns = [
    path("sign-in/", sign_in, name="sign-in"),
    path("sign-in/link/<str:token>/", sign_in_by_link, name="sign-in-link"),
    path("sign-out/", sign_out, name="sign-out"),
    path("language/", choose_language, name="language"),
    path("keys/", keys, name="keys"),
    path("keys/<uuid:key>/revoke/", revoke, name="key-revoke"),
    path("usage/", usage, name="usage"),
    path("usage/csv/", usage_csv, name="usage-csv"),
    path("usage/budgets/<uuid:member>/", budget, name="budget"),
]

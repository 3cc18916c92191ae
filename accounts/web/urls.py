"""Routes of accounts' pages."""

from __future__ import annotations

from allauth.mfa.base import views as factor_views
from django.urls import include, path

from accounts.web.budgets import budget
from accounts.web.keys import finish, key_page, keys, leaked, revoke, rotate
from accounts.web.language import choose_language
from accounts.web.pages import page
from accounts.web.signin import sign_in, sign_in_by_link, sign_out
from accounts.web.signup import sign_up, sign_up_invited
from accounts.web.usage import usage, usage_csv

urlpatterns = [
    path("sign-in/", sign_in, name="sign-in"),
    path("sign-in/link/<str:token>/", sign_in_by_link, name="sign-in-link"),
    path("sign-in/code/", page(factor_views.authenticate), name="mfa_authenticate"),
    path("sign-up/", sign_up, name="sign-up"),
    path("sign-up/<str:token>/", sign_up_invited, name="sign-up-invited"),
    path("sign-out/", sign_out, name="sign-out"),
    # allauth looks these up by its own names.
    path("sign-in/", sign_in, name="account_login"),
    path("sign-up/", sign_up, name="account_signup"),
    path("sign-out/", sign_out, name="account_logout"),
    path("account/", include("accounts.web.account_urls")),
    path("language/", choose_language, name="language"),
    path("keys/", keys, name="keys"),
    path("keys/leaked/", leaked, name="key-leaked"),
    path("keys/<uuid:key>/", key_page, name="key"),
    path("keys/<uuid:key>/rotate/", rotate, name="key-rotate"),
    path("keys/<uuid:key>/finish-rotation/", finish, name="key-finish"),
    path("keys/<uuid:key>/revoke/", revoke, name="key-revoke"),
    path("usage/", usage, name="usage"),
    path("usage/csv/", usage_csv, name="usage-csv"),
    path("usage/budgets/<uuid:member>/", budget, name="budget"),
    path("", include("accounts.web.team_urls")),
]

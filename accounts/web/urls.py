"""Routes of accounts' pages."""

from __future__ import annotations

from django.urls import path

from accounts.web.keys import keys, revoke
from accounts.web.language import choose_language
from accounts.web.signin import sign_in, sign_in_by_link, sign_out

urlpatterns = [
    path("sign-in/", sign_in, name="sign-in"),
    path("sign-in/link/<str:token>/", sign_in_by_link, name="sign-in-link"),
    path("sign-out/", sign_out, name="sign-out"),
    path("language/", choose_language, name="language"),
    path("keys/", keys, name="keys"),
    path("keys/<uuid:key>/revoke/", revoke, name="key-revoke"),
]

"""Routes under /account/: our pages, and those of allauth's that we use. What is not named here is not served.

The names with an underscore are allauth's, which it looks up by itself.
"""

from __future__ import annotations

from allauth.account import views as account_views
from allauth.mfa.base import views as factor_views
from allauth.mfa.recovery_codes import views as code_views
from allauth.mfa.totp import views as totp_views
from django.urls import path, re_path

from accounts.web.account import account, change_email
from accounts.web.delete_account import delete_account
from accounts.web.pages import page
from accounts.web.sessions import end_one, end_others, sessions
from accounts.web.signup import verify_email
from accounts.web.throttle import RESET

urlpatterns = [
    path("", account, name="account"),
    path("sessions/", sessions, name="sessions"),
    path("sessions/<int:session>/end/", end_one, name="session-end"),
    path("sessions/end-others/", end_others, name="sessions-end-others"),
    path("delete/", delete_account, name="account-delete"),
    path("confirm/", page(account_views.reauthenticate), name="account_reauthenticate"),
    path("inactive/", page(account_views.account_inactive), name="account_inactive"),
    path("email/", page(change_email), name="account_email"),
    path("verify/", page(account_views.email_verification_sent), name="account_email_verification_sent"),
    re_path(r"^verify/(?P<key>[-:\w]+)/$", verify_email, name="account_confirm_email"),
    path("password/", page(account_views.password_change), name="account_change_password"),
    path("password/set/", page(account_views.password_set), name="account_set_password"),
    path("password/reset/", page(account_views.password_reset, throttle=RESET), name="account_reset_password"),
    path("password/reset/sent/", page(account_views.password_reset_done), name="account_reset_password_done"),
    path(
        "password/reset/done/",
        page(account_views.password_reset_from_key_done),
        name="account_reset_password_from_key_done",
    ),
    re_path(
        r"^password/reset/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>[-\w]+)/$",
        page(account_views.password_reset_from_key),
        name="account_reset_password_from_key",
    ),
    path("second-factor/", page(factor_views.index), name="mfa_index"),
    path("second-factor/confirm/", page(factor_views.reauthenticate), name="mfa_reauthenticate"),
    path("second-factor/set-up/", page(totp_views.activate_totp), name="mfa_activate_totp"),
    path("second-factor/remove/", page(totp_views.deactivate_totp), name="mfa_deactivate_totp"),
    path("second-factor/recovery-codes/", page(code_views.view_recovery_codes), name="mfa_view_recovery_codes"),
    path(
        "second-factor/recovery-codes/new/",
        page(code_views.generate_recovery_codes),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "second-factor/recovery-codes/download/",
        page(code_views.download_recovery_codes),
        name="mfa_download_recovery_codes",
    ),
]

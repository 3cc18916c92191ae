"""The forms of the account pages; allauth's views call them by the names in its settings (`ACCOUNT_FORMS`)."""

from __future__ import annotations

from typing import Any

from allauth.account.internal import flows
from allauth.account.models import EmailAddress
from allauth.core import context as allauth_context
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY, generate_totp_secret
from django import forms
from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.domain.audit import record
from accounts.domain.deletion import Pictures
from accounts.domain.factors import spend_code, step_of
from accounts.domain.names import is_one_line, is_plain_email
from accounts.domain.sealed import Unreadable, seal, unseal
from accounts.models import User
from accounts.models.user import normal_email
from accounts.web.known import is_known
from accounts.web.throttle import CODE, CODE_ANYWHERE, CONFIRM, NEW_EMAIL, NOWHERE, Throttle, words_of_waiting

PASSWORD_NOTE = _("At least 10 characters: a few words that only you would put together.")


def check_one_line(text: str) -> None:
    """Raise `ValidationError` for a name with lines of its own: it stands in mails to people who do not know it."""
    if not is_one_line(text):
        raise ValidationError(_("One line of letters, please: this has hidden characters in it."))


def text_field(label: Any, **attributes: Any) -> forms.CharField:
    """A line of text."""
    widget = forms.TextInput(attrs={"class": "input", **attributes})
    return forms.CharField(label=label, max_length=120, validators=[check_one_line], widget=widget)


def check_plain_email(email: str) -> None:
    """Raise `ValidationError` for an address that looks like another one, or is no text."""
    if not is_plain_email(email):
        raise ValidationError(EmailValidator.message)


def email_field(**attributes: Any) -> forms.EmailField:
    """An e-mail address."""
    widget = forms.EmailInput(attrs={"class": "input", "autocomplete": "email", **attributes})
    return forms.EmailField(label=_("E-mail"), max_length=254, widget=widget, validators=[check_plain_email])


def password_field(label: Any, *, is_new: bool = False, **attributes: Any) -> forms.CharField:
    """A password, the present one or a new one."""
    complete = "new-password" if is_new else "current-password"
    widget = forms.PasswordInput(attrs={"class": "input", "autocomplete": complete, **attributes})
    note = PASSWORD_NOTE if is_new else ""
    return forms.CharField(label=label, max_length=1024, strip=False, widget=widget, help_text=note)


def code_field(note: Any = "") -> forms.CharField:
    """A code of a second factor."""
    attributes = {"class": "input", "autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}
    widget = forms.TextInput(attrs=attributes)
    return forms.CharField(label=_("Code"), max_length=40, widget=widget, help_text=note)


class SignUpForm(forms.Form):
    """A new person."""

    name = text_field(_("Name"), autocomplete="name", autofocus=True)
    email = email_field()
    password = password_field(_("Password"), is_new=True)

    def clean_email(self) -> str:
        return normal_email(self.cleaned_data["email"])

    def clean(self) -> dict[str, Any]:
        """Weak passwords are refused, also those that are much like the rest of the form."""
        data = self.cleaned_data
        if "password" in data:
            person = User(email=data.get("email", ""), name=data.get("name", ""))
            try:
                validate_password(data["password"], person)
            except ValidationError as error:
                self.add_error("password", error)
        return data


class ProfileForm(forms.Form):
    """Name and language."""

    name = text_field(_("Name"), autocomplete="name")
    language = forms.ChoiceField(
        label=_("Language of pages and mails"),
        required=False,
        choices=[("", _("As my browser says")), *settings.LANGUAGES],
        widget=forms.Select(attrs={"class": "input"}),
    )


class DeletionForm(forms.Form):
    """What becomes of the pictures."""

    pictures = forms.ChoiceField(choices=Pictures.choices, widget=forms.RadioSelect)


class PersonForm(forms.Form):
    """allauth hands over whose form it is."""

    def __init__(self, *args: Any, user: User | None = None, **kwargs: Any) -> None:
        self.user = user
        super().__init__(*args, **kwargs)

    @property
    def person(self) -> User:
        """Whose form it is."""
        assert self.user is not None  # noqa: S101  (only for people who are signed in, or hold a link to reset)
        return self.user


class NewPasswordForm(PersonForm):
    """A password for somebody who has none or does not know it."""

    password = password_field(_("New password"), is_new=True)

    def __init__(self, *args: Any, temp_key: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        validate_password(password, self.person)
        return password

    def save(self) -> None:
        """Set it."""
        flows.password_change.change_password(self.person, self.cleaned_data["password"])


class ChangePasswordForm(NewPasswordForm):
    """The old one and a new one."""

    field_order = ("oldpassword", "password")
    oldpassword = password_field(_("Present password"), autofocus=True)

    def clean_oldpassword(self) -> str:
        return check_own_password(self.person, self.cleaned_data["oldpassword"])


class ConfirmForm(PersonForm):
    """The password again, before something that matters."""

    password = password_field(_("Password"), autofocus=True)

    def clean_password(self) -> str:
        return check_own_password(self.person, self.cleaned_data["password"])


class AskResetForm(forms.Form):
    """For which address a link to a new password is wanted. Known and unknown ones take the same way."""

    email = email_field(autofocus=True)

    def clean_email(self) -> str:
        return normal_email(self.cleaned_data["email"])

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Send a mail: with a link, or that there is no account."""
        email: str = self.cleaned_data["email"]
        # By our own row: an address that somebody merely wants to change to must not get their links.
        people = [person for person in User.objects.with_email(email) if person.is_active]
        with transaction.atomic():
            target = f"user:{people[0].pk}" if people else ""
            record("password.reset_asked", target=target, result="ok" if people else "unknown", personal=True)
            flows.password_reset.request_password_reset(request, email, people, PasswordResetTokenGenerator())
        return email


class NewEmailForm(PersonForm):
    """Another address; it takes the present one's place when it is verified."""

    email = email_field(autofocus=True)

    def clean_email(self) -> str:
        email = normal_email(self.cleaned_data["email"])
        if email == self.person.email:
            raise ValidationError(_("This is your address already."))
        _try(NEW_EMAIL, self.person)
        _count(NEW_EMAIL, self.person)
        return email

    def save(self, request: HttpRequest) -> Any:
        """Send a link there."""
        record("email.change_asked", target=f"user:{self.person.pk}", personal=True)
        return EmailAddress.objects.add_new_email(request, self.person, self.cleaned_data["email"])


class SetUpForm(ActivateTOTPForm):
    """The first code of a new app. Its secret lies sealed in the session until then."""

    code = code_field()

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        self.user = user
        forms.Form.__init__(self, *args, **kwargs)
        self.secret = _pending_secret(fresh=not self.is_bound)

    def clean_code(self) -> str:
        code: str = super().clean_code()
        # Until the factor is there, which remembers it: this code too works once (accounts/web/receivers.py).
        allauth_context.request.totp_step = step_of(secret=self.secret, code=code)
        return code


class CodeForm(AuthenticateForm):
    """The second factor at sign-in: a code of the app, or a recovery code."""

    code = code_field(_("From your app, or one of your recovery codes."))

    def clean_code(self) -> str:
        user: User = self.user
        _try(CODE, user)
        request = allauth_context.request
        if not is_known(request, user.pk) and (wait_s := CODE_ANYWHERE.wait(person=_anywhere(user), address=NOWHERE)):
            raise _too_many(wait_s)
        return str(_spend(self, CODE))


class ConfirmCodeForm(ReauthenticateForm):
    """The second factor again, before something that matters."""

    code = code_field(_("From your app, or one of your recovery codes."))

    def clean_code(self) -> str:
        _try(CONFIRM, self.user)
        return str(_spend(self, CONFIRM))


def check_own_password(user: User, password: str) -> str:
    """The password, if it is this person's; tries are counted."""
    _try(CONFIRM, user)
    if not user.check_password(password):
        _count(CONFIRM, user)
        record("confirm", target=f"user:{user.pk}", result="refused", personal=True)
        raise ValidationError(_("This is not your password."))
    CONFIRM.forget(person=str(user.pk), address=_address())
    return password


def _spend(form: Any, throttle: Throttle) -> str:
    user: User = form.user
    code: str = form.cleaned_data["code"]
    factor = spend_code(user=user.pk, code=code)
    if factor is None:
        _count(throttle, user)
        CODE_ANYWHERE.count(person=_anywhere(user), address=NOWHERE)
        record("second_factor", target=f"user:{user.pk}", result="refused", personal=True)
        raise ValidationError(_("This code is wrong, too old, or was used before."))
    throttle.forget(person=str(user.pk), address=_address())
    factor.user = user
    form.authenticator = factor
    return code


def _pending_secret(*, fresh: bool) -> str:
    session = allauth_context.request.session
    if not fresh:
        try:
            return str(unseal(session.get(SECRET_SESSION_KEY, "")))
        except Unreadable:
            pass  # the session is another one by now: a new secret, whose code is not the one that was typed
    secret = str(generate_totp_secret())
    session[SECRET_SESSION_KEY] = seal(secret)
    return secret


def _anywhere(user: User) -> str:
    """Whose codes from anywhere are counted. Only who knows the password can try any, so a new one begins anew."""
    return f"{user.pk} {user.password}"


def _try(throttle: Throttle, user: User) -> None:
    if wait_s := throttle.wait(person=str(user.pk), address=_address()):
        raise _too_many(wait_s)


def _count(throttle: Throttle, user: User) -> None:
    throttle.count(person=str(user.pk), address=_address())


def _too_many(wait_s: int) -> ValidationError:
    allauth_context.request.wait_s = wait_s  # for the status and `Retry-After` of the answer (accounts/web/pages.py)
    return ValidationError(words_of_waiting(wait_s))


def _address() -> str | None:
    found: str | None = getattr(allauth_context.request, "client_address", None)
    return found

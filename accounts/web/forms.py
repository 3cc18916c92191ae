"""The forms of accounts' pages."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.domain.callers import Caller
from accounts.enums import Scope


class SignInForm(forms.Form):
    """Who and with which password; whether they are right is the view's business."""

    email = forms.EmailField(
        label=_("E-mail"),
        max_length=254,
        widget=forms.EmailInput(attrs={"class": "input", "autocomplete": "username", "autofocus": True}),
    )
    password = forms.CharField(
        label=_("Password"),
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(attrs={"class": "input", "autocomplete": "current-password"}),
    )


class KeyForm(forms.Form):
    """A new API key."""

    name = forms.CharField(
        label=_("Name"),
        max_length=80,
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "placeholder": _("Where it is used")}),
    )
    scopes = forms.MultipleChoiceField(
        label=_("What it may do"), choices=[], error_messages={"required": _("Choose at least one.")}
    )

    def __init__(self, *args: object, caller: Caller, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.offered = [scope for scope in OFFERED if caller.may(scope.value)]
        self.fields["scopes"].choices = [(scope.value, scope.label) for scope in self.offered]  # type: ignore[attr-defined]
        self.fields["scopes"].initial = [scope.value for scope in self.offered if scope in DEFAULT]


# What this release has routes for; the others come with theirs.
OFFERED = (Scope.IMAGES_READ, Scope.IMAGES_WRITE, Scope.USAGE_READ)
DEFAULT = (Scope.IMAGES_READ, Scope.IMAGES_WRITE)

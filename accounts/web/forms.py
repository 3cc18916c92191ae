"""The form of the sign-in, and what forms have in common."""

from __future__ import annotations

from django import forms
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from accounts.api.bodies import status_of
from accounts.domain.codes import say_error
from accounts.errors import StudioError


def refuse_form(form: forms.Form, error: StudioError, *, field: str | None = None) -> int:
    """Put a refusal of the domain beside its field, in the page's language; returns the status, as the API's."""
    name = field or error.field
    form.add_error(name if name in form.fields else None, capfirst(say_error(error)))
    return status_of(error)


def split_networks(text: str) -> list[str]:
    """Networks between commas, blanks or lines."""
    return text.replace(",", " ").split()


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

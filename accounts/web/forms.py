"""The forms of accounts' pages."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.domain.callers import Caller
from accounts.domain.limits import KEY_LIMITS, MAX_LIMIT
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


def _limit(label: Any) -> forms.IntegerField:
    widget = forms.NumberInput(attrs={"class": "input", "inputmode": "numeric"})
    return forms.IntegerField(label=label, required=False, min_value=1, max_value=MAX_LIMIT, widget=widget)


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

    images_per_day = _limit(_("Images a day"))
    requests_per_minute = _limit(_("Requests a minute"))
    max_steps = _limit(_("Steps"))
    max_pixels = _limit(_("Pixels of an image"))
    expires_on = forms.DateField(
        label=_("Last day"), required=False, widget=forms.DateInput(attrs={"class": "input", "type": "date"})
    )
    networks = forms.CharField(
        label=_("Only from these networks"),
        required=False,
        max_length=1000,
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "placeholder": "192.0.2.0/24"}),
    )

    def wishes(self) -> dict[str, Any]:
        """The valid form as arguments of `make_key`."""
        data = self.cleaned_data
        end = data["expires_on"]
        return {
            "name": data["name"],
            "scopes": data["scopes"],
            "limits": {name: data[name] for name in KEY_LIMITS if data.get(name) is not None},
            "networks": data["networks"].replace(",", " ").split(),
            # To the end of that day, as a person means it.
            "expires_at": datetime.combine(end, time.max, tzinfo=UTC) if end else None,
        }

    @property
    def narrows(self) -> list[forms.BoundField]:
        """The fields that may stay empty."""
        names = ("images_per_day", "requests_per_minute", "max_steps", "max_pixels", "expires_on", "networks")
        return [self[name] for name in names]

    @property
    def is_narrowed(self) -> bool:
        """Whether one of them was filled in."""
        return any(bound.data for bound in self.narrows)

    def __init__(self, *args: object, caller: Caller, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.offered = [scope for scope in OFFERED if caller.may(scope.value)]
        self.fields["scopes"].choices = [(scope.value, scope.label) for scope in self.offered]  # type: ignore[attr-defined]
        self.fields["scopes"].initial = [scope.value for scope in self.offered if scope in DEFAULT]


# What this release has routes for; the others come with theirs.
OFFERED = (Scope.IMAGES_READ, Scope.IMAGES_WRITE, Scope.USAGE_READ)
DEFAULT = (Scope.IMAGES_READ, Scope.IMAGES_WRITE)

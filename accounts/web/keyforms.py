"""The forms of the pages of API keys."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.domain.callers import Caller
from accounts.domain.keychange import KeyChanges
from accounts.domain.keys import key_is_wellformed
from accounts.domain.limits import MAX_LARGE_LIMIT, MAX_LIMIT
from accounts.domain.rotate import DEFAULT_OVERLAP_S, MAX_OVERLAP_S
from accounts.enums import Scope
from accounts.models import ApiKey
from accounts.web.forms import split_networks

# What this release has routes for; the others come with theirs.
OFFERED = (Scope.IMAGES_READ, Scope.IMAGES_WRITE, Scope.CHAT, Scope.USAGE_READ, Scope.KEYS_WRITE, Scope.ADMIN)
DEFAULT = (Scope.IMAGES_READ, Scope.IMAGES_WRITE)
SCOPE_WORDS = {
    Scope.IMAGES_READ: _("see pictures"),
    Scope.IMAGES_WRITE: _("draw, star, delete"),
    Scope.CHAT: _("chat"),
    Scope.SENTIMENT: _("judge the mood of texts"),
    Scope.USAGE_READ: _("read usage"),
    Scope.KEYS_WRITE: _("make and change keys"),
    Scope.ADMIN: _("look after the organisation"),
}
# The limits of a key as the forms show them, in the order of what people ask for.
LIMITS = (
    "images_per_day",
    "images_per_month",
    "requests_per_minute",
    "max_steps",
    "max_pixels",
    "gpu_ms_per_day",
    "gpu_ms_per_month",
    "tokens_per_day",
    "concurrent_chats",
)
IN_SECONDS = ("gpu_ms_per_day", "gpu_ms_per_month")  # people count GPU time in seconds
NUMBER = {"class": "input", "inputmode": "numeric"}


def _limit(label: Any, most: int = MAX_LIMIT) -> forms.IntegerField:
    return forms.IntegerField(
        label=label, required=False, min_value=1, max_value=most, widget=forms.NumberInput(attrs=NUMBER)
    )


def _seconds(label: Any) -> forms.DecimalField:
    return forms.DecimalField(
        label=label,
        required=False,
        min_value=Decimal("0.001"),
        max_value=Decimal(MAX_LARGE_LIMIT // 1000),
        decimal_places=3,
        widget=forms.NumberInput(attrs={**NUMBER, "inputmode": "decimal"}),
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

    images_per_day = _limit(_("Images a day"))
    images_per_month = _limit(_("Images a month"))
    requests_per_minute = _limit(_("Requests a minute"))
    max_steps = _limit(_("Steps"))
    max_pixels = _limit(_("Pixels of an image"))
    gpu_ms_per_day = _seconds(_("GPU seconds a day"))
    gpu_ms_per_month = _seconds(_("GPU seconds a month"))
    tokens_per_day = _limit(_("Chat tokens a day"), MAX_LARGE_LIMIT)
    concurrent_chats = _limit(_("Chat calls at once"))
    expires_on = forms.DateField(
        label=_("Last day"),
        required=False,
        widget=forms.DateInput(attrs={"class": "input", "type": "date"}, format="%Y-%m-%d"),
    )
    networks = forms.CharField(
        label=_("Only from these networks"),
        required=False,
        max_length=3000,
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "placeholder": "192.0.2.0/24"}),
    )

    def __init__(self, *args: object, caller: Caller, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._offer([scope for scope in OFFERED if caller.may(scope.value)])
        self.fields["scopes"].initial = [scope.value for scope in self.offered if scope in DEFAULT]

    def _offer(self, scopes: list[Scope]) -> None:
        self.offered = scopes
        self.fields["scopes"].choices = [(scope.value, scope.label) for scope in scopes]  # type: ignore[attr-defined]

    def wishes(self) -> dict[str, Any]:
        """The valid form as arguments of `make_key`."""
        data = self.cleaned_data
        return {
            "name": data["name"],
            "scopes": data["scopes"],
            "limits": {name: self._limit_of(name) for name in LIMITS if data.get(name) is not None},
            "networks": split_networks(data["networks"]),
            "expires_at": end_of(data["expires_on"]),
        }

    def _limit_of(self, name: str) -> int | None:
        value = self.cleaned_data.get(name)
        if value is None:
            return None
        return int(value * 1000) if name in IN_SECONDS else int(value)

    @property
    def narrows(self) -> list[forms.BoundField]:
        """The fields that may stay empty."""
        return [self[name] for name in (*LIMITS, "expires_on", "networks")]

    @property
    def is_narrowed(self) -> bool:
        """Whether one of them was filled in."""
        return any(bound.value() for bound in self.narrows)

    @property
    def offers(self) -> list[tuple[Scope, Any]]:
        """The scopes on offer, with what each means."""
        return [(scope, SCOPE_WORDS[scope]) for scope in self.offered]

    @property
    def chosen(self) -> list[str]:
        """The scopes that are ticked."""
        return list(self["scopes"].value() or [])


class ChangeKeyForm(KeyForm):
    """A key that there is; only what was changed is asked for."""

    def __init__(self, *args: object, caller: Caller, key: ApiKey, **kwargs: object) -> None:
        super().__init__(*args, caller=caller, initial=initial_of(key), **kwargs)
        is_own = key.user_id == caller.user
        # Scopes can only be taken away; what one has not oneself one cannot leave there either.
        self._offer([scope for scope in Scope if scope in key.scopes and (caller.may(scope.value) or not is_own)])
        self.fields["scopes"].initial = [scope.value for scope in self.offered]
        if not is_own:
            del self.fields["name"]

    def changes(self) -> KeyChanges:
        """The valid form as the changes for `change_key`."""
        changed, found = set(self.changed_data), KeyChanges()
        if "name" in changed:
            found["name"] = self.cleaned_data["name"]
        if "scopes" in changed:
            found["scopes"] = self.cleaned_data["scopes"]
        if "networks" in changed:
            found["networks"] = split_networks(self.cleaned_data["networks"])
        if "expires_on" in changed:
            found["expires_at"] = end_of(self.cleaned_data["expires_on"])
        if limits := {name: self._limit_of(name) for name in LIMITS if name in changed}:
            found["limits"] = limits
        return found


class RotateForm(forms.Form):
    """How long the old secret still works."""

    overlap_s = forms.TypedChoiceField(
        label=_("The old secret works for another"),
        coerce=int,
        initial=DEFAULT_OVERLAP_S,
        choices=[
            (3600, _("hour")),
            (DEFAULT_OVERLAP_S, _("24 hours")),
            (3 * 24 * 3600, _("3 days")),
            (MAX_OVERLAP_S, _("7 days")),
            (0, _("moment: it ends at once")),
        ],
        widget=forms.Select(attrs={"class": "input"}),
    )


class LeakedKeyForm(forms.Form):
    """A key that somebody has found."""

    key = forms.CharField(
        label=_("The key"),
        max_length=200,
        widget=forms.TextInput(
            attrs={"class": "input", "autocomplete": "off", "spellcheck": "false", "placeholder": "qs_live_…"}
        ),
    )

    def clean_key(self) -> str:
        """The checksum tells a key that was not copied whole."""
        key = str(self.cleaned_data["key"])
        if not key_is_wellformed(key):
            raise forms.ValidationError(_("This is no whole API key: copy all of it, from qs_live_ to its end."))
        return key


def initial_of(key: ApiKey) -> dict[str, Any]:
    """A key's values as its form shows them."""
    limits = {name: _seconds_of(value) if name in IN_SECONDS else value for name, value in key.limits.items()}
    return {
        "name": key.name,
        "networks": ", ".join(key.networks),
        "expires_on": key.expires_at.astimezone(UTC).date() if key.expires_at else None,
        **{name: value for name, value in limits.items() if name in LIMITS},
    }


def _seconds_of(ms: int) -> int | Decimal:
    return ms // 1000 if ms % 1000 == 0 else Decimal(ms) / 1000


def end_of(day: Any) -> datetime | None:
    """To the end of that day, as a person means it."""
    return datetime.combine(day, time.max, tzinfo=UTC) if day else None

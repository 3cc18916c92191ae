"""The forms of the pages about the organisation."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.domain.callers import Caller
from accounts.domain.roles import right_over
from accounts.domain.tenants import NAME_CHARS
from accounts.enums import Role
from accounts.web.forms import split_networks

INPUT = {"class": "input", "autocomplete": "off"}


def roles_for(caller: Caller) -> list[tuple[str, Any]]:
    """The roles that the caller may give, weakest first."""
    given = [role for role in reversed(Role) if caller.has(right_over(role))]
    return [(role.value, role.label) for role in given]


class InvitationForm(forms.Form):
    """Whom to invite."""

    email = forms.EmailField(
        label=_("E-mail"),
        max_length=254,
        widget=forms.EmailInput(attrs={**INPUT, "placeholder": "name@example.com"}),
    )
    role = forms.ChoiceField(label=_("Role"), choices=[], widget=forms.Select(attrs={"class": "input"}))

    def __init__(self, *args: Any, caller: Caller, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = roles_for(caller)  # type: ignore[attr-defined]
        self.fields["role"].initial = Role.MEMBER.value


class OrganisationForm(forms.Form):
    """Name, logo, networks, what is kept."""

    name = forms.CharField(label=_("Name"), max_length=NAME_CHARS, widget=forms.TextInput(attrs=INPUT))
    logo = forms.FileField(
        label=_("Logo"),
        required=False,
        help_text=_("PNG, JPEG or WebP, at most 700 KB. It is made small, and only your members see it."),
        widget=forms.FileInput(attrs={"class": "input", "accept": "image/png,image/jpeg,image/webp"}),
    )
    without_logo = forms.BooleanField(label=_("No logo"), required=False)
    keeps_chats = forms.BooleanField(
        label=_("Keep the words of chat calls"),
        required=False,
        help_text=_("What programs send to chat models and what these answer. Without it only counts are kept."),
    )
    networks = forms.CharField(
        label=_("Only from these networks"),
        required=False,
        max_length=4000,
        help_text=_("Members and API keys may come from these only; empty means from anywhere. One in each line."),
        widget=forms.Textarea(attrs={**INPUT, "rows": 3, "placeholder": "192.0.2.0/24\n2001:db8::/32"}),
    )

    def wishes(self) -> dict[str, Any]:
        """The valid form as arguments of `change_tenant`."""
        data = self.cleaned_data
        logo = b"" if data["without_logo"] else data["logo"].read() if data["logo"] else None
        return {
            "name": data["name"],
            "networks": split_networks(data["networks"]),
            "logo": logo,
            "keeps_chats": data["keeps_chats"],
        }


class NewOrganisationForm(forms.Form):
    """A further one."""

    name = forms.CharField(label=_("Name"), max_length=NAME_CHARS, widget=forms.TextInput(attrs=INPUT))


class DeletionForm(forms.Form):
    """The name, typed, as a second thought."""

    confirm = forms.CharField(
        label=_("Its name, to confirm"), max_length=NAME_CHARS, strip=False, widget=forms.TextInput(attrs=INPUT)
    )

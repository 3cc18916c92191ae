"""The form of a style."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from generation.domain.styles import NAME_CHARS, TEXT_CHARS


class StyleForm(forms.Form):
    """Name and templates; the domain reads them."""

    name = forms.CharField(
        label=_("Name"),
        max_length=NAME_CHARS,
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "dir": "auto"}),
    )
    prompt = forms.CharField(
        label=_("Prompt"),
        max_length=TEXT_CHARS,
        help_text=_("Where {prompt} stands, the words of whoever draws are put."),
        widget=forms.Textarea(attrs={"class": "input", "rows": 3, "dir": "auto"}),
    )
    negative_prompt = forms.CharField(
        label=_("Leave out"),
        required=False,
        max_length=TEXT_CHARS,
        help_text=_("Works with a guidance above 1, and takes twice as long."),
        widget=forms.Textarea(attrs={"class": "input", "rows": 2, "dir": "auto"}),
    )

"""The forms of the page of rules for answers."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from generation.books.rules import TEXT_CHARS, TRIED_CHARS
from generation.enums import RuleAction, RuleKind


class RuleForm(forms.Form):
    """A rule; the filter reads its text."""

    text = forms.CharField(
        label=_("Word or pattern"),
        max_length=TEXT_CHARS,
        help_text=_("Found without regard to capital letters. A word is found as a whole word."),
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "dir": "auto"}),
    )
    kind = forms.ChoiceField(
        label=_("This is"),
        choices=RuleKind.choices,
        help_text=_("A pattern is a part of regular expressions, without * and +: \\d{4}-\\d{4} finds 1234-5678."),
        widget=forms.Select(attrs={"class": "input"}),
    )
    action = forms.ChoiceField(
        label=_("When an answer has it"), choices=RuleAction.choices, widget=forms.Select(attrs={"class": "input"})
    )


class TrialForm(forms.Form):
    """An answer to try the rules on; it is kept nowhere."""

    answer = forms.CharField(
        label=_("An answer"),
        max_length=TRIED_CHARS,
        strip=False,
        widget=forms.Textarea(attrs={"class": "input", "rows": 3, "dir": "auto"}),
    )

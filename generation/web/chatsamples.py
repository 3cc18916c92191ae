"""What the chat page offers to begin with: system prompts that come with it, and a few first questions."""

from __future__ import annotations

from django.utils.translation import gettext as _


def presets() -> list[dict[str, str]]:
    """(name, text) of each, in the page's language."""
    return [
        {"name": _("Short answers"), "text": _("Answer in one to three sentences. Leave out greetings and summaries.")},
        {
            "name": _("Prompts for pictures"),
            "text": _(
                "Turn each wish into one prompt for a text-to-image model: subject, place, light, style, in one "
                "paragraph of at most 60 words. Answer with the prompt alone."
            ),
        },
        {
            "name": _("Translator"),
            "text": _(
                "Translate what is said into English, or into Chinese where it is English. Keep its tone and its "
                "formatting. Answer with the translation alone."
            ),
        },
        {
            "name": _("Patient teacher"),
            "text": _("Explain step by step in plain words, with one example. Say so where you are not sure."),
        },
    ]


def samples() -> list[str]:
    """First questions, in the page's language."""
    return [
        _("Explain how a rainbow comes about, for a child of seven."),
        _("Write a prompt for a picture of a quiet harbour at dawn."),
        _("Which day of the year is the shortest, and why?"),
        _("Suggest five names for a small bakery."),
    ]


def demo_samples() -> list[str]:
    """What the demo chat model can do, in the page's language."""
    return [
        _("Could I have something red and round?"),
        _("Please show me a yellow house at sunset"),
        _("I would like a green tree at night"),
        _("Who are you?"),
    ]

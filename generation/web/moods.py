"""The page that judges moods. It only shows; the async door answers what is asked (`qwenstudio/door/sentiment.py`)."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.domain.callers import Caller
from accounts.domain.roles import Right
from accounts.web.access import member_page
from accounts.web.requests import StudioRequest
from generation.books.preferred import preferred_model
from generation.chat.demomodel import DEMO_SLUG
from generation.chat.sentiment import MAX_CHARS, MAX_TEXTS
from generation.web.builtin import shown_chat_models


@never_cache
@require_safe
@member_page
def sentiment(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """A field for texts, one a line, and their moods beneath."""
    models = shown_chat_models(caller)
    context = {
        "may_judge": caller.has(Right.SENTIMENT),
        "models": models,
        "chosen": preferred_model(models),
        "demo": DEMO_SLUG if any(model.slug == DEMO_SLUG for model in models) else "",
        "max_texts": MAX_TEXTS,
        "max_chars": MAX_CHARS,
        "samples": samples(),
    }
    return render(request, "generation/sentiment.html", context)


def samples() -> list[str]:
    """Texts to try, of each mood one."""
    return [
        _("I am in such a good mood today"),
        _("This experiment is too hard, I am desperate"),
        _("Let us talk a little"),
    ]

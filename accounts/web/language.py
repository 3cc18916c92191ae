"""Switch the language of the pages."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts.models import User
from accounts.web.paths import own_path

YEAR_S = 31_536_000


def speak(response: HttpResponseBase, language: str) -> None:
    """Let the browser's pages be in this language from now on."""
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        language,
        max_age=YEAR_S,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Lax",
    )


@require_POST
def choose_language(request: HttpRequest) -> HttpResponseBase:
    """Remember one of our languages in a cookie, and with the person who is signed in."""
    language = request.POST.get("language", "")
    response = redirect(own_path(request.POST.get("next", "")) or "/")
    if language in dict(settings.LANGUAGES):
        speak(response, language)
        person = getattr(request, "person", None)
        if person is not None:
            User.objects.filter(pk=person.pk).update(language=language)
    return response

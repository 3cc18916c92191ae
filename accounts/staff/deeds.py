"""What staff do with a row beside editing it: a button or an action, through the domain, sometimes with a reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.utils import display_for_value
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from accounts.domain.codes import say_error
from accounts.errors import StudioError


class ReasonForm(ActionForm):
    """The choice of an action, with a line for the reason beside it."""

    reason = forms.CharField(
        label=_("Reason"), required=False, max_length=200, widget=forms.TextInput(attrs={"size": 36})
    )


def reason_of(request: HttpRequest, name: str = "reason") -> str:
    """The reason that was typed."""
    return request.POST.get(name, "").strip().replace("\x00", "")[:400]


def try_to(request: HttpRequest, do: Callable[[], Any], said: Any) -> bool:
    """Do it and say so, or say what the domain refused; whether it was done."""
    try:
        do()
    except StudioError as error:
        messages.error(request, say_error(error))
        return False
    if said:
        messages.success(request, said)
    return True


def say_time(moment: datetime) -> str:
    """A time as the admin writes them."""
    return str(display_for_value(moment, "–"))


def go_back(request: HttpRequest, otherwise: str) -> HttpResponse:
    """To the page whose button was pressed."""
    path = request.POST.get("next", "")
    own = path.startswith("/admin/") and url_has_allowed_host_and_scheme(path, allowed_hosts=None)
    return HttpResponseRedirect(path if own else otherwise)

"""Delete one's account, after the password has been asked for once more."""

from __future__ import annotations

from datetime import timedelta

from allauth.account.decorators import reauthentication_required
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.domain.deletion import Pictures, delete_person, only_owner_of
from accounts.domain.members import tenants_of
from accounts.errors import LastOwner
from accounts.web.account import signed_in_person
from accounts.web.account_forms import DeletionForm

FRESH = timedelta(minutes=5)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def delete_account(request: HttpRequest) -> HttpResponseBase:
    """What happens, the choice, and the button."""
    person = signed_in_person(request)
    # Who has neither password nor second factor came by a link: a fresh one shows that it is still them.
    # The sign-in page would send them straight back: they are signed in.
    if not get_reauthentication_flows(person) and not _is_fresh(request):
        return render(request, "accounts/delete.html", {"stale": True}, status=403)
    response: HttpResponseBase = _serve(request)
    return response


@reauthentication_required(app="allauth.account")  # type: ignore[untyped-decorator]
def _serve(request: HttpRequest) -> HttpResponseBase:
    person = signed_in_person(request)
    form = DeletionForm(request.POST or None, initial={"pictures": Pictures.HAND_OVER})
    status, only = 200, only_owner_of(person)
    if request.method == "POST":
        status = 409 if only else 400
        if not only and form.is_valid():
            try:
                delete_person(user=person, pictures=form.cleaned_data["pictures"])
            except LastOwner:  # the other owner has left at this very moment
                status, only = 409, only_owner_of(person)
            else:
                request.session.flush()
                messages.success(request, _("Your account is deleted. Goodbye!"))
                return redirect("sign-in")
    words = {"form": form, "only": only, "leaving": tenants_of(person.pk)}
    return render(request, "accounts/delete.html", words, status=status)


def _is_fresh(request: HttpRequest) -> bool:
    last = signed_in_person(request).last_login
    return last is not None and timezone.now() - last < FRESH

"""/join/<token>/: where an invitation's link leads."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.domain.codes import say_error
from accounts.domain.invitations import Offer, accept_invitation, find_invitation
from accounts.enums import Role
from accounts.errors import AlreadyMember, NotAllowed, StudioError
from accounts.models import User
from accounts.models.user import normal_email
from accounts.web.entrance import choose_tenant
from accounts.web.requests import StudioRequest


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: StudioRequest, token: str) -> HttpResponseBase:
    """One button for the right person; others sign in, sign up or sign out first."""
    person = request.person
    try:
        offer = find_invitation(token)
        if request.method == "POST" and person is not None:
            if request.POST.get("as") == "somebody else":
                logout(request)
                return redirect("join", token=token)
            return _accept(request, person, token)
    except StudioError as error:
        return _refuse(request, error)
    return render(request, "accounts/join.html", _words(request, person, offer, token=token))


def _accept(request: StudioRequest, person: User, token: str) -> HttpResponseBase:
    membership = accept_invitation(token=token, user=person)
    try:
        caller = choose_tenant(request, person, membership.tenant_id)
    except NotAllowed as error:  # the organisation does not let this address in
        messages.warning(request, capfirst(say_error(error)))
        return redirect("organisations")
    messages.success(request, _("Welcome to %(tenant)s.") % {"tenant": caller.tenant_name})
    return redirect("home")


def _refuse(request: HttpRequest, error: StudioError) -> HttpResponseBase:
    status = {"missing": 404, "denied": 403}.get(error.kind, 410)
    context = {"reason": capfirst(say_error(error)), "is_member": isinstance(error, AlreadyMember)}
    return render(request, "accounts/join_refused.html", context, status=status)


def _words(request: HttpRequest, person: User | None, offer: Offer, *, token: str) -> dict[str, object]:
    fits = person is not None and normal_email(person.email) == offer.email
    return {
        "offer": offer,
        "role": Role(offer.role).label,
        "person": person,
        "fits": fits,
        "sign_in": f"{reverse('sign-in')}?next={reverse('join', args=[token])}",
        "sign_up": "" if settings.STUDIO_SIGNUP == "closed" else reverse("sign-up-invited", args=[token]),
    }

"""Going into one of one's tenants: what the session remembers, and what this very answer is already about."""

from __future__ import annotations

from uuid import UUID

from accounts.domain.callers import Caller, caller_of_member, check_network
from accounts.errors import NotAllowed, TenantSwitched
from accounts.models import User
from accounts.web.requests import StudioRequest

SESSION_TENANT = "tenant"
PAGE_TENANT = "X-Studio-Tenant"  # of a script's request: which tenant's page it runs in


def enter_tenant(request: StudioRequest, user_id: UUID, tenant: UUID) -> Caller:
    """The caller that a person is in one of their tenants, from where they are. Raises `NotAllowed`."""
    try:
        caller = caller_of_member(user_id=user_id, tenant_id=tenant)
        check_network(caller, address=request.client_address)
    except NotAllowed as error:
        error.tenant = tenant
        raise
    return caller


def check_page(request: StudioRequest, caller: Caller) -> None:
    """Raise `TenantSwitched` where a script says that its page is another tenant's: a tab that was left open."""
    shown = request.headers.get(PAGE_TENANT)
    if shown is not None and shown != str(caller.tenant):
        raise TenantSwitched


def choose_tenant(request: StudioRequest, person: User, tenant: UUID) -> Caller:
    """Work in a tenant from now on. Raises `NotAllowed`; then everything stays as it was.

    The request goes on as the new caller: the middleware gives the browser the new pass to the async door with this
    answer, so that no stream opens for the tenant that was left.
    """
    caller = enter_tenant(request, person.pk, tenant)
    request.session[SESSION_TENANT] = str(tenant)
    request.caller, request.caller_error = caller, None
    return caller

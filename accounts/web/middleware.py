"""From a request to its caller, with the tenant in scope until the last byte of the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.db import OperationalError
from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from accounts.api.credentials import key_of
from accounts.api.problems import problem_response
from accounts.domain.addresses import client_address
from accounts.domain.audit import Actor, acting
from accounts.domain.callers import Caller, caller_of_key
from accounts.domain.members import tenant_ids_of
from accounts.domain.passes import PASS_COOKIE, PASS_SECONDS, RENEW_AFTER_SECONDS, Pass, issue_pass, read_pass
from accounts.domain.places import refuse_wrong_key
from accounts.domain.sessions import note_session, stamp_of
from accounts.errors import InvalidKey, NotAllowed, StudioError, Unavailable
from accounts.logcontext import bind_log
from accounts.tenancy import across_tenants, in_tenant
from accounts.web.entrance import SESSION_TENANT, check_page, enter_tenant
from accounts.web.refusals import note_refusal, note_wrong_key
from accounts.web.requests import StudioRequest
from accounts.web.second_factor import lead_to_set_up, must_set_up
from accounts.web.toolarge import is_too_large, too_large_page

# Answered without asking who it is: health checks must not need the database.
OPEN_PATHS = ("/healthz", "/readyz")
# The key in its headers is what it is about, not who asks: using it here is no use of it.
KEYLESS_PATHS = ("/api/v1/keys/leaked",)
# Where a program's key counts. Pages and the admin are for people: there only the session says who asks. Otherwise a
# key beside it, a wrong one even, would lead past what people are asked for (a second factor, the end of a tenant).
PROGRAM_PATHS = ("/api/", "/files/", "/v1/")
# One page asks for dozens of these; that it was asked for itself says who is there.
QUIET_PATHS = ("/files/",)


class TenantMiddleware:
    """Sets `request.caller`, `request.caller_error` and `request.client_address`, and enters the caller's tenant."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, plain: HttpRequest) -> HttpResponseBase:
        request = cast(StudioRequest, plain)
        request.caller = None
        request.caller_error = None
        request.person = None  # who is signed in; `request.user` is the REST framework's to overwrite
        request.client_address = client_address(
            remote=request.META.get("REMOTE_ADDR", ""),
            forwarded=request.META.get("HTTP_X_FORWARDED_FOR", ""),
            trusted=settings.STUDIO_TRUSTED_PROXIES,
        )
        if request.path in OPEN_PATHS:
            return self.get_response(request)
        if is_too_large(request):
            return too_large_page(request)
        try:
            _find_caller(request)
        except OperationalError:
            if not request.path.startswith(("/api/", "/v1/")):
                raise
            unavailable = Unavailable("the database does not answer; try again", retry_after_s=5)
            return problem_response(unavailable, path=request.path)
        if must_set_up(request):
            return lead_to_set_up(request)
        with _surroundings(request):
            response = self.get_response(request)
        note_refusal(request, response)
        _renew_pass(request, response)
        if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
            response.streaming_content = _stream_inside(request, cast("Iterable[bytes]", response.streaming_content))
        return response


def _find_caller(request: StudioRequest) -> None:
    if request.path in KEYLESS_PATHS:
        return
    secret = _key_in(request)
    try:
        if secret is not None:
            request.caller = caller_of_key(secret, address=request.client_address)
        elif request.user.is_authenticated:
            request.person = request.user
            _note_session(request)
            caller = _caller_of_session(request, request.user.pk)
            if caller is not None:
                check_page(request, caller)
            request.caller = caller
    except InvalidKey as error:
        request.caller_error = refuse_wrong_key(address=request.client_address)
        note_wrong_key(request, error, secret=secret or "")
    except StudioError as error:
        request.caller_error = error


def _key_in(request: StudioRequest) -> str | None:
    return key_of(request.META) if request.path.startswith(PROGRAM_PATHS) else None


def _note_session(request: StudioRequest) -> None:
    key = request.session.session_key
    if request.person is None or key is None or request.path.startswith(QUIET_PATHS):
        return
    agent = request.META.get("HTTP_USER_AGENT", "")
    note_session(user=request.person.pk, session_key=key, address=request.client_address, agent=agent)


def _caller_of_session(request: StudioRequest, user_id: UUID) -> Caller | None:
    chosen = request.session.get(SESSION_TENANT)
    if chosen is not None:
        try:
            return enter_tenant(request, user_id, UUID(chosen))
        except (NotAllowed, ValueError):
            # No longer a member there, or suspended: fall back to another tenant of theirs, if there is one.
            del request.session[SESSION_TENANT]
    refusal: NotAllowed | None = None
    for tenant in tenant_ids_of(user_id):
        try:
            return enter_tenant(request, user_id, tenant)
        except NotAllowed as error:
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    return None


@contextmanager
def _surroundings(request: StudioRequest) -> Iterator[None]:
    """The scope, the actor and the log fields of one request."""
    caller, person = request.caller, request.person
    user = caller.user if caller else person.pk if person else None
    with ExitStack() as stack:
        stack.enter_context(
            acting(
                Actor(
                    user=user,
                    key=caller.key if caller else None,
                    address=request.client_address,
                    session=request.session.session_key if person else None,
                )
            )
        )
        if caller is not None:
            stack.enter_context(bind_log(tenant=caller.tenant, member=caller.user, key=caller.key))
        stack.enter_context(_scope_of(request))
        yield


def _scope_of(request: StudioRequest) -> AbstractContextManager[None]:
    if request.path.startswith("/admin/") and request.person is not None and request.person.is_staff:
        return across_tenants()  # staff manage all tenants there; Django's admin lets nobody else in
    return nullcontext() if request.caller is None else in_tenant(request.caller.tenant)


def _stream_inside(request: StudioRequest, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A body that is produced after the view has returned, each piece of it in the request's own surroundings.

    The scope is entered anew for every piece: left open across a `yield` it would reach whoever iterates.
    """
    pieces = iter(chunks)
    try:
        while True:
            with _surroundings(request):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


def _renew_pass(request: StudioRequest, response: HttpResponseBase) -> None:
    """Keep the browser's pass to the async door fresh, and take it away with the session."""
    caller, held = request.caller, request.COOKIES.get(PASS_COOKIE)
    person, key = request.person, request.session.session_key
    # Neither signed out by this very request, nor signed in as somebody else.
    stays = person is not None and request.session.get(SESSION_KEY) == str(person.pk)
    if person is not None and stays and key and caller is not None and caller.user is not None:
        wanted = Pass(user=caller.user, tenant=caller.tenant, session=stamp_of(key, person.password))
        if held and read_pass(held, max_age_s=RENEW_AFTER_SECONDS) == wanted:
            return
        response.set_cookie(
            PASS_COOKIE,
            issue_pass(user=wanted.user, tenant=wanted.tenant, session=wanted.session),
            max_age=PASS_SECONDS,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    elif held and _key_in(request) is None:  # a program's key says nothing about the browser's session
        response.delete_cookie(PASS_COOKIE, samesite="Lax")

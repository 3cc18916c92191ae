"""The matrix finds what it is there to find: faults are planted into the code, and its checks must fail.

More of them are in `tests/generation/domain/test_walk_planted.py` (the ledger) and `tests/qwenstudio/test_together.py`
(two processes at once).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.urls import path

from accounts.enums import Role
from accounts.errors import NotAllowed
from accounts.ids import read_id
from accounts.models import ApiKey, Tenant
from accounts.tenancy import across_tenants
from tests.matrix import test_complete, test_headers, test_ids, test_rights
from tests.matrix.asking import Stored
from tests.matrix.house import House

Plant = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[House, Stored], None]


def ids(operation: str, *place: str) -> Check:
    """The matrix of one id."""
    return lambda house, stored: test_ids.test_only_ones_own_id_opens(house, stored, operation, (place[0], place[1]))


def rights(test: str, operation: str) -> Check:
    """One check of rights."""
    return lambda house, stored: getattr(test_rights, test)(house, stored, operation)


def seeing_all(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call without any tenant's filter and without row-level security."""

    def unbound(*args: Any, **kwargs: Any) -> Any:
        with across_tenants():
            return call(*args, **kwargs)

    return unbound


# ---- the faults


def no_tenant_in_reading(patch: pytest.MonkeyPatch) -> None:
    from generation.domain import gallery

    patch.setattr(gallery, "fetch_all", seeing_all(gallery.fetch_all))


def no_tenant_in_writing(patch: pytest.MonkeyPatch) -> None:
    from generation.api import images

    patch.setattr(images, "star_generation", seeing_all(images.star_generation))


def no_tenant_in_files(patch: pytest.MonkeyPatch) -> None:
    from generation.web import files

    patch.setattr(files, "find_image", seeing_all(files.find_image))


def no_owner_in_keys(patch: pytest.MonkeyPatch) -> None:
    from accounts.domain import keys

    patch.setattr(keys, "visible_keys", lambda by: ApiKey.objects.select_related("user"))


def foreign_logos(patch: pytest.MonkeyPatch) -> None:
    from accounts.web import files

    patch.setattr(files, "find_logo", lambda *, by, person, tenant, name: f"{tenant}/{name}")


def another_word_for_foreign_ids(patch: pytest.MonkeyPatch) -> None:
    """A foreign id is refused, but as one that exists."""
    from generation.api import images

    real = images.get_generation

    def honest(id: Any) -> Any:
        from generation.models import Generation

        with across_tenants():
            owner = Generation.objects.filter(pk=id).values_list("tenant_id", flat=True).first()
        from accounts.tenancy import current_tenant

        if owner not in (None, current_tenant()):
            raise NotAllowed("this image is another tenant's")
        return real(id)

    patch.setattr(images, "get_generation", honest)


def another_header_for_foreign_ids(patch: pytest.MonkeyPatch) -> None:
    """The body is the same; a cache's header tells the difference."""
    from accounts.models import Export
    from accounts.web import files

    real = files.problem_response

    def telling(error: Any, *, path: str = "") -> Any:
        response = real(error, path=path)
        with across_tenants():
            known = Export.objects.filter(pk=read_id(path.rpartition("/")[2])).exists()
        response.headers["Age"] = str(int(known))
        return response

    patch.setattr(files, "problem_response", telling)


def a_refused_write_that_writes(patch: pytest.MonkeyPatch) -> None:
    from generation.api import images

    real = images.remove_generation

    def eager(id: Any) -> None:
        Tenant.objects.update(note="somebody wanted to remove something")
        real(id)

    patch.setattr(images, "remove_generation", eager)


def a_scope_forgotten(patch: pytest.MonkeyPatch) -> None:
    from generation.api.images import ImagesView

    patch.setattr(ImagesView, "required_scopes", {"GET": "", "POST": ""})


def a_right_forgotten(patch: pytest.MonkeyPatch) -> None:
    from accounts.domain.callers import Caller

    patch.setattr(Caller, "require", lambda self, right: None)


def no_csrf(patch: pytest.MonkeyPatch) -> None:
    from accounts.api.authentication import SessionAuthentication

    patch.setattr(SessionAuthentication, "enforce_csrf", lambda self, request: None)


def suspended_tenants_go_on(patch: pytest.MonkeyPatch) -> None:
    from accounts.domain import callers

    real = callers.caller_from_row
    patch.setattr(callers, "caller_from_row", lambda row: real({**row, "suspended": False}))


def any_key_will_do(patch: pytest.MonkeyPatch) -> None:
    """Whatever looks like a key is looked up by its tenant's first one."""
    from accounts.domain import callers

    real = callers.fetch_one

    def lenient(sql: str, **parameters: Any) -> Any:
        found = real(sql, **parameters)
        if found is None and sql is callers.KEY_DIRECTORY_SQL:
            return real("SELECT tenant_id FROM accounts_keydirectory LIMIT 1")
        if found is None and sql is callers.KEY_CALLER_SQL:
            hashed = real("SELECT sha256 FROM accounts_keydirectory WHERE tenant_id = %(tenant)s LIMIT 1", **parameters)
            return real(sql, **{**parameters, **(hashed or {})})
        return found

    patch.setattr(callers, "fetch_one", lenient)
    patch.setattr(callers, "key_is_wellformed", lambda secret: True)


def idempotency_of_everybody(patch: pytest.MonkeyPatch) -> None:
    from generation.domain import submit

    real = submit._key_names
    patch.setattr(submit, "_key_names", lambda caller, key: {**real(caller, key), "caller": caller.tenant})


def hashes_open_files(patch: pytest.MonkeyPatch) -> None:
    """The cache's question is answered before anybody asks whose file it is."""
    from django.http import HttpResponse

    from generation.web import files

    real = files._serve

    def quick(request: Any, image: Any, **kwargs: Any) -> Any:
        return HttpResponse(status=304) if request.headers.get("If-None-Match") else real(request, image, **kwargs)

    patch.setattr(files, "_serve", quick)


def switching_without_belonging(patch: pytest.MonkeyPatch) -> None:
    from accounts.web import organisations

    patch.setattr(
        organisations, "tenant_ids_of", lambda user: [row.pk for row in seeing_all(list)(Tenant.objects.all())]
    )


def any_session_may_be_ended(patch: pytest.MonkeyPatch) -> None:
    from allauth.usersessions.models import UserSession

    from accounts.domain import sessions as domain
    from accounts.web import sessions

    def end(*, user: Any, id: int) -> str:
        owner = UserSession.objects.filter(pk=id).values_list("user_id", flat=True).first()
        return domain.end_session(user=owner or user, id=id)

    patch.setattr(sessions, "end_session", end)


ONE = "/api/v1/images/{generation}"
FAULTS: list[tuple[Plant, Check]] = [
    (no_tenant_in_reading, ids(f"GET {ONE}", "path", "generation")),
    (no_tenant_in_writing, ids(f"PATCH {ONE}", "path", "generation")),
    (no_tenant_in_files, ids("GET /files/{image}", "path", "image")),
    (no_owner_in_keys, ids("DELETE /api/v1/keys/{key}", "path", "key")),
    (foreign_logos, ids("GET /files/logos/{tenant}/{name}", "path", "tenant")),
    (another_word_for_foreign_ids, ids(f"GET {ONE}", "path", "generation")),
    (another_header_for_foreign_ids, ids("GET /files/exports/{export}", "path", "export")),
    (a_refused_write_that_writes, ids(f"DELETE {ONE}", "path", "generation")),
    (switching_without_belonging, ids("POST /organisations/switch/", "body", "tenant")),
    (any_session_may_be_ended, ids("POST /account/sessions/{session}/end/", "path", "session")),
    (a_scope_forgotten, rights("test_by_role", "POST /api/v1/images")),
    (a_scope_forgotten, rights("test_by_scope", "POST /api/v1/images")),
    (a_right_forgotten, rights("test_by_role", "PATCH /api/v1/members/{member}")),
    (no_csrf, rights("test_without_good_credentials", "POST /api/v1/keys")),
    (any_key_will_do, rights("test_without_good_credentials", "GET /api/v1/me")),
    (suspended_tenants_go_on, rights("test_of_a_suspended_tenant", "GET /api/v1/me")),
    (idempotency_of_everybody, lambda house, stored: test_headers.test_an_idempotency_key_is_its_callers_own(house)),
    (hashes_open_files, lambda house, stored: test_headers.test_a_known_hash_opens_no_foreign_file(house)),
]


@pytest.mark.parametrize(
    ("plant", "check"), FAULTS, ids=[f"{plant.__name__}-{at}" for at, (plant, _) in enumerate(FAULTS)]
)
def test_fault_is_found(house: House, stored: Stored, plant: Plant, check: Check) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        assert fails(lambda: check(house, stored)), f"{plant.__name__} went unnoticed"


def test_the_same_checks_pass_without_faults(house: House, stored: Stored) -> None:
    """One of each kind; all of them are tests of their own."""
    assert not fails(lambda: ids(f"GET {ONE}", "path", "generation")(house, stored))
    assert house.person(Role.MEMBER)


@contextmanager
def planted_route(route: Any) -> Iterator[None]:
    from qwenstudio import urls

    urls.urlpatterns.insert(0, route)
    try:
        yield
    finally:
        urls.urlpatterns.remove(route)


def test_a_route_without_an_entry_is_found() -> None:
    from generation.api.images import ImageView

    with planted_route(path("api/v1/pictures/<uuid:generation>", ImageView.as_view())):
        assert fails(test_complete.test_every_operation_has_an_entry)


def test_an_input_without_an_entry_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import ast

    from tests.matrix import routes

    source = (
        "def view(request):\n    return request.GET.get('owner'), request.POST['team'], request.headers.get('X-Of')"
    )
    assert set(routes._names_in(ast.parse(source))) == {"owner", "team", "X-Of"}
    found = routes.read_names()
    monkeypatch.setattr(test_complete, "read_names", lambda: {*found, ("accounts/web/new.py", "owner")})
    assert fails(test_complete.test_every_name_that_a_view_reads_has_an_entry)
    inputs = dict(routes.described_inputs())
    inputs["GET /api/v1/images"] |= {("query", "owner")}
    monkeypatch.setattr(test_complete, "described_inputs", lambda: inputs)
    assert fails(test_complete.test_every_input_of_the_api_has_an_entry)


def fails(check: Callable[[], None]) -> bool:
    """Whether a check finds something; whatever else is raised is a mistake of the plant's."""
    try:
        check()
    except AssertionError:
        return True
    return False

"""The whole table of rights: every right × every role, signed in, by a key with its scope and by one without it.

Each right has a probe, which really does what the right is for; it is asked through the API where there is a route and
through the domain where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import pytest
from django.test import Client

from accounts.domain.auditlog import Filters, list_events
from accounts.domain.callers import Caller, caller_of_key, caller_of_member
from accounts.domain.closing import ask_deletion
from accounts.domain.roles import ROLE_SCOPES, Right
from accounts.enums import Role, Scope
from accounts.errors import NotAllowed
from accounts.models import ApiKey, KeyDirectory, Membership, Tenant
from accounts.tenancy import in_tenant
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_key, make_member, make_user
from tests.generation.api.calls import BODY
from tests.roles import PAGE, print_page

JSON = "application/json"
API = "/api/v1"


@dataclass(frozen=True)
class Scene:
    """Who tries, and what there is to try on."""

    client: Client
    caller: Callable[[], Caller]
    other: UUID  # a plain member
    others_key: UUID


Probe = Callable[[Scene], int]


def by_domain(act: Callable[[Caller, Scene], object]) -> Probe:
    """A probe of a right that has no route: 200, or 403 where the domain refuses."""

    def probe(scene: Scene) -> int:
        caller = scene.caller()
        try:
            with in_tenant(caller.tenant):
                act(caller, scene)
        except NotAllowed:
            return 403
        return 200

    return probe


def post(path: str, body: dict[str, object]) -> Probe:
    return lambda scene: scene.client.post(f"{API}{path}", body, content_type=JSON).status_code


def see_audit(caller: Caller, scene: Scene) -> object:
    return list_events(by=caller, filters=Filters(), cursor=None, limit=1)


def delete_tenant(caller: Caller, scene: Scene) -> object:
    return ask_deletion(by=caller, confirm=Tenant.objects.get().name)


PROBES: dict[Right, Probe] = {
    Right.SEE_IMAGES: lambda scene: scene.client.get(f"{API}/images").status_code,
    Right.SEE_USAGE: lambda scene: scene.client.get(f"{API}/usage").status_code,
    Right.MAKE_IMAGES: post("/images", BODY),
    Right.CHAT: by_domain(lambda caller, scene: caller.require(Right.CHAT)),  # its routes come later
    Right.SENTIMENT: by_domain(lambda caller, scene: caller.require(Right.SENTIMENT)),  # likewise
    Right.MAKE_KEYS: post("/keys", {"name": "another", "scopes": [Scope.USAGE_READ.value]}),
    Right.SEE_MEMBERS: lambda scene: scene.client.get(f"{API}/members/{scene.other}").status_code,
    Right.MANAGE_KEYS: lambda scene: scene.client.delete(f"{API}/keys/{scene.others_key}").status_code,
    Right.SEE_ALL_USAGE: lambda scene: scene.client.get(f"{API}/usage?member={scene.other}").status_code,
    Right.MANAGE_MEMBERS: lambda scene: (
        scene.client.patch(f"{API}/members/{scene.other}", {"role": "viewer"}, content_type=JSON).status_code
    ),
    Right.SET_BUDGETS: lambda scene: (
        scene.client.put(f"{API}/members/{scene.other}/budget", {"images_per_day": 5}, content_type=JSON).status_code
    ),
    Right.SEE_AUDIT: by_domain(see_audit),
    Right.CHANGE_TENANT: lambda scene: (
        scene.client.patch(f"{API}/tenant", {"name": "New"}, content_type=JSON).status_code
    ),
    Right.MANAGE_STYLES: post("/styles", {"name": "Ink", "prompt": "ink, {prompt}"}),
    Right.MANAGE_RULES: post("/rules", {"text": "lighthouse"}),
    Right.MANAGE_OWNERS: post("/invitations", {"email": "owner@example.com", "role": "owner"}),
    Right.EXPORT_TENANT: post("/exports", {}),
    Right.DELETE_TENANT: by_domain(delete_tenant),
}
# Whose things these are about is not told to who may not ask: theirs is the answer of what does not exist.
HIDDEN = (Right.MANAGE_KEYS, Right.SEE_ALL_USAGE)
# A scope that shows everybody's shows one's own too: without the right is who lacks both.
WIDER = {Right.SEE_USAGE: (Right.SEE_ALL_USAGE,)}
WAYS = ("session", "key with the scope", "key without it")


def make_scene(alice: Person, role: Role, right: Right, way: str) -> Scene:
    """Somebody with this role. Their key was made while they were an owner, so that only the role may lower it."""
    person = make_member(alice.tenant, Role.OWNER, user=make_user("someone"))
    other = make_member(alice.tenant)
    others_key, _ = make_key(alice.tenant, other)
    lacks = {right.scope, *(wider.scope for wider in WIDER.get(right, ()))} if way == "key without it" else set()
    scopes = [scope.value for scope in Scope if scope not in lacks]
    key, secret = make_key(alice.tenant, person, scopes=scopes)
    Membership.objects.filter(tenant=alice.tenant, user=person).update(role=role)
    client = Client() if way == "session" else Client(headers={"Authorization": f"Bearer {secret}"})
    if way == "session":
        client.force_login(person)

    def caller() -> Caller:
        if way == "session":
            return caller_of_member(user_id=person.pk, tenant_id=alice.tenant.pk)
        return caller_of_key(secret, address="127.0.0.1")

    assert key.user_id == person.pk
    return Scene(client=client, caller=caller, other=other.pk, others_key=others_key.pk)


def test_every_right_has_a_probe() -> None:
    assert PROBES.keys() == set(Right)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
@pytest.mark.parametrize("right", list(Right), ids=lambda right: right.name.lower())
def test_the_table_holds(right: Right, role: Role, way: str, alice: Person) -> None:
    offer_sleeping_model()
    scene = make_scene(alice, role, right, way)
    allowed = right.is_held_by(role) and way != "key without it"
    assert scene.caller().has(right) is allowed
    status = PROBES[right](scene)
    if allowed:
        assert 200 <= status < 300
    else:
        assert status == 403 or (right in HIDDEN and status == 404)


def test_a_refused_probe_has_done_nothing(alice: Person) -> None:
    """Of those that could have: by the viewer, who may least."""
    offer_sleeping_model()
    scene = make_scene(alice, Role.VIEWER, Right.MANAGE_MEMBERS, "session")
    with in_tenant(alice.tenant.pk):
        keys = ApiKey.objects.count()
    before = (Membership.objects.count(), KeyDirectory.objects.count())
    for right in Right:
        if not right.is_held_by(Role.VIEWER):
            assert PROBES[right](scene) in (403, 404)
    with in_tenant(alice.tenant.pk):
        tenant = Tenant.objects.get()
        assert (tenant.name, tenant.delete_after, ApiKey.objects.count()) == ("A", None, keys)
        assert not ApiKey.objects.exclude(revoked_at=None).exists()
    assert (Membership.objects.count(), KeyDirectory.objects.count()) == before


def test_scopes_of_a_role_are_those_of_its_rights() -> None:
    for role in Role:
        held = {right.scope.value for right in Right if right.is_held_by(role)}
        assert ROLE_SCOPES[role.value] == held
    assert ROLE_SCOPES["viewer"] < ROLE_SCOPES["member"] < ROLE_SCOPES["admin"] == ROLE_SCOPES["owner"]


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == print_page(), "run python -m tests.roles"

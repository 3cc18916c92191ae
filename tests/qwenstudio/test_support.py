"""The support role sees all of the admin but prompts, and changes nothing: every address, every action, by every way.

The addresses come from the URLconf, so a new one is held to this without a new test.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.domain.media import write_atomic
from accounts.models import Errand, Invitation, User
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.request import GenerationRequest
from generation.domain.submit import submit_generation
from generation.models import (
    ChatCall,
    ChatModel,
    ComparedCase,
    Comparison,
    Failure,
    Generation,
    GoldenCase,
    ModelGrant,
    Pool,
    PromptRule,
    Upstream,
    Worker,
)
from generation.releases.compare.paths import picture_path
from qwenstudio.support import SUPPORT, keep_support_group
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_user
from tests.generation.lorafiles import offer_lora

SQL = psycopg.Connection[tuple[Any, ...]]
PICTURE = "a" * 64  # a hash
PROMPT, NEGATIVE, METADATA = "a secret lighthouse", "no secret boats", "secret-campaign-7"
SEALED = "sealed-credential"
# What looking leaves behind: the session, when it was last seen, and that a list was exported. Signing in again writes
# the last time of it.
LEFT = ("django_session", "usersessions_usersession", "accounts_auditevent")


@pytest.fixture
def world(alice: Person, bob: Person, mallory: Person, media: object) -> Person:
    """A row of everything that the admin shows."""
    offer_sleeping_model()
    Pool.objects.get_or_create(lane="blue", name="demo")
    upstream = Upstream.objects.create(slug="desk", base_url="http://127.0.0.1:11434", credential=SEALED)
    ChatModel.objects.create(slug="talker", title="Talker").targets.create(upstream=upstream, name="qwen3:0.6b")
    GoldenCase.objects.create(slug="circle", model_id="demo", prompt="a red circle")
    compared = Comparison.objects.create(lane="green", release_name="1.1", against="blue", verdict="green")
    ComparedCase.objects.create(
        comparison=compared, slug="circle", model="demo", prompt="a red circle", params={}, params_sha256="",
        tolerance="close", verdict="green", new_sha256=PICTURE,
    )  # fmt: skip
    write_atomic(picture_path(PICTURE), b"a picture")
    Worker.objects.create(name="gpu-1", pid=1, lane="blue", pool="demo", state="idle", serves=["demo"])
    with in_tenant(alice.tenant.pk):
        request = GenerationRequest(
            model="demo", prompt=PROMPT, negative_prompt=NEGATIVE, width=64, height=64, metadata={"campaign": METADATA}
        )
        generation = submit_generation(caller=alice.caller, request=request).id
        Failure.objects.create(generation_id=generation, code="engine_error", lines="line")
        Invitation.objects.create(email="invited@example.com", expires_at="2030-01-01T00:00:00Z")
        ModelGrant.objects.create(model_id="demo")
        PromptRule.objects.create(text="a word")
        ChatCall.objects.create(
            model="talker", lane="blue", outcome="done", charged_on="2026-01-01", prompt=PROMPT, answer=NEGATIVE
        )
    with across_tenants():
        Errand.objects.create(
            kind="send_mail", tenant_id=None, failed_at="2026-01-01T00:00:00Z", data={"sealed": "xyz"}
        )
    Group.objects.create(name="others")
    offer_lora()
    return alice


@pytest.fixture
def support(db: object) -> Client:
    person = make_user("support", is_staff=True)
    person.groups.add(Group.objects.get(name=SUPPORT))
    client = Client(raise_request_exception=False)
    client.force_login(person)
    return client


def routes() -> list[str]:
    """Every route of the admin, with placeholders."""

    def walk(resolver: URLResolver, before: str) -> Iterator[str]:
        for pattern in resolver.url_patterns:
            route = before + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern, route)
            elif isinstance(pattern, URLPattern):
                yield route

    return [route for route in walk(get_resolver(), "") if route.startswith("admin/")]


def label(model: type[Model]) -> str:
    """How addresses name it."""
    return f"{model._meta.app_label}/{model._meta.model_name}"


def shown_models() -> dict[type[Model], Any]:
    """What the admin shows, once all routes are read."""
    assert get_resolver().url_patterns
    return dict(admin.site._registry)


def addresses(world: Person) -> list[str]:
    """Each route with the ids of rows that exist."""
    with across_tenants():
        rows = {label(model): model._base_manager.order_by("pk").first() for model in shown_models()}
    assert all(rows.values()), f"make a row of each: {rows}"
    worker, errand = rows["generation/worker"], rows["accounts/errand"]
    comparison = rows["generation/comparison"]
    found = []
    for route in routes():
        # Django's own two with regular expressions: an app's page, and whatever is none of the others.
        path = re.sub(r"\(\?P<app_label>[^)]*\)", "accounts", route.replace("^", "").replace("$", ""))
        path = re.sub(r"\(\?P<url>[^)]*\)", "nothing/here/", path)
        model = "/".join(path.split("/")[1:3])
        values = {
            "<uuid:tenant>": str(world.tenant.pk), "<uuid:key>": str(world.key.pk), "<slug:lane>": "blue",
            "<path:pool>": "demo", "<uuid:worker>": str(worker.pk if worker else ""),
            "<uuid:errand>": str(errand.pk if errand else ""), "<path:content_type_id>": "1",
            "<path:object_id>": str(world.tenant.pk), "<uuid:comparison>": str(comparison.pk if comparison else ""),
            "<str:sha256>": PICTURE, "<str:upload>": "0123456789abcdef",
        }  # fmt: skip
        if model in rows:
            row = rows[model]
            values |= {name: str(row.pk if row else "") for name in ("<path:object_id>", "<id>", "<path:id>")}
        for name, value in values.items():
            path = path.replace(name, value)
        found.append("/" + path)
    return found


def actions() -> Iterator[tuple[type[Model], str]]:
    """(model, action) of every action that any list has."""
    for model, shown in shown_models().items():
        names = {*(getattr(name, "__name__", name) for name in shown.actions or ()), "delete_selected"}
        for name in sorted(names):
            yield model, str(name)


def state(sql: SQL) -> dict[str, str]:
    """A fingerprint of every table."""
    tables = sql.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
    ).fetchall()
    found = {}
    for (table,) in tables:
        rows = sql.execute(f"SELECT t::text FROM {table} t ORDER BY 1").fetchall()  # type: ignore[arg-type]
        found[table] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return {table: value for table, value in found.items() if table not in LEFT}


def test_no_way_of_writing_succeeds(support: Client, world: Person, admin_sql: SQL) -> None:
    before = state(admin_sql)
    forms = (
        {},
        {"post": "yes"},
        {"reason": "x", "reason-blue-demo": "x", "name": "changed", "title": "changed", "_save": "Save"},
        {"email": "mine@example.org", "password1": "another long one", "password2": "another long one"},
    )
    paths = [path for path in addresses(world) if path != "/admin/logout/"]
    assert len(paths) > 80
    for path in paths:
        assert "<" not in path, f"give {path} a value above"
        for method in (support.get, support.put):
            assert method(path).status_code < 500, path
        for form in forms:
            assert support.post(path, form).status_code < 500, path
        changed = {table for table, value in state(admin_sql).items() if before[table] != value}
        assert not changed, f"{path} changed {changed}"
    assert (
        admin_sql.execute(
            "SELECT action FROM accounts_auditevent WHERE action LIKE 'admin.%' OR action LIKE 'pool.%'"
            " OR action LIKE 'worker.%' OR action LIKE 'errand.%' OR action LIKE '%revoked'"
        ).fetchall()
        == []
    )


def test_no_action_succeeds(support: Client, world: Person, admin_sql: SQL) -> None:
    before = state(admin_sql)
    tried = 0
    for model, action in actions():
        path = f"/admin/{label(model)}/"
        with across_tenants():
            chosen = [str(pk) for pk in model._base_manager.values_list("pk", flat=True)]
        for more in ({}, {"select_across": "1"}):
            form = {"action": action, "_selected_action": chosen, "post": "yes", "reason": "x", **more}
            assert support.post(path, form).status_code < 500, (path, action)
        tried += 1
    assert tried >= 20
    assert state(admin_sql) == before


def test_the_same_by_a_superuser_does_write(staff: Client, world: Person, admin_sql: SQL) -> None:
    """The control: these addresses and actions are the ones that write."""
    before = state(admin_sql)
    staff.post(
        "/admin/generation/pool/", {"action": "pause", "_selected_action": "1", "select_across": "1", "reason": "x"}
    )
    worker = Worker.objects.get()
    staff.post(f"/admin/now/workers/{worker.pk}/drain/")
    staff.post(f"/admin/accounts/tenant/{world.tenant.pk}/suspend/", {"reason": "x"})
    changed = {table for table, value in state(admin_sql).items() if before[table] != value}
    assert {"generation_pool", "generation_worker", "accounts_tenant"} <= changed


@pytest.fixture
def staff(db: object) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.org", None))
    return client


def test_everything_but_prompts_is_seen(support: Client, staff: Client, world: Person) -> None:
    shown = 0
    for path in addresses(world):
        if "/auth/group/" in path or path.endswith(("/add/", "/delete/", "/password/")):
            continue
        answer = support.get(path)
        if answer.status_code == 200:
            shown += 1
            content = b"".join(answer.streaming_content) if answer.streaming else answer.content
            for secret in (PROMPT, NEGATIVE, METADATA, SEALED, "xyz", world.secret):
                assert secret.encode() not in content, path
    assert shown >= 25
    for model in shown_models():
        if model is not Group:
            assert support.get(f"/admin/{label(model)}/").status_code == 200, model
    with across_tenants():
        row = Generation.objects.get()
    path = f"/admin/generation/generation/{row.pk}/change/"
    assert "hidden" in support.get(path).content.decode()
    assert PROMPT in staff.get(path).content.decode()
    assert support.get("/admin/auth/group/").status_code == 403


@pytest.mark.parametrize("name", ["prompt", "negative_prompt", "params"])
def test_prompts_cannot_be_guessed_by_filtering(support: Client, staff: Client, world: Person, name: str) -> None:
    for client in (support, staff):
        for lookup in ("contains", "startswith", "regex"):
            answer = client.get("/admin/generation/generation/", {f"{name}__{lookup}": "a secret"})
            assert answer.status_code == 400
    assert support.get("/admin/generation/failure/", {"generation__prompt__contains": "a"}).status_code == 400
    assert support.get("/admin/accounts/errand/", {"data__sealed": "xyz"}).status_code == 400


def test_a_permission_lets_others_read_prompts(world: Person) -> None:
    reader = make_user("reader", is_staff=True)
    reader.user_permissions.set(Permission.objects.filter(codename__in=("view_generation", "read_prompts")))
    client = Client()
    client.force_login(reader)
    with across_tenants():
        row = Generation.objects.get()
    assert PROMPT in client.get(f"/admin/generation/generation/{row.pk}/change/").content.decode()


def test_the_group_is_the_codes(db: object) -> None:
    group = Group.objects.get(name=SUPPORT)  # `migrate` has made it
    names = set(group.permissions.values_list("codename", flat=True))
    assert {"view_generation", "view_auditevent", "view_ledgerentry", "view_worker", "view_apikey"} <= names
    assert all(name.startswith("view_") for name in names)
    group.permissions.add(Permission.objects.get(codename="change_tenant"))
    group.permissions.remove(Permission.objects.get(codename="view_plan"))
    keep_support_group()
    assert set(group.permissions.values_list("codename", flat=True)) == names


def test_only_superusers_manage_groups(db: object) -> None:
    helper = make_user("helper", is_staff=True)
    helper.user_permissions.set(Permission.objects.all())
    client = Client()
    client.force_login(helper)
    group = Group.objects.get(name=SUPPORT)
    for path in ("", "add/", f"{group.pk}/change/", f"{group.pk}/delete/"):
        assert client.get(f"/admin/auth/group/{path}").status_code == 403
        assert client.post(f"/admin/auth/group/{path}", {"name": "mine", "post": "yes"}).status_code == 403
    member = make_user("member")
    form = {"email": member.email, "name": "x", "language": "", "is_active": "on", "groups": [group.pk]}
    client.post(f"/admin/accounts/user/{member.pk}/change/", form)
    assert not member.groups.exists()

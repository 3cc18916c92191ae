"""Every page that a person can open, with an address that shows it full: a page without its entry here fails
`test_every_page.py`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.test import Client, RequestFactory
from django.utils import timezone
from PIL import Image as Picture

from accounts.domain.invitations import invite_person
from accounts.domain.tenants import change_tenant, create_tenant
from accounts.enums import ErrandKind
from accounts.models import Errand, User
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.styles import make_style
from generation.enums import Status
from generation.models import (
    ChatCall,
    ChatModel,
    Conversation,
    Failure,
    Generation,
    GoldenCase,
    Message,
    PromptRule,
    Upstream,
    Worker,
)
from tests.factories import Person, make_member, make_user
from tests.generation.api.calls import finish
from tests.generation.domain.desk import submit
from tests.generation.lorafiles import offer_lora
from tests.generation.staff.test_comparisons import add_started_case, make_comparison
from tests.mails import invitation_token
from tests.matrix.house import House, _deletion, _export, _zip
from tests.matrix.routes import all_routes


@dataclass(frozen=True)
class Furnished:
    """A studio in which every page has something to show."""

    alice: Person
    member: User
    ended: UUID
    failed: UUID
    waiting: UUID
    style: UUID
    talk: UUID
    token: str  # of an invitation


Address = Callable[[Furnished], str]
# By the path of its route. For whoever is not signed in, and for Alice, who owns an organisation.
OUTSIDE: dict[str, Address] = {
    "/sign-in/": lambda it: "/sign-in/",
    "/sign-in/link/{token}/": lambda it: "/sign-in/link/never/",
    "/sign-up/": lambda it: "/sign-up/",
    "/sign-up/{token}/": lambda it: "/sign-up/never/",
    "/account/inactive/": lambda it: "/account/inactive/",
    "/account/verify/": lambda it: "/account/verify/",
    "/account/verify/{key}/": lambda it: "/account/verify/never/",
    "/account/password/reset/": lambda it: "/account/password/reset/",
    "/account/password/reset/sent/": lambda it: "/account/password/reset/sent/",
    "/account/password/reset/done/": lambda it: "/account/password/reset/done/",
    "/account/password/reset/{uidb36}-{key}/": lambda it: "/account/password/reset/1-never/",
    "/join/{token}/": lambda it: f"/join/{it.token}/",
    "/keys/leaked/": lambda it: "/keys/leaked/",
}
INSIDE: dict[str, Address] = {
    # First, while the session is fresh enough for them.
    "/account/": lambda it: "/account/",
    "/account/sessions/": lambda it: "/account/sessions/",
    "/account/delete/": lambda it: "/account/delete/",
    "/account/confirm/": lambda it: "/account/confirm/",
    "/account/email/": lambda it: "/account/email/",
    "/account/password/": lambda it: "/account/password/",
    "/account/second-factor/": lambda it: "/account/second-factor/",
    "/account/second-factor/set-up/": lambda it: "/account/second-factor/set-up/",
    "/studio/": lambda it: f"/studio/?again={it.ended}",
    "/gallery/": lambda it: "/gallery/",
    "/gallery/compare/": lambda it: f"/gallery/compare/?left={it.ended}&right={it.failed}",
    "/gallery/{generation}/": lambda it: f"/gallery/{it.ended}/",
    "/chat/": lambda it: "/chat/",
    "/chat/{conversation}/": lambda it: f"/chat/{it.talk}/",
    "/keys/": lambda it: "/keys/",
    "/keys/{key}/": lambda it: f"/keys/{it.alice.key.pk}/",
    "/usage/": lambda it: "/usage/",
    "/usage/budgets/{member}/": lambda it: f"/usage/budgets/{it.member.pk}/",
    "/sentiment/": lambda it: "/sentiment/",
    "/team/": lambda it: "/team/",
    "/team/styles/": lambda it: "/team/styles/",
    "/team/styles/{style}/": lambda it: f"/team/styles/{it.style}/",
    "/team/rules/": lambda it: "/team/rules/",
    "/team/organisation/": lambda it: "/team/organisation/",
    "/team/audit/": lambda it: "/team/audit/",
    "/organisations/": lambda it: "/organisations/",
    "/api/docs/": lambda it: "/api/docs/",
}
# Further states of pages, and what is shown where there is none.
MORE: dict[str, Address] = {
    "a failed one": lambda it: f"/gallery/{it.failed}/",
    "one that waits": lambda it: f"/gallery/{it.waiting}/",
    "nothing found": lambda it: "/gallery/?q=nowhere",
    "no such page": lambda it: "/never/",
}
NOT_PAGES: dict[str, str] = {
    "/": "leads to the studio",
    "/healthz": "JSON",
    "/readyz": "JSON",
    "/studio/state/": "JSON",
    "/gallery/ids/": "JSON",
    "/gallery/work/": "a piece of the gallery",
    "/chat/all.jsonl": "a file",
    "/chat/{conversation}/file.md": "a file",
    "/chat/{conversation}/file.json": "a file",
    "/usage/csv/": "a file",
    "/team/audit/csv/": "a file",
    "/switch/{lane}": "leads back",
    "/sign-in/code/": "after the right password only: the page of `/account/second-factor/confirm/`",
    "/account/password/set/": "for those without a password: the form of `/account/password/`",
    "/account/second-factor/confirm/": "with a second factor only: a field and a button, as `/account/confirm/`",
    "/account/second-factor/remove/": "with a second factor only: a question and a button",
    "/account/second-factor/recovery-codes/": "with a second factor only: a list of codes",
    "/account/second-factor/recovery-codes/new/": "with a second factor only: a question and a button",
    "/account/second-factor/recovery-codes/download/": "a file",
}


def page_routes() -> set[str]:
    """Paths of routes that answer GET, but for the API, files and the admin."""
    found = {route.path for route in all_routes() if not route.is_admin and "GET" in route.methods}
    return {path for path in found if path == "/api/docs/" or not path.startswith(("/api/", "/v1/", "/files/"))}


def admin_addresses() -> list[str]:
    """The admin's own pages; of each model its list, its form and its first row."""
    request = RequestFactory().get("/admin/")
    request.user = User.objects.filter(is_superuser=True).first()
    found = ["/admin/", "/admin/now/", "/admin/search/?q=alice", "/admin/password_change/"]
    routes = {route.path for route in all_routes()}
    with across_tenants():
        for model, options in admin.site._registry.items():
            base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            if base not in routes:  # other people's, which the studio leaves out
                continue
            found.append(base)
            if options.has_add_permission(request):
                found.append(f"{base}add/")
            first = model._default_manager.first()
            if first is not None:
                found.append(f"{base}{first.pk}/change/")
    return found


def furnish(alice: Person, media: Path) -> Furnished:
    """Something of everything, for Alice and for staff."""
    alice.user.set_password("correct horse battery staple")
    alice.user.save(update_fields=["password"])
    offer_lora(description="Soft light", trigger_words="soft, light")
    ended, failed, waiting = (submit(alice.caller, prompt=f"a white house {n}", n=1) for n in range(3))
    finish(alice, ended, media)
    logo = io.BytesIO()
    Picture.new("RGB", (40, 40), (90, 90, 200)).save(logo, "PNG")
    with in_tenant(alice.tenant.pk):
        Generation.objects.filter(pk=failed).update(
            status=Status.FAILED, error_code="bad_frame", error_message="black", finished_at=timezone.now()
        )
        Failure.objects.create(tenant_id=alice.tenant.pk, generation_id=failed, code="bad_frame", lines="row failed")
        change_tenant(by=alice.caller, address=None, logo=logo.getvalue())
        PromptRule.objects.create(tenant_id=alice.tenant.pk, text="lighthouse")
        ChatCall.objects.create(
            tenant_id=alice.tenant.pk, user=alice.user.pk, model="talker", lane="blue", outcome="done",
            charged_on=timezone.now().date(), tokens_in=7, tokens_out=9,
        )  # fmt: skip
        invite_person(by=alice.caller, email="carol@example.com", role="member")
        talk = _talk(alice)
        style = make_style(by=alice.caller, name="Ink", prompt="an ink drawing of {prompt}", negative_prompt="colour")
    house = House(alice, alice, media, lambda *_: [])
    for make in (_export, _zip, _deletion):
        make(house, alice)
    create_tenant(name="Further", owner=alice.user)
    _furnish_admin()
    return Furnished(
        alice=alice,
        member=make_member(alice.tenant, user=make_user("bob")),
        ended=ended,
        failed=failed,
        waiting=waiting,
        style=style.pk,
        talk=talk,
        token=invitation_token("carol@example.com"),
    )


def _talk(alice: Person) -> UUID:
    """A conversation in which every kind of block, and of end, is to be seen."""
    tenant, user = alice.tenant.pk, alice.user.pk
    talk = Conversation.objects.create(
        tenant_id=tenant, user=user, title="A rainbow", model="talker", system="Be short."
    )
    text = (
        "# Bent light\n\n**Red** and `violet`:\n\n- one\n\n> so\n\n| a | b |\n|--|--:|\n| 1 | 2 |\n\n```\nbend()\n```\n"
    )
    for place, fields in enumerate(
        (
            {"role": "user", "text": "Why is it bent?"},
            {"role": "assistant", "model": "talker", "text": text, "reasoning": "Hm.", "tokens_in": 9, "tokens_out": 7},
            {"role": "user", "text": "And then?"},
            {"role": "assistant", "model": "talker", "status": "broken", "code": "answer_lost", "left_out": 2},
        )
    ):
        Message.objects.create(tenant_id=tenant, conversation=talk, user=user, place=place, total_ms=900, **fields)
    return UUID(str(talk.pk))


def _furnish_admin() -> None:
    User.objects.create_superuser("staff@example.org", None, name="Staff")
    GoldenCase.objects.create(slug="red", model_id="demo", prompt="a red circle")
    add_started_case(make_comparison(cases=2))
    upstream = Upstream.objects.create(slug="desk", base_url="http://127.0.0.1:11434", kind="ollama")
    ChatModel.objects.create(slug="talker", title="Talker").targets.create(upstream=upstream, name="qwen3:0.6b")
    Worker.objects.create(name="gpu-0", pid=1, lane="blue", pool="demo", serves=["demo"], hardware="none")
    with across_tenants():
        Errand.objects.create(kind=ErrandKind.ZIP, failed_at=timezone.now(), error="no such host")


def session_of(user: User) -> dict[str, Any]:
    """The cookie of somebody who is signed in."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies["studio_session"]
    return {"name": cookie.key, "value": cookie.value}

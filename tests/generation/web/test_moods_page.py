"""The page that judges moods: who gets it, and what it says where there is nobody to ask."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.enums import Role
from generation.models import ChatModel
from tests.factories import Person, make_member

PAGE = "/sentiment/"


def text(person: Person) -> str:
    answer = person.client.get(PAGE)
    assert answer.status_code == 200 and answer["Cache-Control"].startswith("max-age=0, no-cache, no-store")
    return str(answer.content.decode())


def test_it_needs_a_model_and_says_which_one_is_the_demo(alice: Person) -> None:
    assert "No chat model yet" in text(alice) and 'id="moods"' not in text(alice)
    call_command("offerdemochat")
    found = text(alice)
    assert '<option value="demo-chat" selected>Demo model</option>' in found
    assert 'data-demo="demo-chat"' in found and "The demo model is tiny." in found
    assert "moods.js" in found and 'data-max-texts="100"' in found
    assert 'href="/sentiment/" aria-current="page"' in found
    ChatModel.objects.update(enabled=False)
    ChatModel.objects.create(slug="other", title="<b>Other")
    found = text(alice)
    assert "data-demo" not in found and "&lt;b&gt;Other" in found and "<b>Other" not in found


def test_it_is_in_the_readers_language(alice: Person) -> None:
    call_command("offerdemochat")
    answer = alice.client.get(PAGE, headers={"Accept-Language": "zh-CN"}).content.decode()
    assert "情感" in answer and "今天心情真好" in answer


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_viewers_only_read_why_not(alice: Person, role: Role) -> None:
    call_command("offerdemochat")
    client = Client()
    client.force_login(make_member(alice.tenant, role=role))
    found = client.get(PAGE).content.decode()
    assert ('id="moods"' in found) == (role == Role.MEMBER)
    assert ("You are a viewer here" in found) == (role == Role.VIEWER)

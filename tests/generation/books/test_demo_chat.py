"""The demo chat model is offered at every start; what staff change stays."""

from __future__ import annotations

import io

import pytest
from django.conf import LazySettings
from django.core.management import call_command

from generation.books.upstreams import read_upstream
from generation.chat.demomodel import DEMO_MODEL
from generation.chat.targets import TRANSFORMERS_FIELDS
from generation.models import ChatModel, ChatTarget, Upstream

pytestmark = pytest.mark.django_db


def test_it_follows_the_port_and_keeps_what_staff_say(settings: LazySettings) -> None:
    settings.STUDIO_CHAT_PORT = 8195
    call_command("offerdemochat")
    row = Upstream.objects.get()
    found = read_upstream(vars(row))
    assert (row.base_url, found.fields, found.health_path) == ("http://127.0.0.1:8195", TRANSFORMERS_FIELDS, "/health")
    assert ChatTarget.objects.get().name == DEMO_MODEL
    model = ChatModel.objects.get()
    assert (model.slug, model.public, model.sampling) == ("demo-chat", True, {"temperature": 0})

    ChatModel.objects.update(title="Ours", enabled=False)
    Upstream.objects.update(concurrency=2)
    settings.STUDIO_CHAT_PORT = 8200
    call_command("offerdemochat")
    row, model = Upstream.objects.get(), ChatModel.objects.get()
    assert (row.base_url, row.concurrency) == ("http://127.0.0.1:8200", 2)
    assert (model.title, model.enabled) == ("Ours", False)
    assert ChatTarget.objects.count() == 1


@pytest.mark.parametrize("name", ["upstream", "model"])
def test_what_is_somebodys_own_stays(name: str) -> None:
    if name == "upstream":
        Upstream.objects.create(slug="demo", kind="openai", base_url="https://gpu.example", credential="sealed")
    else:
        ChatModel.objects.create(slug="demo-chat", title="Ours", public=False)
    said = io.StringIO()
    call_command("offerdemochat", stderr=said)
    assert "somebody's own" in said.getvalue()
    if name == "upstream":
        row = Upstream.objects.get()
        assert (row.base_url, row.credential, ChatModel.objects.count()) == ("https://gpu.example", "sealed", 0)
    else:
        model = ChatModel.objects.get()
        assert (model.title, model.public, Upstream.objects.count()) == ("Ours", False, 0)


def test_a_true_model_comes_first() -> None:
    call_command("offerdemochat")
    ChatModel.objects.create(slug="qwen", title="Qwen")
    ChatModel.objects.filter(slug="demo-chat").update(title="Ours")
    call_command("offerdemochat")
    assert list(ChatModel.objects.order_by("position", "slug").values_list("slug", flat=True)) == ["qwen", "demo-chat"]
    ChatModel.objects.filter(slug="demo-chat").update(position=0)
    call_command("offerdemochat")
    assert ChatModel.objects.get(slug="demo-chat").position == 0, "staff may think otherwise"

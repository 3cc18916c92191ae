"""The demo chat model among the upstreams: what `manage.py up` serves, tenants may use (docs/chat-models.md)."""

from __future__ import annotations

from pathlib import Path

from generation.books.loading import write_upstreams
from generation.books.upstreamfile import parse_upstreams
from generation.chat.demomodel import DEMO_MODEL, DEMO_SLUG
from generation.models import ChatModel, Upstream

_FILE = """
[upstreams.demo]
kind = "openai"
base_url = "http://127.0.0.1:{port}"
takes = ["seed", "stop", "tools"]
first_byte_s = 20  # its first answer comes after a warm-up of seconds
concurrency = 4
health_path = "/health"

[models.{slug}]
title = "Demo model"
targets = [{{ upstream = "demo", name = "{name}" }}]
max_tokens = 128
max_prompt_chars = 1500
sampling = {{ temperature = 0 }}
"""
"""It was trained on conversations of up to 1,024 tokens, and knows one good answer to each."""


LAST = 1000
"""Its place among the models: where none is named the first is asked, which is a true one where there is one."""


def offer_demo_chat(*, port: int, name: str) -> bool:
    """Write it into the tables, or its new port. What staff change in the admin stays, disabled too.

    False, and nothing is written, where an upstream or a model of others has its name.
    """
    if not _may_write(name):
        return False
    is_new = not ChatModel.objects.filter(slug=DEMO_SLUG).exists()
    write_upstreams(parse_upstreams(_FILE.format(port=port, name=name, slug=DEMO_SLUG), path=Path("demo")), apply=True)
    if is_new:
        ChatModel.objects.filter(slug=DEMO_SLUG).update(position=LAST)
    return True


def demo_rows() -> set[tuple[str, str]]:
    """(kind, slug) of what is ours, which no file of upstreams names."""
    model = ChatModel.objects.filter(slug=DEMO_SLUG).first()
    return {("upstream", "demo"), ("model", DEMO_SLUG)} if model and _is_ours(model, DEMO_MODEL) else set()


def _may_write(name: str) -> bool:
    """Whether the names are free, or ours."""
    model = ChatModel.objects.filter(slug=DEMO_SLUG).first()
    if model is None:
        return not Upstream.objects.filter(slug="demo").exists()
    return _is_ours(model, name)


def _is_ours(model: ChatModel, name: str) -> bool:
    """What was loaded last of it says so."""
    return any((target["upstream"], target["name"]) == ("demo", name) for target in model.loaded.get("targets", ()))

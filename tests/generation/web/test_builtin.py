"""The studio's own models are called in the page's language; what staff write stays as it is."""

from __future__ import annotations

import tomllib

import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import translation

from generation.books.demochat import offer_demo_chat
from generation.chat.demomodel import DEMO_MODEL, DEMO_SLUG
from generation.models import ChatModel, Lora, Model
from generation.web.builtin import WORDS, in_page_language
from tests.factories import Person


@pytest.mark.parametrize("file", ["models.toml", "loras.toml"])
def test_every_word_of_what_comes_along_is_known(file: str) -> None:
    entries = tomllib.loads((settings.BASE_DIR / "deploy" / file).read_text(encoding="utf-8")).values()
    said = {one[name] for one in entries if one.get("enabled", True) for name in ("title", "description")}
    assert said and said <= WORDS
    with translation.override("zh-hans"):
        assert all(in_page_language(word) != word for word in WORDS)


def test_pages_say_them_in_the_readers_language(alice: Person) -> None:
    call_command("loadmodels")
    offer_demo_chat(port=9, name=DEMO_MODEL)

    def text(page: str) -> str:
        return str(alice.client.get(page, headers={"Accept-Language": "zh-CN"}).content.decode())

    assert ">演示</option>" in text("/studio/") and "演示人像" in text("/studio/") and "人像" in text("/gallery/")
    assert "Evening light" not in text("/studio/")
    assert ">演示模型</option>" in text("/chat/") and ">演示模型</option>" in text("/sentiment/")
    assert ">Demo</option>" in str(alice.client.get("/studio/").content.decode())

    Model.objects.filter(slug="demo").update(title="Ours")
    Lora.objects.update(title="Demo's own")
    ChatModel.objects.filter(slug=DEMO_SLUG).update(title="Demo model 2")
    assert ">Ours</option>" in text("/studio/") and "Demo&#x27;s own" in text("/studio/")
    assert ">Demo model 2</option>" in text("/chat/")

"""What the pages offer to try goes right with the demo chat model, in both languages."""

from __future__ import annotations

import pytest
from django.utils.translation import override

from generation.engine.chatdemo.evaluate import Demo
from generation.engine.chatdemo.talk import read_talk
from generation.web.chatsamples import demo_samples
from generation.web.moods import samples

ANSWERS = {
    "en": ["a red circle", "a yellow house at sunset", "a green tree at night"],
    "zh-hans": ["一个红色的圆形", "日落时的一座黄色的房子", "夜晚的一棵绿色的树"],
}


@pytest.fixture(scope="module")
def demo() -> Demo:
    return Demo()


@pytest.mark.parametrize("language", ANSWERS)
def test_each_sample_is_answered_well(demo: Demo, language: str) -> None:
    with override(language):
        moods, wishes = samples(), demo_samples()
    scores = [demo.decide(text) for text in moods]
    assert [max(one, key=lambda mood: one[mood]) for one in scores] == ["positive", "negative", "neutral"]
    assert [demo.chat(text, system="") for text in wishes] == [
        *ANSWERS[language],
        read_talk(language[:2]).answers["who"],
    ]

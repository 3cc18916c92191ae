"""The words of the demo: what the page may promise, and what it names as unknown."""

import random
import subprocess
import sys

import pytest

from generation.engine.demo import words
from generation.engine.demo.captions import sample_caption
from generation.engine.demo.specs import sample_training_spec


@pytest.mark.parametrize("prompt", [prompt for pair in words.SAMPLES for prompt in pair])
def test_samples_hold_only_known_words(prompt: str) -> None:
    assert words.unknown_words(prompt) == []


def test_every_caption_of_the_recipe_holds_only_known_words() -> None:
    rng = random.Random(4)
    for _ in range(3000):
        caption = sample_caption(sample_training_spec(rng), rng=rng)
        assert words.unknown_words(caption) == [], caption


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("A red DRAGON eating a house, dragon!", ["dragon", "eating"]),
        ("一条龙在草地上", ["龙"]),
        ("夜晚的飞船和红色的房子", ["飞"]),
        ("a house at night with 3 cats", ["3", "cats"]),
        ("ein rotes Haus", ["ein", "rotes", "haus"]),
        ("", []),
    ],
)
def test_unknown_words_are_named_once_in_order(prompt: str, unknown: list[str]) -> None:
    assert words.unknown_words(prompt) == unknown


def test_words_need_no_torch() -> None:
    code = "import sys, generation.engine.demo.words as w; assert w.vocabulary(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

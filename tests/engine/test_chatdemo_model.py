"""The committed chat checkpoint: small, loadable by the plain classes, and it says what is asked (a sample of it)."""

from __future__ import annotations

import json

import pytest

from generation.engine.chatdemo import prompts
from generation.engine.chatdemo.evaluate import Demo
from generation.engine.chatdemo.model import CHECKPOINT
from generation.engine.chatdemo.moods import GOLDEN, held_out_sentences
from generation.engine.chatdemo.tokenizer import train_tokenizer
from generation.engine.chatdemo.wishes import held_out_wishes


@pytest.fixture(scope="module")
def demo() -> Demo:
    return Demo()


def likeliest(demo: Demo, text: str) -> str:
    scores = demo.decide(text)
    assert sum(scores.values()) == pytest.approx(1, abs=0.01)
    return max(scores, key=lambda mood: scores[mood])


def test_checkpoint_is_small_and_holds_no_pickles_or_folders() -> None:
    files = [path for path in CHECKPOINT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 15_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja"}
    assert "_name_or_path" not in json.loads((CHECKPOINT / "config.json").read_text())
    assert json.loads((CHECKPOINT / "config.json").read_text())["architectures"] == ["Qwen2ForCausalLM"]
    assert (CHECKPOINT / "decision_template.jinja").read_text() == prompts.DECISION_TEMPLATE


def test_tokenizer_is_what_the_recipe_makes(demo: Demo) -> None:
    assert demo.tokenizer.get_vocab() == train_tokenizer().get_vocab()


@pytest.mark.parametrize(("text", "mood"), GOLDEN)
def test_golden_sentences(demo: Demo, text: str, mood: str) -> None:
    assert likeliest(demo, text) == mood


def test_a_sample_of_held_out_sentences(demo: Demo) -> None:
    sentences = held_out_sentences(seed=0, count=100)
    wrong = [one.text for one in sentences if likeliest(demo, one.text) != one.mood]
    assert len(wrong) <= 12, wrong


def test_a_sample_of_held_out_wishes(demo: Demo) -> None:
    wishes = held_out_wishes(seed=0, count=12)
    wrong = [(one.text, answer) for one in wishes if (answer := demo.chat(one.text)) != one.prompt]
    assert len(wrong) <= 4, wrong


def test_a_wish_in_plain_words(demo: Demo) -> None:
    assert demo.chat("could I have something red and round", system="") == "a red circle"

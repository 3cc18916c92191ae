"""The committed chat checkpoint: small, loadable by the plain classes, and it says what is asked (a sample of it)."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from multiprocessing.pool import ThreadPool

import pytest
import torch

from generation.engine.chatdemo import prompts
from generation.engine.chatdemo.evaluate import Demo, judge_moods, judge_wishes
from generation.engine.chatdemo.model import CHECKPOINT
from generation.engine.chatdemo.moods import GOLDEN, held_out_sentences
from generation.engine.chatdemo.quickjudge import QuickJudge
from generation.engine.chatdemo.tokenizer import train_tokenizer
from generation.engine.chatdemo.train import RECORD_FILE, ChatRecipe
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


def test_the_recipe_as_it_stands_made_the_checkpoint() -> None:
    record = json.loads((CHECKPOINT / RECORD_FILE).read_text())
    recipe, config = ChatRecipe(), json.loads((CHECKPOINT / "config.json").read_text())
    by_clock = ("steps", "seconds")
    kept = {name: value for name, value in record["recipe"].items() if name not in by_clock}
    assert kept == json.loads(json.dumps({k: v for k, v in asdict(recipe).items() if k not in by_clock}))
    assert recipe.steps == record["done"]
    assert (recipe.width, recipe.layers) == (config["hidden_size"], config["num_hidden_layers"])
    assert recipe.inner == config["intermediate_size"]


def test_the_checkpoint_is_the_best_of_those_trained_by_the_dev_split() -> None:
    record = json.loads((CHECKPOINT / RECORD_FILE).read_text())
    assert record["chosen"] == max(record["trained"], key=lambda name: record["trained"][name]["dev"])
    assert record["trained"][record["chosen"]]["done"] == record["done"]
    assert record["trained"][record["chosen"]]["dev"] == record["dev"]["all"]


def test_tokenizer_is_what_the_recipe_makes(demo: Demo) -> None:
    assert demo.tokenizer.get_vocab() == train_tokenizer().get_vocab()


@pytest.mark.parametrize(("text", "mood"), GOLDEN)
def test_golden_sentences(demo: Demo, text: str, mood: str) -> None:
    assert likeliest(demo, text) == mood


def test_a_sample_of_held_out_sentences(demo: Demo) -> None:
    sentences = held_out_sentences(seed=0, count=100)
    wrong = [one.text for one in sentences if likeliest(demo, one.text) != one.mood]
    assert len(wrong) <= 8, wrong


def test_a_sample_of_held_out_wishes(demo: Demo) -> None:
    wishes = held_out_wishes(seed=0, count=12)
    wrong = [(one.text, answer) for one in wishes if (answer := demo.chat(one.text)) != one.prompt]
    assert len(wrong) <= 2, wrong


def test_what_is_counted_is_what_was_judged_and_drawn() -> None:
    sentences, wishes = held_out_sentences(seed=0, count=20)[::4], held_out_wishes(seed=0, count=3)
    wishes[1] = replace(wishes[1], spec=wishes[2].spec)  # drawn as wished, but not this
    with ThreadPool(2) as workers:
        moods, drawn = (
            judge_moods(CHECKPOINT, sentences, workers=workers),
            judge_wishes(CHECKPOINT, wishes, workers=workers),
        )
    assert moods["choice"] == 1 - len(moods["wrong"]) / 5 and moods["count"] == 5
    assert (drawn["right"], drawn["worded_as_expected"], len(drawn["wrong"])) == (0.6667, 1.0, 1)
    assert drawn["wrong"][0]["wish"] == wishes[1].text


def test_a_wish_in_plain_words(demo: Demo) -> None:
    assert demo.chat("could I have something red and round", system="") == "a red circle"


def test_many_at_once_are_judged_as_one_by_one(demo: Demo) -> None:
    judge = QuickJudge(demo.model, demo.tokenizer, device=torch.device("cpu"))
    texts = [one.text for one in held_out_sentences(seed=2, count=20)]
    assert sum(a == likeliest(demo, text) for a, text in zip(judge.decide(texts), texts, strict=True)) >= 19
    wishes = [one.text for one in held_out_wishes(seed=2, count=6)]
    assert sum(a == demo.chat(text) for a, text in zip(judge.answer(wishes), wishes, strict=True)) >= 5


def test_without_a_mask_the_fused_attention_looks_back_only(demo: Demo) -> None:
    model, ids = demo.model, torch.arange(40).reshape(2, 20)
    with torch.no_grad():
        usual = model.model(input_ids=ids, use_cache=False).last_hidden_state
        model.set_attn_implementation("sdpa")
        bare = model.model(input_ids=ids, attention_mask={"full_attention": None}, use_cache=False).last_hidden_state
        ids[:, 10:] += 50
        other = model.model(input_ids=ids, attention_mask={"full_attention": None}, use_cache=False).last_hidden_state
    torch.testing.assert_close(bare, usual, rtol=0.1, atol=0.1)
    torch.testing.assert_close(bare[:, :10], other[:, :10])

"""The teaching set of the demo chat model: what is held out stays out, and its words fall into known parts."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import pytest
import torch
from jinja2 import Environment
from transformers import Qwen2Tokenizer

from generation.chat.tasks import read_tasks
from generation.engine.chatdemo import prompts
from generation.engine.chatdemo.batches import NOT_ASKED, Encoder, make_batches, question_text, source_of
from generation.engine.chatdemo.bpe import Merges, spell
from generation.engine.chatdemo.coined import coin
from generation.engine.chatdemo.dev import TEMPLATES, dev_sentences
from generation.engine.chatdemo.examples import Example, decide_mood, sample_example
from generation.engine.chatdemo.moods import GOLDEN, KINDS, held_out_sentences, make_sentence, sample_sentence, words_of
from generation.engine.chatdemo.split import DEV, HELD_OUT, held_out_words
from generation.engine.chatdemo.tokenizer import train_tokenizer
from generation.engine.chatdemo.train import ChatRecipe, train
from generation.engine.chatdemo.vocabulary import NEGATIVE, POSITIVE, read_more, read_vocabulary
from generation.engine.chatdemo.wishes import held_out_wishes, sample_wish
from tests.proofs.chatdemo import FRESH


@pytest.fixture(scope="module")
def tokenizer() -> Qwen2Tokenizer:
    return train_tokenizer(examples=300)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    rng = random.Random(1)
    return [sample_example(rng, more=number % 2 == 1) for number in range(3000)]


def test_training_meets_no_held_out_word_and_no_golden_sentence(examples: list[Example]) -> None:
    texts = [text for one in examples for role, text in one.messages if role != "system"]
    assert not [text for text in texts if held_out_words(text)]
    assert not {text for text, _ in GOLDEN} & set(texts)
    assert len(HELD_OUT["en"]) > 100 and len(HELD_OUT["zh"]) > 50


def test_held_out_sentences_are_what_they_claim() -> None:
    found = held_out_sentences(seed=0, count=500)
    assert len({one.text for one in found}) == 500
    assert sum(one.kind == "negated" for one in found) == sum(one.kind == "neutral" for one in found) == 100
    assert sum(one.language == "zh" for one in found) == 250
    for one in found:
        assert all(
            word.lower() in HELD_OUT[one.language] for word, _ in one.words if " " not in word and "我" not in word
        )
    for language in ("en", "zh"):
        templates = read_vocabulary(language).templates
        for kind in ("plain", "negated", "turn", "neutral"):
            assert not set(templates[kind]) & set(templates[f"{kind}_held_out"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_training_template_can_become_one_that_is_held_out(language: str) -> None:
    templates, more = read_vocabulary(language).templates, read_more(language).templates
    kept = {one for kind in KINDS for one in templates[f"{kind}_held_out"]}
    kept |= {re.sub(r"\{not_", "{", one) for one in FRESH[language]}
    kept |= {one for kind in KINDS for one in TEMPLATES[language][kind]}
    trained = {text for kind in KINDS for one in templates[kind] + more[kind] for text in choices_of(one)}
    assert len(trained) > 10_000 and not trained & kept
    assert not set(more["openers"]) & set(templates["openers_held_out"])


def choices_of(pattern: str) -> Iterator[str]:
    """Every way to choose among `[a|b]`."""
    parts = re.split(r"\[([^\]]*)\]", pattern)
    return map("".join, product(*(part.split("|") if at % 2 else [part] for at, part in enumerate(parts))))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_words_of_the_second_part_are_not_held_out(language: str) -> None:
    more = read_more(language)
    added = [*more.flat.values(), *(words for gaps in more.moods.values() for words in gaps.values())]
    assert not [word for words in added for word in words if held_out_words(word.lower())]
    for mood in (POSITIVE, NEGATIVE):
        for gap, words in words_of(language, False, more=True).moods[mood].items():
            assert set(words) == {*words_of(language, False).moods[mood][gap], *more.moods[mood].get(gap, ())}


def test_an_english_word_that_is_held_out_has_a_family_that_stays() -> None:
    words = read_vocabulary("en")
    for family in (*words.families[POSITIVE], *words.families[NEGATIVE]):
        if family & HELD_OUT["en"]:
            assert len(family - HELD_OUT["en"]) >= 2


def test_wishes_that_are_held_out_are_never_trained() -> None:
    rng = random.Random(0)
    trained = {sample_wish(rng).text for _ in range(5000)}
    assert not trained & {one.text for one in held_out_wishes(seed=0, count=200)}


def test_the_tokenizer_is_the_same_each_time_and_no_chinese_characters_are_joined(tokenizer: Qwen2Tokenizer) -> None:
    assert train_tokenizer(examples=300).get_vocab() == tokenizer.get_vocab()
    text = "这个实验太难了,我快崩溃了"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert len(tokenizer("今天心情真好").input_ids) == 6


def test_most_held_out_words_begin_with_the_stem_of_their_family(tokenizer: Qwen2Tokenizer) -> None:
    moods = defaultdict(set)
    held: dict[str, str] = {}
    for mood in (POSITIVE, NEGATIVE):
        for words in words_of("en", False).moods[mood].values():
            for word in words:
                moods[tokenizer.tokenize(f" {word}")[0]].add(mood)
        held |= {word: mood for words in words_of("en", True).moods[mood].values() for word in words}
    known = sum(moods.get(tokenizer.tokenize(f" {word}")[0]) == {mood} for word, mood in held.items())
    assert known / len(held) > 0.7


def test_merges_that_grow_do_not_stand_in_each_others_way() -> None:
    merges = Merges()
    merges.grow([" terr", " trea", " te"])
    merges.learn({"erra": 9}, most=3)
    for word, parts in ((" terrible", ["Ġterr", "i", "b", "l", "e"]), (" treat", ["Ġtrea", "t"]), (" tx", ["Ġt", "x"])):
        assert merges._apply(spell(word)) == parts


def test_a_row_is_what_the_server_makes_of_the_question(tokenizer: Qwen2Tokenizer) -> None:
    rng = random.Random(2)
    example = decide_mood(sample_sentence(rng, noisy=False), rng)
    row = Encoder(tokenizer.backend_tokenizer).encode(example)
    template = Environment(autoescape=False).from_string(prompts.DECISION_TEMPLATE)  # noqa: S701  (no page)
    assert tokenizer.decode(row.prompt) == template.render(question=example.question, state=example.state)
    assert question_text(example.question).splitlines()[1] == f"A {example.question['options'][0]}"
    assert tokenizer.decode(row.answer) == f"{example.answer}<|im_end|>"
    assert len(row.tags) == len(row.prompt) and {*row.tags} - {NOT_ASKED}


def test_batches_are_padded_behind_and_within_their_size(tokenizer: Qwen2Tokenizer) -> None:
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for batch in islice(make_batches(source_of(tokenizer, tokens=1024, seed=0)), 5):
        assert batch.ids.numel() <= 1024
        flat = batch.ids.flatten()
        assert (flat[batch.asked + 1] == batch.targets).all()
        assert (batch.targets == end).sum() == len(batch.ids)
        assert len(batch.weights) == len(batch.targets) and len(batch.tagged) == len(batch.tags)


def test_batches_are_the_same_whatever_the_number_of_processes(tokenizer: Qwen2Tokenizer) -> None:
    source = source_of(tokenizer, tokens=256, seed=3, more=True)
    count = 2 * len(source.make_pool(0))
    alone, together = make_batches(source), make_batches(source, workers=2)
    for one, other in zip(islice(alone, count), islice(together, count), strict=True):
        assert all(torch.equal(vars(one)[name], vars(other)[name]) for name in vars(one))
    together.close()


def test_the_rate_comes_down_by_the_end_of_the_steps_or_of_the_time() -> None:
    recipe = ChatRecipe(warmup=100, hold=0.3)
    assert recipe.rate(50, 0.0) == pytest.approx(0.5)
    assert recipe.rate(200, 0.2) == 1.0 > recipe.rate(5000, 0.65) > recipe.rate(9000, 1.0) == pytest.approx(0.02)


def test_training_goes_on_where_it_stopped_and_says_how_far_it_came(tokenizer: Qwen2Tokenizer, tmp_path: Path) -> None:
    small = ChatRecipe(steps=2, tokens=256, width=64, layers=1, inner=64)
    _, training = train(replace(small, steps=1), tokenizer, work=tmp_path)
    first = torch.load(tmp_path / "chat.pt", weights_only=True)
    train(small, tokenizer, work=tmp_path)
    second = torch.load(tmp_path / "chat.pt", weights_only=True)
    assert (training.done, first["step"], second["step"]) == (1, 1, 2)
    assert any((second["namer"][name] != weight).any() for name, weight in first["namer"].items())


def test_training_ends_when_its_time_is_up(tokenizer: Qwen2Tokenizer, tmp_path: Path) -> None:
    recipe = ChatRecipe(seconds=1.0, tokens=256, width=64, layers=1, inner=64)
    _, training = train(recipe, tokenizer, work=tmp_path)
    assert 0 < training.done < recipe.steps and training.seconds < 10
    training.write(tmp_path / "training.json")
    assert json.loads((tmp_path / "training.json").read_text())["done"] == training.done


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_coined_word_is_of_neither_split_in_training(language: str) -> None:
    rng = random.Random(5)
    coined = {coin(language, mood, "thing", rng) for mood in (POSITIVE, NEGATIVE) for _ in range(200)}
    assert len(coined) > 100
    rng = random.Random(6)
    texts = [sample_example(rng, more=True).state for _ in range(1500)]
    assert not [text for text in texts if held_out_words(text, of=DEV)]
    assert not DEV[language] & HELD_OUT[language]


def test_dev_sentences_hold_words_of_the_dev_split_alone() -> None:
    found = dev_sentences(count=200)
    assert len({one.text for one in found}) == 200
    assert {one.kind for one in found} == set(KINDS)
    for one in found:
        assert all(word in DEV[one.language] for word, _ in one.words)
        assert bool(one.words) == (one.kind != "neutral")


@pytest.mark.parametrize("kind", ["plain", "negated", "turn", "neutral"])
def test_sentences_have_no_gap_left(kind: str) -> None:
    rng = random.Random(3)
    for language in ("en", "zh"):
        for more in (None, False, True):
            for mood in ("neutral",) if kind == "neutral" else (POSITIVE, NEGATIVE):
                for _ in range(20):
                    one = make_sentence(
                        rng, kind=kind, mood=mood, language=language, held_out=more is None, more=bool(more)
                    )
                    assert not re.search(r"[{}\[\]|]", one.text) and one.mood == mood


def test_the_shipped_tasks_ask_as_the_model_was_taught() -> None:
    tasks = read_tasks()
    assert tasks.sentiment.choice.instructions == prompts.INSTRUCTIONS
    assert tasks.sentiment.prompt.system == prompts.SENTIMENT
    assert list(tasks.sentiment.choice.criteria) == ["positive", "neutral", "negative"]

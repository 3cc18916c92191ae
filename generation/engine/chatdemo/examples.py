"""What the demo chat model is trained on: conversations with an answer, for its tasks in turn."""

import random
from dataclasses import dataclass, field
from typing import Any

from generation.engine.chatdemo import prompts
from generation.engine.chatdemo.moods import GOLDEN, Sentence, sample_sentence
from generation.engine.chatdemo.split import DEV, held_out_words
from generation.engine.chatdemo.talk import sample_exchange
from generation.engine.chatdemo.vocabulary import MOODS
from generation.engine.chatdemo.wishchanges import make_change
from generation.engine.chatdemo.wishes import Wish, sample_wish
from generation.engine.demo.specs import Shape

LABELS = ("A", "B", "C", "D", "E", "F")
SHARES = {"decide": 0.34, "judge": 0.17, "wish": 0.33, "talk": 0.1, "other": 0.06}
HARD = 0.5
"""How often a wish without a background is replaced by another one, in the second part of training."""


@dataclass(frozen=True)
class Example:
    """A conversation and the answer to learn. `question` is set where it is a decision among options."""

    messages: tuple[tuple[str, str], ...]
    """(role, text) in order."""
    answer: str
    question: dict[str, Any] = field(default_factory=dict)
    sentence: Sentence | None = None
    """Where the last message is a sentence with or without a mood: what its words and the whole of it say."""

    @property
    def state(self) -> str:
        """The text that a decision is about."""
        return self.messages[-1][1]


def sample_example(rng: random.Random, *, more: bool = False) -> Example:
    """One training example, `more`: of the second part of training; none holds a word that is held out or of the dev
    split, or a sentence of the golden suite.
    """
    golden = {text for text, _ in GOLDEN}
    while True:
        found = MAKERS[rng.choices(list(SHARES), list(SHARES.values()))[0]](rng, more)
        texts = [text for role, text in found.messages if role != "system"] + [found.answer]
        if not any(held_out_words(text) or held_out_words(text, of=DEV) or text in golden for text in texts):
            return found


def decide_mood(sentence: Sentence, rng: random.Random) -> Example:
    """The mood of a sentence as a choice among labelled options, in any order."""
    options = list(MOODS)
    if rng.random() < 0.4:
        rng.shuffle(options)
    return _decision(prompts.pick_instructions(rng), options, sentence, sentence.mood)


def _decision(instructions: str, options: list[str], about: Sentence | Wish, right: str) -> Example:
    question = {"instructions": instructions, "options": options, "labels": list(LABELS[: len(options)])}
    sentence = about if isinstance(about, Sentence) else None
    return Example((("user", about.text),), LABELS[options.index(right)], question, sentence)


def _make_decide(rng: random.Random, more: bool) -> Example:
    return decide_mood(sample_sentence(rng, more=more), rng)


def _make_judge(rng: random.Random, more: bool) -> Example:
    sentence = sample_sentence(rng, more=more)
    messages = (("system", prompts.pick_sentiment(rng)), ("user", sentence.text))
    return Example(messages, sentence.mood, sentence=sentence)


def _system(rng: random.Random) -> tuple[tuple[str, str], ...]:
    chosen = prompts.pick_chat(rng)
    return (("system", chosen),) if chosen else ()


def _make_wish(rng: random.Random, more: bool) -> Example:
    turns: list[tuple[str, str]] = []
    wish = _pick_wish(rng, hard=more)
    while rng.random() < 0.25 and len(turns) < 4:
        turns += [("user", wish.text), ("assistant", wish.prompt)]
        wish = _follow(wish, rng)
    return Example((*_system(rng), *turns, ("user", wish.text)), wish.prompt)


def _pick_wish(rng: random.Random, *, hard: bool) -> Wish:
    """A training wish. Of `hard` ones more have a background: two colours, and which one is whose."""
    wish = sample_wish(rng)
    while hard and not (isinstance(wish.spec, Shape) and wish.spec.background) and rng.random() < HARD:
        wish = sample_wish(rng)
    return wish


def _follow(before: Wish, rng: random.Random) -> Wish:
    """The wish after a wish: mostly a change of its picture."""
    changed = make_change(before, rng) if rng.random() < 0.75 else None
    return changed or sample_wish(rng)


def _make_talk(rng: random.Random, more: bool) -> Example:
    before = sample_exchange(rng)
    turns = (("user", before.text), ("assistant", before.answer)) if rng.random() < 0.15 else ()
    exchange = sample_exchange(rng)
    if turns and rng.random() < 0.5:
        wish = sample_wish(rng)
        return Example((*_system(rng), *turns, ("user", wish.text)), wish.prompt)
    return Example((*_system(rng), *turns, ("user", exchange.text)), exchange.answer, sentence=exchange.sentence)


def _make_other(rng: random.Random, more: bool) -> Example:
    """Other questions about a text, so that the question matters."""
    about: Wish | Sentence = sample_wish(rng) if rng.random() < 0.5 else sample_sentence(rng, more=more)
    if rng.random() < 0.5:
        instructions, options = rng.choice(prompts.LANGUAGE_INSTRUCTIONS), ["English", "Chinese"]
        right = options[about.language == "zh"]
    else:
        instructions, options = rng.choice(prompts.KIND_INSTRUCTIONS), ["picture", "talk"]
        right = options[isinstance(about, Sentence)]
    rng.shuffle(options)
    return _decision(instructions, options, about, right)


MAKERS = {"decide": _make_decide, "judge": _make_judge, "wish": _make_wish, "talk": _make_talk, "other": _make_other}

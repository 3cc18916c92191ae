"""Examples as tensors: prompts and answers in the tokens that `transformers serve` makes of them."""

import random
import re
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import count, pairwise
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen2Tokenizer

from generation.engine.chatdemo.examples import Example, sample_example
from generation.engine.chatdemo.moods import Sentence
from generation.engine.chatdemo.tokenizer import END
from generation.engine.chatdemo.vocabulary import MOODS, NEUTRAL

CUTS = (0.0, 0.0, 0.1, 0.2)
"""Shares of places between two Latin letters of a sentence where it is cut before it is encoded, each equally often, so
that a word is known by its pieces too. (The tokenizer's own dropout of merges knows no seed.)
"""
FEW_CUTS = (0.0, 0.0, 0.0, 0.06)
"""The same for other texts, whose words are all there in training."""
ONE_WORD = 5.0
"""How much a token of an answer of one word counts: a prompt's answer has ten times as many."""
POOL = 24
"""Batches that are made at once and sorted by length."""


_WITHIN = re.compile(r"(?<=[A-Za-z])(?=[A-Za-z])")

NOT_ASKED = -100
TAGS = (*MOODS, *(f"whole {mood}" for mood in MOODS))
"""What the namer (`train.py`) is taught: a word's own mood at each of its tokens, the whole sentence's behind it."""


@dataclass(frozen=True)
class Row:
    """One example in tokens; `tags` (as long as `prompt`) holds indices of `TAGS`, or `NOT_ASKED`."""

    prompt: list[int]
    answer: list[int]
    tags: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True)
class Batch:
    """Rows padded behind, and what is to be learnt of them, by its place in the flattened rows."""

    ids: Tensor
    """(B, length)"""
    asked: Tensor
    """(N,): places whose next token is to be learnt."""
    targets: Tensor
    """(N,): those next tokens."""
    weights: Tensor
    """(N,): how much each counts."""
    tagged: Tensor
    """(M,): places with a mood to name."""
    tags: Tensor
    """(M,): indices of `TAGS`."""

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`; a GPU is not waited for."""
        if device.type == "cpu":
            return self
        return Batch(*(tensor.pin_memory().to(device, non_blocking=True) for tensor in vars(self).values()))


class Encoder:
    """Turns examples into token ids, piece by piece; what repeats is encoded once."""

    def __init__(self, bpe: Tokenizer, *, cuts: Sequence[float] = CUTS) -> None:
        self._bpe, self._cuts = bpe, cuts
        self._exact = cache(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._bpe.encode(text, add_special_tokens=False).ids)

    def _encode_users(
        self, text: str, *, share: float, sentence: Sentence | None, rng: random.Random | None
    ) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for piece in _cut(text, share, rng):
            found = self._bpe.encode(piece, add_special_tokens=False)
            before = spans[-1][1] if spans else 0
            ids += found.ids
            spans += [(before + start, before + end) for start, end in found.offsets]
        tags = [NOT_ASKED if sentence is None else MOODS.index(NEUTRAL)] * len(ids)
        for word, mood in sentence.words if sentence else ():
            begin = text.lower().find(word.lower())
            for number, (start, end) in enumerate(spans):
                if start < begin + len(word) and end > begin:
                    tags[number] = MOODS.index(mood)
        return ids, tags

    def encode(self, example: Example, *, rng: random.Random | None = None) -> Row:
        """Prompt and answer as token ids; with `rng` some of users' words are cut."""
        messages = list(example.messages)
        if example.question:
            messages.insert(0, ("system", question_text(example.question)))
        ids: list[int] = []
        tags: list[int] = []
        for role, text in messages:
            ids += self._exact(f"<|im_start|>{role}\n")
            tags += [NOT_ASKED] * (len(ids) - len(tags))
            if role == "user":
                sentence = example.sentence if text == messages[-1][1] else None
                share = rng.choice(self._cuts if sentence else FEW_CUTS) if rng is not None else 0.0
                part, tagged = self._encode_users(text, share=share, sentence=sentence, rng=rng)
                ids += part
                tags += tagged
                tags += [len(MOODS) + MOODS.index(sentence.mood)] if sentence else [NOT_ASKED]
            else:
                ids += self._exact(text) if role == "system" else self._encode(text)
            ids += self._exact(f"{END}\n")
        ids += self._exact("<|im_start|>assistant\n")
        tags += [NOT_ASKED] * (len(ids) - len(tags))
        return Row(ids, [*self._encode(example.answer), *self._exact(END)], tags)


def _cut(text: str, share: float, rng: random.Random | None) -> list[str]:
    """The text in pieces; those that end within a word are cut by chance."""
    if rng is None or not share:
        return [text]
    starts = [0, *(one.start() for one in _WITHIN.finditer(text) if rng.random() < share), len(text)]
    return [text[start:end] for start, end in pairwise(starts)]


def question_text(question: Mapping[str, Any]) -> str:
    """What `decision_template.jinja` makes of a question."""
    options = zip(question["labels"], question["options"], strict=True)
    return "\n".join([question["instructions"], *(f"{label} {option}" for label, option in options)])


@dataclass(frozen=True)
class Source:
    """What batches are made of: at most `tokens` tokens each, padding included, from the numbered pools of a seed."""

    bpe: str
    """The tokenizer as JSON."""
    pad: int
    tokens: int
    seed: int
    more: bool = False
    """Of the second part of training."""
    cuts: tuple[float, ...] = CUTS

    def make_pool(self, number: int) -> list[Batch]:
        """About `POOL` batches, rows of like length together."""
        rng = random.Random(f"batches {self.seed} {number}")
        encoder = _encoder(self.bpe, self.cuts)
        wanted = POOL * self.tokens // 80
        rows = [encoder.encode(sample_example(rng, more=self.more), rng=rng) for _ in range(wanted)]
        rows.sort(key=len)
        chunks: list[list[Row]] = [[]]
        for row in rows:
            if (len(chunks[-1]) + 1) * len(row) > self.tokens:
                chunks.append([])
            chunks[-1].append(row)
        rng.shuffle(chunks)
        return [_pad(chunk, self.pad) for chunk in chunks]


@cache
def _encoder(bpe: str, cuts: tuple[float, ...]) -> Encoder:
    return Encoder(Tokenizer.from_str(bpe), cuts=cuts)


def source_of(
    tokenizer: Qwen2Tokenizer, *, tokens: int, seed: int, more: bool = False, cuts: Sequence[float] = CUTS
) -> Source:
    """The source of a training with this tokenizer."""
    return Source(
        tokenizer.backend_tokenizer.to_str(), tokenizer.pad_token_id, tokens, seed, more=more, cuts=tuple(cuts)
    )


def make_batches(source: Source, *, workers: int = 0, start: int = 0) -> Generator[Batch]:
    """Batches without end, from pool `start` on: the same ones in the same order whatever the number of processes that
    make them. 0: this one does.
    """
    if not workers:
        for number in count(start):
            yield from source.make_pool(number)
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        ahead: deque[Future[list[list[np.ndarray[Any, Any]]]]] = deque()
        try:
            for number in count(start):
                ahead.append(pool.submit(_make_arrays, source, number))
                if len(ahead) > 2 * workers:
                    yield from map(_from_arrays, ahead.popleft().result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _make_arrays(source: Source, number: int) -> list[list[np.ndarray[Any, Any]]]:
    """A pool as arrays: tensors would travel as open files, and there may be thousands."""
    return [[tensor.numpy() for tensor in vars(batch).values()] for batch in source.make_pool(number)]


def _from_arrays(arrays: list[np.ndarray[Any, Any]]) -> Batch:
    return Batch(*map(torch.from_numpy, arrays))


def _pad(rows: list[Row], pad: int) -> Batch:
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), pad)
    asked: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    tags: dict[int, int] = {}
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row.prompt + row.answer)
        start = number * length
        asked += range(start + len(row.prompt) - 1, start + len(row) - 1)
        targets += row.answer
        weights += [ONE_WORD if len(row.answer) <= 2 else 1.0] * len(row.answer)
        tags |= {start + at: tag for at, tag in enumerate(row.tags) if tag != NOT_ASKED}
    return Batch(
        ids,
        torch.tensor(asked),
        torch.tensor(targets),
        torch.tensor(weights),
        torch.tensor(list(tags), dtype=torch.long),
        torch.tensor(list(tags.values()), dtype=torch.long),
    )

"""Examples as tensors: prompts and answers in the tokens that `transformers serve` makes of them."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2Tokenizer

from generation.engine.chatdemo.examples import Example, sample_example
from generation.engine.chatdemo.moods import Sentence
from generation.engine.chatdemo.tokenizer import END
from generation.engine.chatdemo.vocabulary import MOODS, NEUTRAL

DROPOUTS = (0.0, 0.0, 0.0, 0.15)
"""Shares of merges left out in sentences, each in a quarter of them, so that a word is known by its pieces too."""
FEW_DROPOUTS = (0.0, 0.0, 0.0, 0.1)
"""The same for other texts, whose words are all there in training."""
ONE_WORD = 5.0
"""How much a token of an answer of one word counts: a prompt's answer has ten times as many."""
POOL = 24
"""Batches that are made at once and sorted by length."""


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
    """All (B, length) and padded behind. `targets`: the next token where it is to be learnt, else `NOT_ASKED`;
    `weights` (B,): how much a row's tokens count.
    """

    ids: Tensor
    targets: Tensor
    tags: Tensor
    weights: Tensor


class Encoder:
    """Turns examples into token ids, piece by piece; what repeats is encoded once."""

    def __init__(self, tokenizer: Qwen2Tokenizer) -> None:
        self._bpe = tokenizer.backend_tokenizer
        self._exact = cache(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._bpe.encode(text, add_special_tokens=False).ids)

    def _encode_users(self, text: str, *, dropout: float, sentence: Sentence | None) -> tuple[list[int], list[int]]:
        self._bpe.model.dropout = dropout or None
        found = self._bpe.encode(text, add_special_tokens=False)
        self._bpe.model.dropout = None
        tags = [NOT_ASKED if sentence is None else MOODS.index(NEUTRAL)] * len(found.ids)
        for word, mood in sentence.words if sentence else ():
            begin = text.lower().find(word.lower())
            for number, (start, end) in enumerate(found.offsets):
                if start < begin + len(word) and end > begin:
                    tags[number] = MOODS.index(mood)
        return found.ids, tags

    def encode(self, example: Example, *, rng: random.Random | None = None) -> Row:
        """Prompt and answer as token ids; with `rng` some merges of users' texts are left out."""
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
                dropout = rng.choice(DROPOUTS if sentence else FEW_DROPOUTS) if rng is not None else 0.0
                part, tagged = self._encode_users(text, dropout=dropout, sentence=sentence)
                ids += part
                tags += tagged
                tags += [len(MOODS) + MOODS.index(sentence.mood)] if sentence else [NOT_ASKED]
            else:
                ids += self._exact(text) if role == "system" else self._encode(text)
            ids += self._exact(f"{END}\n")
        ids += self._exact("<|im_start|>assistant\n")
        tags += [NOT_ASKED] * (len(ids) - len(tags))
        return Row(ids, [*self._encode(example.answer), *self._exact(END)], tags)


def question_text(question: Mapping[str, Any]) -> str:
    """What `decision_template.jinja` makes of a question."""
    options = zip(question["labels"], question["options"], strict=True)
    return "\n".join([question["instructions"], *(f"{label} {option}" for label, option in options)])


def make_batches(tokenizer: Qwen2Tokenizer, *, tokens: int, seed: int, more: bool = False) -> Iterator[Batch]:
    """Training batches of at most `tokens` tokens without end, rows of like length together; `more`: of the second part
    of training.
    """
    rng = random.Random(f"batches {seed}")
    encoder = Encoder(tokenizer)
    while True:
        rows = [encoder.encode(sample_example(rng, more=more), rng=rng) for _ in range(POOL * tokens // 80)]
        rows.sort(key=len)
        chunks: list[list[Row]] = [[]]
        for row in rows:
            if (len(chunks[-1]) + 1) * len(row) > tokens:
                chunks.append([])
            chunks[-1].append(row)
        rng.shuffle(chunks)
        yield from (_pad(chunk, tokenizer.pad_token_id) for chunk in chunks)


def _pad(rows: list[Row], pad: int) -> Batch:
    shape = (len(rows), max(map(len, rows)))
    ids = torch.full(shape, pad)
    targets, tags = torch.full(shape, NOT_ASKED), torch.full(shape, NOT_ASKED)
    for number, row in enumerate(rows):
        whole = torch.tensor(row.prompt + row.answer)
        ids[number, : len(whole)] = whole
        targets[number, len(row.prompt) - 1 : len(whole) - 1] = torch.tensor(row.answer)
        tags[number, : len(row.tags)] = torch.tensor(row.tags)
    weights = torch.tensor([ONE_WORD if len(row.answer) <= 2 else 1.0 for row in rows])
    return Batch(ids, targets, tags, weights)

"""Examples as tensors: prompts and answers in the tokens that `transformers serve` makes of them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from transformers import Qwen2Tokenizer

from generation.engine.chatdemo.examples import Example, sample_example
from generation.engine.chatdemo.tokenizer import END

DROPOUT = 0.1
"""Share of merges left out in half of the training texts, so that a word is known by its pieces too."""
ONE_WORD = 5.0
"""How much a token of an answer of one word counts: a prompt's answer has ten times as many."""
POOL = 24
"""Batches that are made at once and sorted by length."""


@dataclass(frozen=True)
class Batch:
    """`ids` (B, length), padded behind; `targets` (B, length): the next token where it is to be learnt, else -100;
    `weights` (B,): how much a row's tokens count.
    """

    ids: Tensor
    targets: Tensor
    weights: Tensor


class Encoder:
    """Turns examples into token ids, piece by piece; what repeats is encoded once."""

    def __init__(self, tokenizer: Qwen2Tokenizer) -> None:
        self._tokenizer, self._bpe = tokenizer, tokenizer.backend_tokenizer
        self._exact = cache(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._bpe.encode(text, add_special_tokens=False).ids)

    def _loose(self, text: str) -> tuple[int, ...]:
        self._bpe.model.dropout = DROPOUT
        found = self._encode(text)
        self._bpe.model.dropout = None
        return found

    def encode(self, example: Example, *, rng: random.Random | None = None) -> tuple[list[int], list[int]]:
        """Prompt and answer as token ids; with `rng` some merges of users' texts are left out."""
        messages = list(example.messages)
        if example.question:
            messages.insert(0, ("system", question_text(example.question)))
        ids: list[int] = []
        for role, text in messages:
            loose = rng is not None and role == "user" and rng.random() < 0.5
            fixed = self._exact if role == "system" and len(text) < 2000 else self._encode
            ids += self._exact(f"<|im_start|>{role}\n")
            ids += self._loose(text) if loose else fixed(text)
            ids += self._exact(f"{END}\n")
        return ids + list(self._exact("<|im_start|>assistant\n")), [*self._encode(example.answer), *self._exact(END)]


def question_text(question: dict[str, object]) -> str:
    """What `decision_template.jinja` makes of a question."""
    labels, options = question["labels"], question["options"]
    assert isinstance(labels, list) and isinstance(options, list)  # noqa: S101
    return "\n".join([str(question["instructions"]), *(f"{label} {option}" for label, option in zip(labels, options, strict=True))])


def make_batches(tokenizer: Qwen2Tokenizer, *, tokens: int, seed: int) -> Iterator[Batch]:
    """Training batches of about `tokens` tokens without end, rows of like length together."""
    rng = random.Random(f"batches {seed}")
    encoder, pad = Encoder(tokenizer), tokenizer.pad_token_id
    while True:
        rows = [encoder.encode(sample_example(rng), rng=rng) for _ in range(POOL * tokens // 80)]
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        chunks: list[list[tuple[list[int], list[int]]]] = [[]]
        for row in rows:
            if (len(chunks[-1]) + 1) * (len(row[0]) + len(row[1])) > tokens:
                chunks.append([])
            chunks[-1].append(row)
        rng.shuffle(chunks)
        yield from (_pad(chunk, pad) for chunk in chunks if chunk)


def _pad(rows: list[tuple[list[int], list[int]]], pad: int) -> Batch:
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.full((len(rows), length), pad)
    targets = torch.full((len(rows), length), -100)
    weights = torch.tensor([ONE_WORD if len(answer) <= 2 else 1.0 for _, answer in rows])
    for number, (prompt, answer) in enumerate(rows):
        whole = torch.tensor(prompt + answer)
        ids[number, : len(whole)] = whole
        targets[number, len(prompt) - 1 : len(whole) - 1] = torch.tensor(answer)
    return Batch(ids, targets, weights)

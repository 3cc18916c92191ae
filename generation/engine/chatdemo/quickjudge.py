"""Judges many texts at once, on any device: to look at a training, or to choose among some.

`python -m generation.engine.chatdemo.quickjudge FOLDER`. What counts is `evaluate.py`, which asks as the server asks.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from generation.engine.chatdemo import prompts
from generation.engine.chatdemo.batches import Encoder
from generation.engine.chatdemo.dev import dev_sentences
from generation.engine.chatdemo.examples import LABELS, Example
from generation.engine.chatdemo.model import CHECKPOINT, load_checkpoint
from generation.engine.chatdemo.moods import GOLDEN, Sentence, held_out_sentences
from generation.engine.chatdemo.tokenizer import END
from generation.engine.chatdemo.vocabulary import MOODS
from generation.engine.chatdemo.wishes import Wish, held_out_wishes

ROWS, MOST_TOKENS = 256, 48


class QuickJudge:
    """One model on one device."""

    def __init__(self, model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, *, device: torch.device) -> None:
        self._model, self._device = model.to(device).eval(), device
        self._bpe, self._pad = tokenizer.backend_tokenizer, tokenizer.pad_token_id
        self._encoder = Encoder(self._bpe)

    def judge(self) -> dict[str, Any]:
        """Shares that are right: of the dev split, of what is held out, of the golden sentences, of wishes."""
        return {
            "dev": self.judge_moods(dev_sentences()),
            "held_out": {seed: self.judge_moods(held_out_sentences(seed=seed, count=500)) for seed in range(2)},
            "golden": {text: said == mood for (text, mood), said in zip(GOLDEN, self._decide_golden(), strict=True)},
            "wishes": {seed: self.judge_wishes(held_out_wishes(seed=seed, count=200)) for seed in range(2)},
        }

    def _decide_golden(self) -> list[str]:
        return self.decide([text for text, _ in GOLDEN])

    def judge_moods(self, sentences: Sequence[Sentence]) -> dict[str, Any]:
        """By choice; shares in all, by kind, and what is wrong."""
        said = self.decide([one.text for one in sentences])
        right: dict[str, list[bool]] = defaultdict(list)
        for one, mood in zip(sentences, said, strict=True):
            for name in ("all", one.language, one.kind, f"{one.kind} {one.language}"):
                right[name].append(mood == one.mood)
        wrong = [[one.text, one.mood, mood] for one, mood in zip(sentences, said, strict=True) if mood != one.mood]
        return {name: round(sum(found) / len(found), 4) for name, found in right.items()} | {"wrong": wrong}

    def judge_wishes(self, wishes: Sequence[Wish]) -> dict[str, Any]:
        """Word for word as expected."""
        said = self.answer([wish.text for wish in wishes])
        wrong = [[wish.text, text, wish.prompt] for wish, text in zip(wishes, said, strict=True) if text != wish.prompt]
        return {"all": round(1 - len(wrong) / len(wishes), 4), "wrong": wrong}

    def decide(self, texts: Sequence[str]) -> list[str]:
        """The likeliest mood of each, as a choice asks."""
        labels = list(LABELS[: len(MOODS)])
        question = {"instructions": prompts.INSTRUCTIONS, "options": list(MOODS), "labels": labels}
        rows = [self._encoder.encode(Example((("user", text),), LABELS[0], question)).prompt for text in texts]
        ids = [self._bpe.encode(label, add_special_tokens=False).ids[0] for label in labels]
        return [MOODS[int(one)] for one in self._last(rows)[:, ids].argmax(1)]

    def answer(self, texts: Sequence[str]) -> list[str]:
        """What the model says in a chat, the likeliest token each time."""
        rows = [
            self._encoder.encode(Example((("system", prompts.CHAT), ("user", text)), LABELS[0])).prompt
            for text in texts
        ]
        starts, end = [len(row) for row in rows], self._bpe.token_to_id(END)
        open_rows = list(range(len(rows)))
        for _ in range(MOST_TOKENS):
            for number, token in zip(
                open_rows, self._last([rows[k] for k in open_rows]).argmax(1).tolist(), strict=True
            ):
                rows[number].append(token)
            open_rows = [number for number in open_rows if rows[number][-1] != end]
            if not open_rows:
                break
        return [self._bpe.decode(row[start:]) for row, start in zip(rows, starts, strict=True)]

    @torch.no_grad()
    def _last(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """The scores of the token behind each row."""
        found = []
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            ids = torch.full((len(part), max(map(len, part))), self._pad)
            for number, row in enumerate(part):
                ids[number, : len(row)] = torch.tensor(row)
            hidden = self._model.model(input_ids=ids.to(self._device), use_cache=False).last_hidden_state
            ends = torch.tensor([len(row) - 1 for row in part], device=self._device)
            found.append(self._model.lm_head(hidden[torch.arange(len(part), device=self._device), ends]).float().cpu())
        return torch.cat(found)


def main() -> None:
    """Print the shares of the checkpoint in a folder, or of the shipped one."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKPOINT
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(json.dumps(QuickJudge(*load_checkpoint(folder), device=device).judge(), ensure_ascii=False, indent=2))


if __name__ == "__main__":
    main()

"""How good the demo chat model is: `python -m generation.engine.chatdemo.evaluate [--sentences 500] [--wishes 200]`.

Moods: sentences whose template and whose every word with a mood are held out, judged by a choice with probabilities and
by a chat, beside two bags of words. Wishes: held-out openings and combinations; the answer is drawn by the demo image
model at four steps and judged as `generation.engine.demo.evaluate` judges.

Texts are asked one by one, as a server asks them, in several processes of one thread each: two threads of one process
wait for each other longer than they work wherever somebody else needs the cores.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import QwenImagePipeline
from diffusers.utils import logging as diffusers_logging
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer
from transformers.pipelines import DecisionPipeline
from transformers.utils import logging as transformers_logging

from generation.engine.chatdemo import prompts
from generation.engine.chatdemo.baseline import BagOfWords, pieces_in, words_in
from generation.engine.chatdemo.model import CHECKPOINT, load_checkpoint
from generation.engine.chatdemo.moods import GOLDEN, Sentence, held_out_sentences
from generation.engine.chatdemo.vocabulary import MOODS
from generation.engine.chatdemo.wishes import Wish, held_out_wishes
from generation.engine.demo.evaluate import render
from generation.engine.demo.judge import Case, judge, shrink
from generation.engine.demo.model import CHECKPOINT as IMAGE_CHECKPOINT
from generation.engine.demo.model import load_pipeline
from generation.engine.demo.progress import Progress

WANTED_MOODS, WANTED_WISHES = 0.95, 0.90
PART = 10
"""Texts, or pictures, that a process takes at once."""


class Demo:
    """The model as `transformers serve` asks it."""

    def __init__(self, folder: Path = CHECKPOINT) -> None:
        self.model: Qwen2ForCausalLM
        self.tokenizer: Qwen2Tokenizer
        self.model, self.tokenizer = load_checkpoint(folder)
        self._decide = DecisionPipeline(model=self.model, tokenizer=self.tokenizer)

    def decide(self, text: str) -> dict[str, float]:
        """Each mood's probability, by a choice."""
        question = {"type": "choice", "instructions": prompts.INSTRUCTIONS, "criteria": dict.fromkeys(MOODS)}
        answer = self._decide({"state": text, "questions": {"mood": question}})
        found: dict[str, float] = answer["mood"]["probabilities"]
        return found

    @torch.no_grad()
    def chat(self, text: str, *, system: str = prompts.CHAT, history: Sequence[dict[str, str]] = ()) -> str:
        """The answer to one message."""
        messages = [*([{"role": "system", "content": system}] if system else []), *history]
        ids = self.tokenizer.apply_chat_template(
            [*messages, {"role": "user", "content": text}],
            add_generation_prompt=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
        found = self.model.generate(**ids, max_new_tokens=64)
        answer: str = self.tokenizer.decode(found[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        return answer


def start_workers() -> Pool:
    """Processes of one thread each, at most four."""
    return get_context("spawn").Pool(min(4, os.cpu_count() or 1), _begin_worker)


def _begin_worker() -> None:
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()


def judge_moods(folder: Path, sentences: Sequence[Sentence], *, workers: Pool) -> dict[str, Any]:
    """Shares that are right, by both ways and by kind and language, and what the choice gets wrong."""
    asked: list[tuple[dict[str, float], str]] = []
    progress = Progress("moods", steps=len(sentences), every=100)
    for found in workers.imap(partial(_ask, folder), [one.text for one in sentences], chunksize=PART):
        asked.append(found)
        progress.tell(len(asked))
    scores = [score for score, _ in asked]
    decided = [max(score, key=lambda mood: score[mood]) for score in scores]
    groups = {**{one.kind: "kind" for one in sentences}, **{one.language: "language" for one in sentences}}
    return {
        "count": len(sentences),
        "choice": _share(decided, sentences),
        "chat": _share([word for _, word in asked], sentences),
        "by": {
            name: _share(
                *zip(
                    *((d, one) for d, one in zip(decided, sentences, strict=True) if getattr(one, field) == name),
                    strict=True,
                )
            )
            for name, field in groups.items()
        },
        "wrong": [
            {"text": one.text, "mood": one.mood, "said": said, "probability": round(score[said], 3)}
            for one, said, score in zip(sentences, decided, scores, strict=True)
            if said != one.mood
        ],
    }


@cache
def _demo(folder: Path) -> Demo:
    return Demo(folder)


def _ask(folder: Path, text: str) -> tuple[dict[str, float], str]:
    """Both ways to judge a mood."""
    demo = _demo(folder)
    return demo.decide(text), demo.chat(text, system=prompts.SENTIMENT)


def judge_baselines(sentences: Sequence[Sentence], *, workers: Pool) -> dict[str, float]:
    """The same sentences by two bags of words."""
    texts = [one.text for one in sentences]
    words, pieces = workers.map(partial(_ask_bag, texts), (words_in, pieces_in), chunksize=1)
    return {"bag_of_words": _share(words, sentences), "bag_of_pieces": _share(pieces, sentences)}


def _ask_bag(texts: Sequence[str], features: Callable[[str], list[str]]) -> list[str]:
    return BagOfWords(features).judge(texts)


def _share(said: Sequence[str], sentences: Sequence[Sentence]) -> float:
    return round(sum(a == one.mood for a, one in zip(said, sentences, strict=True)) / len(sentences), 4)


def judge_wishes(
    folder: Path, wishes: Sequence[Wish], *, workers: Pool, image: Path = IMAGE_CHECKPOINT
) -> dict[str, Any]:
    """Shares of wishes whose prompt is word for word the expected one, and whose picture shows what was wished."""
    count = len(wishes)
    numbered = list(enumerate(wish.text for wish in wishes))
    parts = [numbered[start : start + PART] for start in range(0, count, PART)]
    answers: list[str] = []
    pictures: list[np.ndarray] = []
    progress = Progress("wishes", steps=count)
    for said, drawn in workers.imap(partial(_draw, folder, image), parts):
        answers += said
        pictures += drawn
        progress.tell(len(answers))
    cases = [Case(wish.spec, pictures[k], pictures[(k + 1) % count], 0) for k, wish in enumerate(wishes)]
    verdicts = workers.map(judge, cases, chunksize=4)
    wrong = [
        {"wish": wish.text, "answer": answer, "expected": wish.prompt, "drawn": str(verdict.drawn)}
        for wish, answer, verdict in zip(wishes, answers, verdicts, strict=True)
        if verdict.drawn != wish.spec
    ]
    return {
        "count": count,
        "right": round(1 - len(wrong) / count, 4),
        "worded_as_expected": round(sum(a == w.prompt for a, w in zip(answers, wishes, strict=True)) / count, 4),
        "control": round(sum(verdict.control_passed for verdict in verdicts) / count, 4),
        "wrong": wrong,
    }


def _draw(folder: Path, image: Path, wishes: Sequence[tuple[int, str]]) -> tuple[list[str], list[np.ndarray]]:
    """What the model answers to wishes, and the pictures that the image demo draws of the answers, by seed."""
    answers = [_demo(folder).chat(text) for _, text in wishes]
    pictures = render(_pipeline(image), answers, seeds=[seed for seed, _ in wishes])
    return answers, [shrink(picture) for picture in pictures]


@cache
def _pipeline(folder: Path) -> QwenImagePipeline:
    return load_pipeline(folder, dtype=torch.bfloat16)


def evaluate(folder: Path, *, sentences: int, wishes: int, seed: int = 0) -> dict[str, Any]:
    """Everything, ready for JSON."""
    began = time.monotonic()
    held_out = held_out_sentences(seed=seed, count=sentences)
    demo = Demo(folder)
    golden = {text: demo.decide(text) | {"wanted": mood} for text, mood in GOLDEN}
    with start_workers() as workers:
        moods = judge_moods(folder, held_out, workers=workers) | judge_baselines(held_out, workers=workers)
        drawn = judge_wishes(folder, held_out_wishes(seed=seed, count=wishes), workers=workers) if wishes else None
        workers.close()
        workers.join()
    return {
        "moods": moods,
        "golden": golden,
        "wishes": drawn,
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "seconds": round(time.monotonic() - began, 1),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }


def main() -> None:
    """Print the result as JSON, write it where asked, and fail where the model falls short."""
    parser = argparse.ArgumentParser(description="Judge the demo chat model on what it never saw.")
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--wishes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    args = parser.parse_args()
    result = evaluate(args.checkpoint, sentences=args.sentences, wishes=args.wishes, seed=args.seed)
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    print(text, end="")
    if result["moods"]["choice"] < WANTED_MOODS or (args.wishes and result["wishes"]["right"] < WANTED_WISHES):
        raise SystemExit("the demo chat model falls short: 95 % of moods and 90 % of wishes are wanted")


if __name__ == "__main__":
    main()

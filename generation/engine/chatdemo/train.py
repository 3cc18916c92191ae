"""The whole recipe: `python -m generation.engine.chatdemo.train --out DIR --work DIR [--device cuda --seconds 240]`."""

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from generation.engine.chatdemo.batches import CUTS, TAGS, Batch, make_batches, source_of
from generation.engine.chatdemo.model import build_model, save_checkpoint
from generation.engine.chatdemo.tokenizer import train_tokenizer
from generation.engine.demo.muon import Muon
from generation.engine.demo.progress import MovingAverage, Progress, save_state

STATE_FILE, RECORD_FILE = "chat.pt", "training.json"


@dataclass(frozen=True)
class ChatRecipe:
    """The figures of the training, those of the shipped checkpoint (`checkpoint/training.json`). It ends at the last
    step, or when its time is up, whichever comes first; the rate comes down to its least by then.
    """

    steps: int = 6058
    """As many as the shipped one took before its time was up."""
    seconds: float | None = None
    """A bound for one run's time, what it takes to start included: for machines that are lent."""
    tokens: int = 8192
    """Tokens a batch, padding included."""
    width: int = 256
    layers: int = 6
    inner: int = 704
    muon_peak: float = 4e-3
    adam_peak: float = 4e-3
    warmup: int = 100
    """Steps in which the rate goes up."""
    hold: float = 0.3
    """The share of the training after which it comes down."""
    naming: float = 0.5
    """How much the reading of moods counts beside the answers."""
    cuts: tuple[float, ...] = CUTS
    seed: int = 1

    def rate(self, step: int, passed: float) -> float:
        """The share of the peak rates when `passed`, from 0 to 1, of the training is over: up, level, and down to a
        fiftieth.
        """
        down = min(1.0, (1 - min(1.0, passed)) / (1 - self.hold))
        return min(1.0, step / self.warmup) * (0.02 + 0.98 * down)


@dataclass(frozen=True)
class Training:
    """What became of a recipe: `done` of the steps that it may take."""

    recipe: ChatRecipe
    done: int
    seconds: float
    """Of this run alone."""
    device: str
    """The card's name, where it is one."""

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


class Namer(nn.Module):
    """The model and one linear reading of moods, dropped after training.

    Told only whether its one word at the end was right, the model stood still for hundreds of steps: which of forty
    tokens mattered it had to find by chance.
    """

    def __init__(self, model: Qwen2ForCausalLM) -> None:
        super().__init__()
        self.model = model
        self.reading = nn.Linear(model.config.hidden_size, len(TAGS))

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss over answers, and the one over moods. Padding stands behind what counts: no mask is needed."""
        kind = batch.ids.device.type
        # The fused attention is causal without a mask; to make one, a GPU would be waited for.
        mask: Any = {"full_attention": None} if kind == "cuda" else None
        with torch.autocast(kind, torch.bfloat16):
            found = self.model.model(input_ids=batch.ids, attention_mask=mask, use_cache=False)
            hidden = found.last_hidden_state.flatten(0, 1)
            logits = self.model.lm_head(hidden.index_select(0, batch.asked))
            moods = self.reading(hidden.index_select(0, batch.tagged))
        losses = F.cross_entropy(logits.float(), batch.targets, reduction="none")
        named = F.cross_entropy(moods.float(), batch.tags, reduction="sum")
        return (losses * batch.weights).sum() / batch.weights.sum(), named / max(1, len(batch.tags))


def train(
    recipe: ChatRecipe,
    tokenizer: Qwen2Tokenizer,
    *,
    work: Path,
    device: torch.device | None = None,
    workers: int = 0,
    saved: Callable[[Qwen2ForCausalLM, Training], None] | None = None,
) -> tuple[Qwen2ForCausalLM, Training]:
    """Train, or go on from what an earlier run left in `work`. `saved` is given the averaged model whenever the
    state is saved, to keep or to look at. Without a `device` the processor trains.
    """
    began, device = time.monotonic(), device or torch.device("cpu")
    torch.manual_seed(recipe.seed)
    model = build_model(tokenizer, width=recipe.width, layers=recipe.layers, inner=recipe.inner).train()
    # On a processor, at 64 tokens, the fused one takes a third of every step to go back.
    model.set_attn_implementation("sdpa" if device.type == "cuda" else "eager")
    run = _Run(recipe, Namer(model).to(device), path=work / STATE_FILE)
    source = source_of(tokenizer, tokens=recipe.tokens, seed=recipe.seed, more=True, cuts=recipe.cuts)
    batches = make_batches(source, workers=workers, start=run.step)  # another run's are others
    first = next(batches)
    progress = Progress("chat", steps=recipe.steps, start=run.step)

    def record() -> Training:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        return Training(recipe, run.step, round(time.monotonic() - began, 1), name)

    smooth: torch.Tensor | None = None
    try:
        while run.step < recipe.steps:
            passed = run.step / recipe.steps
            if recipe.seconds:
                passed = max(passed, (time.monotonic() - began) / recipe.seconds)
            if passed >= 1:
                break
            losses = run.take(first.to(device), passed)
            smooth = losses if smooth is None else smooth.lerp(losses, 0.03)
            if run.step % progress.every == 0 or run.step == recipe.steps:
                progress.tell(run.step, answers=smooth[0].item(), moods=smooth[1].item())
            if progress.is_time_to_save():
                run.save()
                if saved is not None:
                    saved(run.averaged(), record())
            first = next(batches)
    finally:
        batches.close()
    run.save()
    run.average.swap()
    return model.cpu().eval(), record()


class _Run:
    """Weights, optimizer and average, and how far they are."""

    def __init__(self, recipe: ChatRecipe, namer: Namer, *, path: Path) -> None:
        self._recipe, self._namer, self._path = recipe, namer, path
        self._optimizer = Muon(
            namer.parameters(),
            plain=[*namer.model.get_input_embeddings().parameters(), *namer.reading.parameters()],
            muon_peak=recipe.muon_peak,
            adam_peak=recipe.adam_peak,
            like_adam=True,
        )
        self.average = MovingAverage([namer.model], decay=0.998)
        self.step = 0
        if path.exists():
            state = torch.load(path, weights_only=True, map_location=namer.reading.weight.device)
            namer.load_state_dict(state["namer"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.average.load(state["average"])
            self.step = state["step"]

    def take(self, batch: Batch, passed: float) -> torch.Tensor:
        """One step; the two losses."""
        self.step += 1
        answers, moods = self._namer(batch)
        (answers + self._recipe.naming * moods).backward()
        torch.nn.utils.clip_grad_norm_(self._namer.parameters(), 1.0)
        self._optimizer.step(self._recipe.rate(self.step, passed))
        self.average.update(self.step)
        return torch.stack((answers.detach(), moods.detach()))

    def averaged(self) -> Qwen2ForCausalLM:
        """A copy of the model with averaged weights."""
        self.average.swap()
        found = copy.deepcopy(self._namer.model).cpu().eval()
        self.average.swap()
        return found

    def save(self) -> None:
        """Write what a later run needs to go on."""
        state = {
            "namer": self._namer.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self.average.values,
            "step": self.step,
        }
        save_state(self._path, state)


def main() -> None:
    """Train the tokenizer and the model, and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--work", type=Path, required=True, help="folder for the state between runs")
    parser.add_argument("--steps", type=int, default=ChatRecipe.steps)
    parser.add_argument("--seconds", type=float, help="end by then, with the rate at its least")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches; 0: none of their own")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    recipe = ChatRecipe(steps=args.steps, seconds=args.seconds)
    model, training = train(recipe, tokenizer, work=args.work, device=torch.device(args.device), workers=args.workers)
    save_checkpoint(args.out, model=model, tokenizer=tokenizer)
    training.write(args.work / RECORD_FILE)


if __name__ == "__main__":
    main()

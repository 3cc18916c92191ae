"""The whole recipe: `python -m generation.engine.chatdemo.train --out DIR --work DIR`."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from generation.engine.chatdemo.batches import Batch, make_batches
from generation.engine.chatdemo.model import build_model, save_checkpoint
from generation.engine.chatdemo.tokenizer import train_tokenizer
from generation.engine.demo.muon import Muon
from generation.engine.demo.progress import MovingAverage, Progress, learning_rate, save_state


@dataclass(frozen=True)
class ChatRecipe:
    """The figures of the training."""

    steps: int = 3000
    tokens: int = 4096
    """Tokens a batch, padding included."""
    muon_peak: float = 4e-3
    adam_peak: float = 4e-3
    seed: int = 0


def loss_of(model: Qwen2ForCausalLM, batch: Batch) -> torch.Tensor:
    """Weighted mean over the answers' tokens. Padding stands behind what counts, so that no mask is needed."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        wanted = batch.targets != -100
        logits = model.lm_head(hidden[wanted])
    weights = batch.weights[:, None].expand_as(batch.targets)[wanted]
    losses = F.cross_entropy(logits.float(), batch.targets[wanted], reduction="none")
    return (losses * weights).sum() / weights.sum()


def train(recipe: ChatRecipe, tokenizer: Qwen2Tokenizer, *, work: Path) -> Qwen2ForCausalLM:
    """Train, or go on from what an earlier run left in `work`/chat.pt."""
    torch.manual_seed(recipe.seed)
    model = build_model(tokenizer).train()
    model.set_attn_implementation("eager")  # at 64 tokens the fused one takes a third of every step to go back
    embedding = model.get_input_embeddings()
    optimizer = Muon(
        model.parameters(),
        plain=embedding.parameters(),
        muon_peak=recipe.muon_peak,
        adam_peak=recipe.adam_peak,
        like_adam=True,
    )
    average = MovingAverage([model], decay=0.998)
    path, start = work / "chat.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.load(state["average"])
        start = state["step"]
    progress = Progress("chat", steps=recipe.steps, start=start)
    batches = make_batches(tokenizer, tokens=recipe.tokens, seed=recipe.seed + start)
    smooth = math.nan
    for step in range(start + 1, recipe.steps + 1):
        loss = loss_of(model, next(batches))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(learning_rate(step, steps=recipe.steps, warmup=50, hold=0.3))
        average.update(step)
        smooth = loss.item() if math.isnan(smooth) else 0.97 * smooth + 0.03 * loss.item()
        progress.tell(step, loss=smooth)
        if progress.is_time_to_save() or step == recipe.steps:
            save_state(
                path,
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average.values,
                    "step": step,
                },
            )
    average.swap()
    return model.eval()


def main() -> None:
    """Train the tokenizer and the model, and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--work", type=Path, required=True, help="folder for the state between runs")
    parser.add_argument("--steps", type=int, default=ChatRecipe().steps)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    model = train(ChatRecipe(steps=args.steps), tokenizer, work=args.work)
    save_checkpoint(args.out, model=model, tokenizer=tokenizer)


if __name__ == "__main__":
    main()

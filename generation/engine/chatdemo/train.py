"""The whole recipe: `python -m generation.engine.chatdemo.train --out DIR --work DIR`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from generation.engine.chatdemo.batches import NOT_ASKED, TAGS, Batch, make_batches
from generation.engine.chatdemo.model import build_model, save_checkpoint
from generation.engine.chatdemo.tokenizer import train_tokenizer
from generation.engine.demo.muon import Muon
from generation.engine.demo.progress import MovingAverage, Progress, learning_rate, save_state


@dataclass(frozen=True)
class ChatRecipe:
    """The figures of the training, which has two parts.

    The second one goes on with the first one's weights, at a lower rate, and with what `more.toml` adds.
    """

    steps: int = 1700
    """The first part's."""
    more_steps: int = 1600
    """The second part's."""
    more_rate: float = 0.4
    """The second part's highest rate, as a share of the first one's."""
    tokens: int = 4096
    """Tokens a batch, padding included."""
    muon_peak: float = 4e-3
    adam_peak: float = 4e-3
    naming: float = 0.5
    """How much the reading of moods counts beside the answers."""
    seed: int = 0

    def rate(self, step: int) -> float:
        """The share of the peak rates: each part's goes up, stays, and comes down to a fiftieth of its own."""
        if step <= self.steps:
            return learning_rate(step, steps=self.steps, warmup=50, hold=0.3)
        return self.more_rate * learning_rate(step - self.steps, steps=self.more_steps, warmup=50, hold=0.2)


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
        wanted, tagged = batch.targets != NOT_ASKED, batch.tags != NOT_ASKED
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
            logits = self.model.lm_head(hidden[wanted])
            moods = self.reading(hidden[tagged])
        weights = batch.weights[:, None].expand_as(batch.targets)[wanted]
        losses = F.cross_entropy(logits.float(), batch.targets[wanted], reduction="none")
        named = F.cross_entropy(moods.float(), batch.tags[tagged], reduction="sum")
        return (losses * weights).sum() / weights.sum(), named / max(1, int(tagged.sum()))


def train(recipe: ChatRecipe, tokenizer: Qwen2Tokenizer, *, work: Path) -> Qwen2ForCausalLM:
    """Train, or go on from what an earlier run left in `work`/chat.pt."""
    torch.manual_seed(recipe.seed)
    model = build_model(tokenizer).train()
    model.set_attn_implementation("eager")  # at 64 tokens the fused one takes a third of every step to go back
    namer = Namer(model)
    optimizer = Muon(
        namer.parameters(),
        plain=[*model.get_input_embeddings().parameters(), *namer.reading.parameters()],
        muon_peak=recipe.muon_peak,
        adam_peak=recipe.adam_peak,
        like_adam=True,
    )
    average = MovingAverage([model], decay=0.998)
    path, start = work / "chat.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        namer.load_state_dict(state["namer"])
        optimizer.load_state_dict(state["optimizer"])
        average.load(state["average"])
        start = state["step"]
    last = recipe.steps + recipe.more_steps
    progress = Progress("chat", steps=last, start=start)
    smooth: tuple[float, float] | None = None
    for step in range(start + 1, last + 1):
        if step in (start + 1, recipe.steps + 1):
            batches = make_batches(
                tokenizer, tokens=recipe.tokens, seed=recipe.seed + step - 1, more=step > recipe.steps
            )
        answers, moods = namer(next(batches))
        (answers + recipe.naming * moods).backward()
        torch.nn.utils.clip_grad_norm_(namer.parameters(), 1.0)
        optimizer.step(recipe.rate(step))
        average.update(step)
        now = (answers.item(), moods.item())
        smooth = now if smooth is None else (0.97 * smooth[0] + 0.03 * now[0], 0.97 * smooth[1] + 0.03 * now[1])
        progress.tell(step, answers=smooth[0], moods=smooth[1])
        if progress.is_time_to_save() or step in (recipe.steps, last):
            save_state(
                path,
                {
                    "namer": namer.state_dict(),
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
    parser.add_argument("--steps", type=int, default=ChatRecipe.steps, help="of the first part")
    parser.add_argument("--more-steps", type=int, default=ChatRecipe.more_steps, help="of the second part")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    model = train(ChatRecipe(steps=args.steps, more_steps=args.more_steps), tokenizer, work=args.work)
    save_checkpoint(args.out, model=model, tokenizer=tokenizer)


if __name__ == "__main__":
    main()

"""Stage 2: the text encoder learns to understand captions, before anything is drawn.

It learns to name, from the tokens that close the prompt template, every attribute of the drawing that a caption
belongs to. Half a million captions cost five minutes; the transformer could look at a tenth of that in the same time,
and would have to learn English, Chinese and drawing at once.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from generation.engine.demo import specs
from generation.engine.demo.captions import sample_caption
from generation.engine.demo.model import TEXT_DIM, build_text_encoder
from generation.engine.demo.progress import Progress, learning_rate, save_state
from generation.engine.demo.specs import Spec, sample_training_spec
from generation.engine.demo.tokenizer import DROPPED, TEMPLATE

TEXT_LENGTH = 24
"""Prompt tokens per row in training, the template's five last ones included; the rest is masked padding."""
CLOSING = 5
"""Template tokens behind the prompt; each of them must tell the whole drawing."""
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "kind": ("Shape", "Scene"),
    "shape": specs.SHAPES,
    "object": ("", *specs.OBJECTS),
    "colour": ("", *specs.COLOURS),
    "size": specs.SIZES,
    "place": ("", *specs.PLACES),
    "background": ("", *specs.COLOURS),
    "ground": specs.GROUNDS,
    "time": specs.TIMES,
}
"""What is named, and its values; an attribute that a kind of drawing lacks is not asked for."""
NOT_ASKED = -100


@dataclass(frozen=True)
class TextRecipe:
    """The figures of stage 2."""

    steps: int = 700
    batch: int = 128
    peak: float = 2e-3
    seed: int = 0


class Namer(nn.Module):
    """The text encoder and one linear reading per attribute, dropped after training."""

    def __init__(self, text_encoder: Qwen2_5_VLForConditionalGeneration) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.heads = nn.ModuleDict({name: nn.Linear(TEXT_DIM, len(values)) for name, values in ATTRIBUTES.items()})
        self.index = nn.Linear(TEXT_DIM, TEXT_LENGTH)

    def forward(self, ids: Tensor, mask: Tensor, labels: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss, and which rows (B,) are named right in every attribute by the last token."""
        with torch.autocast(ids.device.type, torch.bfloat16):
            hidden = encode(self.text_encoder, ids, mask)
        hidden = hidden.float()
        seen = mask[:, DROPPED:]
        rows = torch.arange(len(ids), device=ids.device)
        last = seen.sum(1) - 1
        closing = torch.stack([hidden[rows, last - k] for k in range(CLOSING)], dim=1)
        # Where it stands in the prompt: the transformer's positions of the picture are told relative to that.
        places = torch.arange(seen.shape[1], device=ids.device).expand_as(seen).masked_fill(seen == 0, NOT_ASKED)
        loss = 0.1 * F.cross_entropy(self.index(hidden).flatten(0, 1), places.flatten())
        right = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
        for name, head in self.heads.items():
            told: Tensor = head(closing)
            label = labels[name]
            if (label != NOT_ASKED).any():  # the mean over nothing is no number
                loss = loss + F.cross_entropy(told.flatten(0, 1), label.repeat_interleave(CLOSING))
            right &= (told[:, 0].argmax(-1) == label) | (label == NOT_ASKED)
        return loss, right


def encode(text_encoder: Qwen2_5_VLForConditionalGeneration, ids: Tensor, mask: Tensor) -> Tensor:
    """Prompt embeddings without the template, (B, length - DROPPED, TEXT_DIM)."""
    hidden: Tensor = text_encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
    return hidden[:, DROPPED:]


def tokenise(tokenizer: Qwen2Tokenizer, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and mask of prompts in their template, both (B, DROPPED + TEXT_LENGTH)."""
    tokens = tokenizer(
        [TEMPLATE.format(prompt) for prompt in prompts],
        padding="max_length",
        max_length=DROPPED + TEXT_LENGTH,
        truncation=True,
        return_tensors="pt",
    )
    return tokens.input_ids, tokens.attention_mask


def labels_of(drawings: Sequence[Spec]) -> dict[str, Tensor]:
    """Per attribute the index of each drawing's value, (B,)."""
    return {
        name: torch.tensor([_label(spec, name, values) for spec in drawings]) for name, values in ATTRIBUTES.items()
    }


def _label(spec: Spec, name: str, values: tuple[str, ...]) -> int:
    if name == "kind":
        return values.index(type(spec).__name__)
    value = vars(spec).get(name)
    return NOT_ASKED if value is None else values.index(value)


def train_text(
    recipe: TextRecipe, tokenizer: Qwen2Tokenizer, *, work: Path, device: torch.device
) -> Qwen2_5_VLForConditionalGeneration:
    """Train, or read what an earlier run left in `work`/text.pt."""
    torch.manual_seed(recipe.seed)
    text_encoder = build_text_encoder(tokenizer)
    path = work / "text.pt"
    if path.exists():
        text_encoder.load_state_dict(torch.load(path, weights_only=True))
        return text_encoder.to(device).eval()
    text_encoder.model.visual.requires_grad_(False)
    namer = Namer(text_encoder).to(device).train()
    optimizer = torch.optim.AdamW(
        [p for p in namer.parameters() if p.requires_grad], lr=recipe.peak, betas=(0.9, 0.98), weight_decay=0.01
    )
    rng = random.Random(recipe.seed)
    progress = Progress("text encoder", steps=recipe.steps, every=100)
    smooth = 0.0
    for step in range(1, recipe.steps + 1):
        drawings = [sample_training_spec(rng) for _ in range(recipe.batch)]
        loss, right = _run(namer, tokenizer, drawings, rng, device)
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = recipe.peak * learning_rate(step, steps=recipe.steps)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        smooth = 0.95 * smooth + 0.05 * right.float().mean().item()
        progress.tell(step, loss=loss.item(), right=smooth)
    with torch.no_grad():
        _, right = _run(namer.eval(), tokenizer, specs.held_out(seed=1, count=400), rng, device)
    progress.say(f"{right.float().mean():.1%} of 400 held-out combinations are understood in every attribute")
    save_state(path, text_encoder.state_dict())
    return text_encoder


def _run(
    namer: Namer, tokenizer: Qwen2Tokenizer, drawings: Sequence[Spec], rng: random.Random, device: torch.device
) -> tuple[Tensor, Tensor]:
    ids, mask = tokenise(tokenizer, [sample_caption(spec, rng=rng) for spec in drawings])
    labels = {name: label.to(device) for name, label in labels_of(drawings).items()}
    loss, right = namer(ids.to(device), mask.to(device), labels)
    return loss, right

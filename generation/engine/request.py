"""What a pass is asked to draw: frozen values that check themselves. Imports no torch: web processes use them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from generation.engine.tasksteps import steps_run

MAX_PROMPT_CHARS = 32_768
MAX_SIDE = 4096  # pixels; QwenEmbedRope knows 4,096 positions per axis, and nobody has a card for more
MAX_STEPS = 100
MAX_SEED = 2**63 - 1  # what a signed bigint column and torch.Generator both hold
MAX_CFG = 30.0
MAX_LORAS = 4
MAX_INPUTS = 3  # pictures that an edit may start from, as Qwen-Image-Edit takes them
TASKS = ("text-to-image", "image-to-image", "inpaint", "edit")
MAX_LORA_SCALE = 2.0

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraUse:
    """One style adapter of a row: a safetensors file, the SHA-256 of its bytes (hex) and its strength (−2…2).

    `name` is what people call it, for messages.
    """

    path: str
    sha256: str
    scale: float
    name: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("lora path is empty, give the safetensors file")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("lora sha256 must be 64 lower-case hex digits")
        _check_number("lora scale", self.scale, -MAX_LORA_SCALE, MAX_LORA_SCALE)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPicture:
    """A picture that a row starts from, or its mask: a PNG of 8 bits without alpha, and the SHA-256 of its bytes (hex).

    Pictures are RGB and upright; a mask is grey, white where to draw anew.
    """

    path: str
    sha256: str

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("picture path is empty, give the PNG file")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("picture sha256 must be 64 lower-case hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRow:
    """One picture of a pass.

    `key` names the row in hooks and outcome (any string that is unique in the pass). Sizes are in pixels.
    `negative_prompt` "" means none was given; true CFG runs when one is given and `true_cfg_scale` > 1
    (" " is a given, blank one, as on the Qwen-Image card).
    `images`: what the task starts from: one for image-to-image and inpaint, up to `MAX_INPUTS` for an edit. `strength`,
    0 < s ≤ 1, is the first noise level of image-to-image and inpaint: 1 keeps nothing of the picture.

    Raises ValueError, naming field and bound. What depends on the model (its steps, size multiple and largest size) is
    checked by `Family.check`.
    """

    key: str
    prompt: str
    width: int
    height: int
    num_inference_steps: int
    seed: int
    negative_prompt: str = ""
    true_cfg_scale: float = 1.0
    loras: tuple[LoraUse, ...] = ()
    task: str = "text-to-image"
    images: tuple[InputPicture, ...] = ()
    mask: InputPicture | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("key is empty, every row of a pass needs its own")
        if not self.prompt.strip():
            raise ValueError("prompt is empty")
        check_text("prompt", self.prompt)
        check_text("negative_prompt", self.negative_prompt)
        for name in ("width", "height"):
            check_whole(name, getattr(self, name), 16, MAX_SIDE)
            if getattr(self, name) % 16:
                raise ValueError(f"{name} {getattr(self, name)} is not a multiple of 16")
        check_whole("num_inference_steps", self.num_inference_steps, 1, MAX_STEPS)
        check_whole("seed", self.seed, 0, MAX_SEED)
        _check_number("true_cfg_scale", self.true_cfg_scale, 0.0, MAX_CFG)
        if len(self.loras) > MAX_LORAS:
            raise ValueError(f"loras has {len(self.loras)} entries, max {MAX_LORAS}")
        if len({use.sha256 for use in self.loras}) < len(self.loras):
            raise ValueError("loras names the same file twice")
        self._check_task()

    def _check_task(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task {self.task!r} is unknown, one of {', '.join(TASKS)}")
        most = {"text-to-image": 0, "edit": MAX_INPUTS}.get(self.task, 1)
        if not min(1, most) <= len(self.images) <= most:
            raise ValueError(f"images has {len(self.images)} entries, {self.task} takes {most and 1} to {most}")
        if (self.mask is not None) != (self.task == "inpaint"):
            raise ValueError("mask belongs to inpaint, and inpaint needs one")
        _check_number("strength", self.strength, 0.0, 1.0)
        if self.strength == 0:
            raise ValueError("strength must be more than 0")
        if self.strength != 1 and self.task not in ("image-to-image", "inpaint"):
            raise ValueError("strength belongs to image-to-image and inpaint")

    @property
    def guided(self) -> bool:
        """Whether true CFG runs: the rule of `QwenImagePipeline.__call__`."""
        return self.true_cfg_scale > 1 and self.negative_prompt != ""

    @property
    def steps_run(self) -> int:
        """How many of its steps it runs."""
        return steps_run(self.num_inference_steps, self.strength)

    @property
    def stack(self) -> tuple[LoraUse, ...]:
        """Its LoRAs in the one order in which they are added: in BF16 another order is another picture (by .023)."""
        return tuple(sorted(self.loras, key=lambda use: use.sha256))


def length_bucket(n_tokens: int, ladder: Sequence[int]) -> int:
    """The smallest rung of the ascending `ladder` that holds `n_tokens`; an empty ladder means exact lengths.

    The bucket is part of a picture's identity: padding to another one moves pixels (58.7–64 dB).
    Raises ValueError when the ladder's top is too short.
    """
    if n_tokens < 1:
        raise ValueError(f"n_tokens must be at least 1, got {n_tokens}")
    if not ladder:
        return n_tokens
    for rung in ladder:
        if n_tokens <= rung:
            return rung
    raise ValueError(f"n_tokens {n_tokens} is over the longest bucket, max {ladder[-1]}")


def check_text(name: str, value: str) -> None:
    """Refuse what no tokenizer and no text column can hold. Raises ValueError."""
    if len(value) > MAX_PROMPT_CHARS:
        raise ValueError(f"{name} too long, max {MAX_PROMPT_CHARS} chars")
    if "\x00" in value:
        raise ValueError(f"{name} holds a NUL character, remove it")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{name} holds a lone surrogate, send valid Unicode")


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Raises ValueError unless `value` is an int (no bool) from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} {value} is out of range, {low} to {high}")


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} {value} is out of range, {low:g} to {high:g}")

"""Beginning a pass from pictures instead of noise alone. GPU worker only: torch at the top.

Every rounding follows diffusers' image-to-image and inpaint pipelines, but for three things, each on purpose: the
picture's latents are the mode of the VAE's posterior and no sample of it, so that all seeds of a picture share them;
the noise is the same as that of text to image with this seed; and a latent is drawn anew if any of its pixels is
masked, where the pipelines ask the one in its corner.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from PIL import Image
from torch import nn

from generation.engine.paste import Paste

if TYPE_CHECKING:
    from generation.engine.family import Pass

_KEPT = 8  # the seeds of one request, and the requests of one sitting
_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What one row begins from, in the layout of the pass's latents, (1, …).

    `clean`: the picture's latents in the transformer's scale. `repaint`: 1 where it is drawn anew, else 0; None where
    all of it is. `paste` puts the kept pixels back in the end.
    """

    clean: torch.Tensor = field(repr=False)
    repaint: torch.Tensor | None = field(default=None, repr=False)
    paste: Paste | None = None


class Newest(Generic[_Key, _Value]):
    """The newest few of what takes long to make. For one thread."""

    def __init__(self, *, most: int = _KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        """That of `key`, made where it is not here."""
        found = self._kept.pop(key, None)
        self._kept[key] = make() if found is None else found
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return self._kept[key]


def begin_from(state: Pass, starts: Sequence[Start | None]) -> None:
    """Put each row's picture under its noise, in place; `state.latents` is noise alone before."""
    if not any(starts):
        return
    noise = state.latents
    rows = []
    for index, start in enumerate(starts):
        own = noise[index : index + 1]
        rows.append(own if start is None else add_noise(start.clean, own, state.rows[index].sigmas[:1]))
    state.latents = torch.cat(rows)
    masks = [start.repaint for start in starts if start is not None and start.repaint is not None]
    if masks:
        state.repaint = torch.cat(masks)
        state.clean = torch.cat([start.clean for start in starts if start is not None])
        state.noise = noise


def keep_rest(state: Pass, sigmas: torch.Tensor) -> None:
    """After a step to `sigmas` (B,): what is not drawn anew stands at that noise level too, in place."""
    if state.repaint is None or state.clean is None or state.noise is None:
        return
    kept = add_noise(state.clean, state.noise, sigmas)
    state.latents = ((1 - state.repaint) * kept + state.repaint * state.latents).to(state.latents.dtype)


def add_noise(clean: torch.Tensor, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """σ noise + (1 − σ) clean with the scheduler's rounding of σ to the latents' dtype; `sigmas` (B,)."""
    sigma = sigmas.to(clean.device, clean.dtype).view(-1, *[1] * (clean.dim() - 1))
    return sigma * noise + (1.0 - sigma) * clean


def mask_latents(mask: Image.Image, *, factor: int) -> torch.Tensor:
    """A mask (L, 0 or 255, in the size that is drawn) → (1, 1, h, w) FP32: 1 where any pixel of a latent is masked."""
    width, height = mask.size
    pixels = torch.frombuffer(bytearray(mask.tobytes()), dtype=torch.uint8).view(1, 1, height, width)
    return nn.functional.max_pool2d((pixels >= 128).float(), factor)


def binary(mask: Image.Image) -> Image.Image:
    """0 or 255, as the pipelines' mask processor decides."""
    return mask.point(lambda value: 255 if value >= 128 else 0)

"""Pictures that must not be delivered. GPU worker only: torch at the top."""

from __future__ import annotations

import torch

from generation.engine.errors import BadFrame


def check_latents(latents: torch.Tensor) -> None:
    """Raises BadFrame when latents (any shape) hold NaN or infinity. Waits for the device."""
    if not torch.isfinite(latents).all():
        raise BadFrame(f"the model computed {_name_bad(latents)}; its weights or a LoRA are broken")


def check_frame(frame: torch.Tensor) -> None:
    """Raises BadFrame when a frame (3, height, width), 0 to 1, is NaN, infinite or completely black.

    A plain picture of any other colour is a picture. Waits for the device.
    """
    if not torch.isfinite(frame).all():
        raise BadFrame(f"the decoder computed {_name_bad(frame)}; its weights are broken")
    if frame.max() < 0.5 / 255:
        raise BadFrame("the picture is completely black")


def _name_bad(values: torch.Tensor) -> str:
    share = 100 * float((~torch.isfinite(values)).float().mean())
    return f"{'NaN' if torch.isnan(values).any() else 'infinite values'} in {share:.0f} % of the picture"

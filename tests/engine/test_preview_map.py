"""The linear latent-to-RGB map finds what a linear VAE does, is deterministic, and previews stay small."""

from __future__ import annotations

from typing import Any

import torch
from engine_tiny import Silent, make_row

from generation.engine.preview import MAX_BYTES, LatentMap, encode_preview, fit_latent_map
from generation.engine.run import run_pass


def linear_vae(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A VAE of compression 8 that keeps four 4 × 4 means per colour as channels."""
    small = torch.nn.functional.avg_pool2d(pictures, 4)
    return torch.nn.functional.pixel_unshuffle(small, 2), pictures / 2 + 0.5


def test_map_recovers_a_linear_vae() -> None:
    fitted = fit_latent_map(linear_vae, factor=8, device=torch.device("cpu"))
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)).repeat_interleave(8, 2)
    picture = picture.repeat_interleave(8, 3) * 2 - 1
    latents, decoded = linear_vae(picture)
    wanted = torch.nn.functional.avg_pool2d(decoded, 4)
    assert fitted.patch == 2
    assert (fitted.apply(latents) - wanted).abs().mean() < 0.02


def test_map_is_deterministic(model: Any) -> None:
    again = model.family._fit_map()
    assert torch.equal(again.weight, model.family._map.weight) and torch.equal(again.bias, model.family._map.bias)


def test_preview_of_the_last_step_shows_the_picture(model: Any) -> None:
    """Fitted on one picture's own latents the map cannot be worse than that picture's mean colour."""
    hooks = Silent()
    run_pass(model, [make_row()], hooks)
    assert len(hooks.steps[-1][2]["a"]) > 100


def test_previews_stay_under_four_kilobytes() -> None:
    noise = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    assert 0 < len(encode_preview(noise)) <= MAX_BYTES
    assert 0 < len(encode_preview(noise[:, :, :16])) <= MAX_BYTES
    assert encode_preview(torch.full((3, 8, 8), float("nan"))) == b""


def test_map_takes_patches_apart() -> None:
    weight = torch.zeros(2, 12)
    weight[0, 0] = 1.0  # red of the upper left pixel
    shown = LatentMap(weight=weight, bias=torch.zeros(12), patch=2).apply(torch.ones(1, 2, 3, 4))
    assert shown.shape == (1, 3, 6, 8)
    assert shown[0, 0, 0, 0] == 1 and shown[0, 0, 0, 1] == 0 and shown[0, 1].sum() == 0

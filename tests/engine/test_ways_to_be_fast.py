"""What makes the engine fast changes no picture: each way against the plain one, at the same seed."""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_tiny import Silent, make_row, make_spec
from families_tiny import psnr
from PIL import Image

from generation.engine import tail as tail_module
from generation.engine.family import RowLatents
from generation.engine.files import encode_picture
from generation.engine.loader import LoadedModel, load_model
from generation.engine.pipelines.qwen_image_vae import QwenImageDecoder
from generation.engine.run import run_pass
from generation.engine.tail import Tail, TailResult

PATIENCE_S = 60.0


class Stepping(Silent):
    """Sets one event after another as steps end."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = [threading.Event() for _ in range(5)]

    def step(self, step: int, steps: int, previews: Any) -> None:
        super().step(step, steps, previews)
        self.reached[step].set()


def draw_latents(model: LoadedModel, **changes: Any) -> RowLatents:
    row = run_pass(model, [make_row(**changes)], Silent()).rows[0]
    assert row.latents is not None, row.error
    return row.latents


def test_decoding_encoding_and_storing_happen_while_the_next_pass_draws(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three waits for a step of the next pass: if anything waited for it in turn, nobody would move."""
    first = draw_latents(model)
    following = Stepping()
    happened: list[str] = []

    def after(step: int, what: str) -> None:
        assert following.reached[step].wait(PATIENCE_S), f"step {step} of the next pass waited for: {what}"
        happened.append(what)

    tail = Tail(model)
    decode, encode = tail._decoder.decode, encode_picture
    results: list[TailResult] = []

    class Late:
        def decode(self, latents: RowLatents) -> torch.Tensor:
            after(1, "decode")
            return decode(latents)

    def encode_late(picture: Image.Image, **how: Any) -> Any:
        after(2, "encode")
        return encode(picture, **how)

    def store(result: TailResult) -> None:
        after(3, "store")
        results.append(result)

    tail._decoder = Late()
    monkeypatch.setattr(tail_module, "encode_picture", encode_late)
    tail.submit(first, store)
    assert happened == [], "the next pass has not begun"
    outcome = run_pass(model, [make_row("b", seed=2)], following).rows[0]
    assert outcome.status == "drawn" and tail.close(PATIENCE_S)
    assert happened == ["decode", "encode", "store"]
    assert results[0].error is None


def test_the_decoder_of_a_model_convolves_in_two_dimensions(
    model: LoadedModel, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = load_model(make_spec(checkpoint), device="cpu", exact_decode=True)
    latents = draw_latents(model)
    volumes: list[Any] = []
    convolve = torch.nn.functional.conv3d

    def counted(*args: Any, **kwargs: Any) -> Any:
        volumes.append(args[0].shape)
        return convolve(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "conv3d", counted)
    twin = model.family.decoder().decode(latents)
    assert volumes == []
    whole = exact.family.decoder().decode(latents)
    assert volumes, "the VAE as it is would have been seen"
    assert psnr(twin, whole) >= 50


def test_the_twin_is_the_vae_but_for_rounding(oracle: Any) -> None:
    """In FP64 nothing is left of the difference."""
    vae = copy.deepcopy(oracle.vae).double()
    raw = torch.randn(1, 16, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    twin = QwenImageDecoder(copy.deepcopy(vae), factor=8, exact=False).decode_raw(raw)
    whole = QwenImageDecoder(vae, factor=8, exact=True).decode_raw(raw)
    assert psnr(twin, whole) >= 190


def test_a_cached_prompt_draws_the_same(model: LoadedModel) -> None:
    row = {"prompt": "a green boat that nobody asked for yet", "true_cfg_scale": 3.0, "negative_prompt": "grey"}
    assert torch.equal(draw_latents(model, **row).tensor, draw_latents(model, **row).tensor)

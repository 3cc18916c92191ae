"""The turbo LoRA is fused for good: as PEFT draws it, with no adapter left, and nothing that can take it out again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_tiny import Silent, make_row, make_spec
from safetensors.torch import save_file

from generation.engine.errors import CatalogError, CheckpointError
from generation.engine.loader import load_model
from generation.engine.run import run_pass

SIGMAS = [1.0, 0.9, 0.75, 0.5]


def make_lora(transformer: Any, *, seed: int = 0, prefix: str = "transformer.", strength: float = 0.3) -> Any:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, layer in transformer.named_modules():
        if isinstance(layer, torch.nn.Linear) and (".attn.to_" in name or "_mlp." in name):
            down = torch.randn(4, layer.in_features, generator=generator) * strength
            up = torch.randn(layer.out_features, 4, generator=generator) * strength
            weights[f"{prefix}{name}.lora_A.weight"] = down.bfloat16()
            weights[f"{prefix}{name}.lora_B.weight"] = up.bfloat16()
    assert weights
    return weights


def save(weights: Any, file: Path) -> Path:
    save_file(weights, str(file), metadata={"format": "pt"})
    return file


def turbo_spec(checkpoint: Path, file: Path, scale: float = 1.0) -> Any:
    return make_spec(checkpoint, turbo_lora={"path": str(file), "scale": scale}, sigmas=SIGMAS)


def draw(model: Any) -> torch.Tensor:
    outcome = run_pass(model, [make_row()], Silent()).rows[0]
    assert outcome.error is None
    return outcome.latents.tensor.float()


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_fused_draws_what_peft_draws(checkpoint: Path, oracle: Any, tmp_path: Path, scale: float) -> None:
    weights = make_lora(oracle.transformer)
    fused = load_model(turbo_spec(checkpoint, save(weights, tmp_path / "turbo.safetensors"), scale), device="cpu")
    active = load_model(make_spec(checkpoint, sigmas=SIGMAS), device="cpu")
    plain = draw(active)
    active.family._pipe.load_lora_weights(weights, adapter_name="style")
    active.family._pipe.set_adapters(["style"], adapter_weights=[scale])
    wanted = draw(active)
    assert psnr(draw(fused), wanted) > 50  # the rounding of BF16 weights
    assert psnr(plain, wanted) < 40  # the LoRA does change the picture


def test_no_adapter_is_left_and_a_later_one_does_not_take_turbo_out(
    checkpoint: Path, oracle: Any, tmp_path: Path
) -> None:
    file = save(make_lora(oracle.transformer), tmp_path / "turbo.safetensors")
    model = load_model(turbo_spec(checkpoint, file), device="cpu")
    pipe = model.family._pipe
    assert not getattr(pipe.transformer, "peft_config", None)
    assert not any("lora" in name for name, _ in pipe.transformer.named_modules())
    before, weights = draw(model), copy.deepcopy(pipe.transformer.state_dict())
    pipe.load_lora_weights(make_lora(oracle.transformer, seed=1), adapter_name="style")
    assert not torch.equal(draw(model), before)
    pipe.unload_lora_weights()
    assert torch.equal(draw(model), before)
    assert all(torch.equal(value, weights[key]) for key, value in pipe.transformer.state_dict().items())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: {k.replace("transformer.", "unet."): v for k, v in w.items()}, "fits no layer|no LoRA keys"),
        (lambda w: {k.removeprefix("transformer."): v for k, v in w.items()}, "fits no layer|no LoRA keys"),
        (lambda w: {**w, "transformer.other_blocks.0.to_q.lora_A.weight": torch.zeros(4, 8)}, "fits no layer"),
        (lambda w: {k: (v * float("nan")) for k, v in w.items()}, "NaN"),
        (lambda w: {k: v[:, :3].contiguous() if "lora_A" in k else v for k, v in w.items()}, "has shape"),
    ],
)
def test_loras_that_do_not_fit_are_refused(
    checkpoint: Path, oracle: Any, tmp_path: Path, change: Any, reason: str
) -> None:
    file = save(change(make_lora(oracle.transformer)), tmp_path / "turbo.safetensors")
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_model(turbo_spec(checkpoint, file), device="cpu")
    assert caught.value.file == str(file)


def test_missing_and_pickled_loras_are_refused(checkpoint: Path, oracle: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is missing"):
        load_model(turbo_spec(checkpoint, tmp_path / "nowhere.safetensors"), device="cpu")
    pickled = tmp_path / "turbo.bin"
    torch.save(make_lora(oracle.transformer), pickled)
    with pytest.raises(CheckpointError, match="safetensors"):
        load_model(turbo_spec(checkpoint, pickled), device="cpu")


def test_a_turbo_lora_without_its_schedule_is_refused(checkpoint: Path) -> None:
    with pytest.raises(CatalogError, match="turbo_lora: needs its schedule"):
        make_spec(checkpoint, turbo_lora={"path": "turbo.safetensors"})


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    error = (a - b).pow(2).mean()
    return float(10 * torch.log10((b.max() - b.min()) ** 2 / error.clamp(min=1e-20)))

"""What the engine runs on, and that web processes can import its plain parts without torch."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
import torch
from engine_tiny import make_spec

from generation.engine.catalog import PROJECT_ROOT
from generation.engine.device import cpu_has_bf16, describe_device, pick_dtype

TORCH_FREE = ["request", "catalog", "errors", "checkpoint", "files", "device", "families", "entry", "hub", "fetch"]


def run_python(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_plain_modules_load_no_torch() -> None:
    code = f"""
import sys
for name in {TORCH_FREE!r}:
    __import__("generation.engine." + name)
heavy = {{"torch", "diffusers", "transformers", "numpy", "safetensors", "django", "redis"}} & set(sys.modules)
print(sorted(heavy))
"""
    assert run_python(code) == "[]"


def test_describe_device_on_this_cpu() -> None:
    info = describe_device("cpu")
    assert info.kind == "cpu" and info.name and info.key.startswith("cpu-")
    assert 0 < info.memory_free <= info.memory_total
    assert info.bf16 == cpu_has_bf16() == ("bf16" in info.key)


def test_a_cpu_without_bf16_instructions_gets_fp32() -> None:
    """oneDNN kept to AVX2 stands for such a CPU."""
    code = """
import torch
from generation.engine.device import describe_device, pick_dtype
print(*pick_dtype(torch.device("cpu")), describe_device("cpu").key)
"""
    said = run_python(code, ONEDNN_MAX_CPU_ISA="AVX2", ATEN_CPU_CAPABILITY="avx2")
    if sys.platform == "linux" and os.uname().machine == "x86_64":
        assert said.startswith("torch.float32 FP32: the CPU has no BF16") and said.endswith("cpu-fp32")


def test_the_model_says_its_dtype_and_why(model) -> None:  # type: ignore[no-untyped-def]
    dtype, reason = pick_dtype(torch.device("cpu"))
    assert f"torch.{model.dtype}" == str(dtype) == str(model.family.dtype)
    assert model.dtype_reason == reason and model.load_ms > 0


def test_offload_means_nothing_on_a_cpu_and_nonsense_is_refused(checkpoint) -> None:  # type: ignore[no-untyped-def]
    from generation.engine.loader import load_model

    assert load_model(make_spec(checkpoint), device="cpu", offload="model").offload == "none"
    with pytest.raises(ValueError, match="offload 'disk' is unknown"):
        load_model(make_spec(checkpoint), device="cpu", offload="disk")


@pytest.mark.parametrize("library", ["diffusers", "transformers"])
def test_what_the_libraries_say_goes_the_way_of_every_other_line(model, library, caplog, capfd) -> None:  # type: ignore[no-untyped-def]
    """Not to standard error by handlers of their own, past the JSON log and what is kept about a failure."""
    logging.getLogger(f"{library}.somewhere").warning("a warning of the library")
    assert [(record.name, record.message) for record in caplog.records] == [
        (f"{library}.somewhere", "a warning of the library")
    ]
    assert f"[{library}]" not in capfd.readouterr().err

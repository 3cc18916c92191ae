"""Loads a model: from a folder or hub id to a family that can draw. GPU worker only: torch at the top.

BF16, safetensors only, no code from a hub; FP32 on hardware without BF16 instructions.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers.utils import logging as transformers_logging

from generation.engine.catalog import OFFLOADS, PROJECT_ROOT, ModelSpec
from generation.engine.checkpoint import WEIGHTS, read_settings, verify_checkpoint
from generation.engine.compiled import CompiledBlocks, Compiler
from generation.engine.device import DeviceInfo, describe_device, pick_device, pick_dtype
from generation.engine.errors import CheckpointError
from generation.engine.families import FAMILIES
from generation.engine.family import Family
from generation.engine.lora import fuse_turbo
from generation.engine.memory import is_out_of_memory

logger = logging.getLogger(__name__)

# What a checkpoint consists of; a hub repository's pickles are not even downloaded.
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.md"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in memory. `dtype` is "bfloat16" or "float32" and `dtype_reason` says why; `load_ms` in milliseconds.

    `offload` is what is in force, which is "none" on a CPU whatever was asked for. `blocks` are the compiled ones, None
    where they are not; `compiled` says whether they draw now.
    """

    spec: ModelSpec
    family: Family
    device: DeviceInfo
    dtype: str
    dtype_reason: str
    offload: str
    load_ms: float
    blocks: CompiledBlocks | None = None

    @property
    def compiled(self) -> bool:
        return self.blocks is not None and self.blocks.on


def load_model(
    spec: ModelSpec,
    *,
    device: str | None = None,
    offload: str | None = None,
    hub_offline: bool = True,
    exact_decode: bool = False,
    compiler: Compiler | None = None,
) -> LoadedModel:
    """Load `spec` onto `device` (default: CUDA where there is one). `offload` defaults to the entry's.

    `exact_decode` keeps the VAE as the pipeline has it instead of its faster single-frame twin (≥ 50 dB from it).
    `compiler` compiles the blocks of a model whose entry asks for it.
    Raises CheckpointError naming the file, the reason and the remedy, memory that is too small included; ValueError for
    an unknown offload.
    """
    started = time.perf_counter()
    target = pick_device(device)
    dtype, reason = pick_dtype(target)
    offload = _pick_offload(offload or spec.offload, target)
    folder = find_checkpoint(spec, hub_offline=hub_offline)
    verify_checkpoint(folder, family=spec.family)
    with _naming_what_does_not_fit(folder, target):
        pipe = load_pipeline(folder, family=spec.family, dtype=dtype)
        if spec.turbo_lora is not None:
            fuse_turbo(pipe, file=find_lora(spec, hub_offline=hub_offline), scale=spec.turbo_lora.scale)
        loaded = build_model(
            pipe, spec=spec, device=target, offload=offload, exact_decode=exact_decode, compiler=compiler
        )
    loaded = dataclasses.replace(loaded, dtype_reason=reason, load_ms=1000 * (time.perf_counter() - started))
    logger.info("loaded %s in %.0f ms on %s, %s", spec.slug, loaded.load_ms, loaded.device.name, reason)
    return loaded


def build_model(
    pipe: Any,
    *,
    spec: ModelSpec,
    device: torch.device,
    offload: str = "none",
    exact_decode: bool = False,
    compiler: Compiler | None = None,
) -> LoadedModel:
    """A model of a pipeline in memory. The pipeline's parts are the model's from here on, and changed."""
    family: Family = _find(FAMILIES[spec.family].draws)(pipe=pipe, spec=spec, device=device, exact_decode=exact_decode)
    _place(pipe, device, offload)
    if family.adapters is not None and offload in ("group", "sequential"):
        # Their hooks hang on the layers that were there; an adapter that comes later would stay in main memory.
        family.adapters.closed = f"this model takes no LoRA while it is offloaded by {offload}"
    return LoadedModel(
        spec=spec,
        family=family,
        device=describe_device(str(device)),
        dtype=str(family.dtype).removeprefix("torch."),
        dtype_reason="as the pipeline came",
        offload=offload,
        load_ms=0.0,
        blocks=_compile(pipe, family, spec=spec, offload=offload, compiler=compiler or Compiler()),
    )


def _compile(pipe: Any, family: Family, *, spec: ModelSpec, offload: str, compiler: Compiler) -> CompiledBlocks | None:
    why_not = compiler.why_not(wanted=spec.compile, device=family.device, offload=offload)
    if why_not:
        if spec.compile:
            logger.info("blocks of %s are not compiled: %s", spec.slug, why_not)
        return None
    if family.adapters is not None:
        family.adapters.use_slots(family.limits.max_loras)
    return CompiledBlocks(pipe.transformer, compiler)


@contextmanager
def _naming_what_does_not_fit(folder: Path, device: torch.device) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error.__cause__ or error):
            raise
        memory = describe_device(str(device))
        reason = f"does not fit {memory.name}: {memory.memory_free:,} of {memory.memory_total:,} bytes are free"
        remedy = "end what else uses the memory, or set offload in the model's entry"
        raise CheckpointError(file=folder, reason=reason, remedy=remedy) from error


def load_pipeline(folder: Path, *, family: str, dtype: torch.dtype) -> Any:
    """The diffusers pipeline of a verified folder, on the CPU, every tensor from the files.

    Raises CheckpointError when files and classes do not agree: libraries fill what is missing with random numbers.
    """
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()  # bars for each shard make a mess of a worker's log
        library.disable_default_handler()  # what they say goes the way of every other line: to the root logger
        library.enable_propagation()
    info = FAMILIES[family]
    parts: dict[str, Any] = {}
    for name, (home, classes) in info.parts.items():
        cls = _find(info.loads.get(name, f"{home}:{classes[0]}"))
        if name in WEIGHTS:
            parts[name] = _load_weights(cls, folder / name, dtype=dtype)
        else:
            parts[name] = _load_part(cls, folder / name, local_files_only=True)
    return _find(f"diffusers:{info.pipeline}")(**parts, **read_settings(folder, family=family))


def _find(path: str) -> Any:
    """What `module:attribute` names. A family's code is imported only where one of its models is loaded."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def find_checkpoint(spec: ModelSpec, *, hub_offline: bool) -> Path:
    """The entry's folder, or the hub snapshot's in the local cache (downloaded first unless `hub_offline`)."""
    if spec.folder is not None:
        return spec.folder
    return _ask_hub(
        spec.path,
        lambda: snapshot_download(
            spec.path, revision=spec.revision, local_files_only=hub_offline, allow_patterns=_HUB_FILES
        ),
    )


def find_lora(spec: ModelSpec, *, hub_offline: bool) -> Path:
    """The turbo LoRA's file: a path, or `owner/name:file.safetensors` on the hub."""
    if spec.turbo_lora is None:
        raise ValueError(f"model {spec.slug} has no turbo_lora")
    path = spec.turbo_lora.path
    repo, colon, name = path.partition(":")
    if not colon or Path(path).exists():
        return PROJECT_ROOT / Path(path).expanduser()
    revision = spec.turbo_lora.revision
    return _ask_hub(path, lambda: hf_hub_download(repo, name, revision=revision, local_files_only=hub_offline))


def _ask_hub(name: str, ask: Callable[[], str]) -> Path:
    try:
        return Path(ask())
    except LocalEntryNotFoundError as error:
        reason = "is not in the local hub cache, and the hub is off or out of reach"
        raise CheckpointError(file=name, reason=reason, remedy="download it first, or give a folder") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = f"cannot be had from the hub ({error})"
        raise CheckpointError(file=name, reason=reason, remedy="check name and revision, or give a folder") from error


def _load_weights(cls: Any, folder: Path, **kwargs: Any) -> Any:
    model, info = _load_part(
        cls, folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **kwargs
    )
    if info.get("unexpected_keys"):
        logger.warning("%s holds %d tensors that nothing reads", folder, len(info["unexpected_keys"]))
    for problem in ("missing_keys", "mismatched_keys", "error_msgs"):
        if info.get(problem):
            named = sorted(map(str, info[problem]))
            reason = f"{problem.replace('_', ' ')}: {len(named)}, {named[0]} among them"
            raise CheckpointError(file=folder, reason=reason, remedy="weights and config.json must belong together")
    return model.eval().requires_grad_(False)


def _load_part(cls: Any, folder: Path, **kwargs: Any) -> Any:
    """Whatever a library says about a file becomes a CheckpointError with the folder's name."""
    try:
        return cls.from_pretrained(folder, **kwargs)
    except Exception as error:  # the libraries raise anything from OSError to RuntimeError here
        reason = f"cannot be loaded as {cls.__name__}: {error}"
        raise CheckpointError(file=folder, reason=reason, remedy="copy it again, or check its config") from error


def _pick_offload(offload: str, device: torch.device) -> str:
    if offload not in OFFLOADS:
        raise ValueError(f"offload {offload!r} is unknown, allowed: {', '.join(OFFLOADS)}")
    if offload != "none" and device.type == "cpu":
        logger.info("offload %s is without effect: the model is in main memory already", offload)
        return "none"
    return offload


def _place(pipe: Any, device: torch.device, offload: str) -> None:
    """Move the weights, or hang diffusers' offload hooks on them for cards smaller than the model."""
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif offload == "group":
        pipe.enable_group_offload(
            onload_device=device, offload_device=torch.device("cpu"), offload_type="leaf_level", use_stream=True
        )
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)

"""What a GPU worker does before its first claim: find its models, see that they fit, draw one picture for nobody."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generation.domain.catalog import in_lane, spec_of
from generation.engine.errors import CheckpointError
from generation.engine.nohooks import NoHooks
from generation.engine.request import InputPicture, PassRow
from generation.models import Model
from generation.worker.engine import Engine, offload_of
from generation.worker.passes import Served

if TYPE_CHECKING:
    from generation.engine.catalog import ModelSpec
    from generation.engine.device import DeviceInfo


class NothingToServe(Exception):
    """The pool has no such model; the message says what to do."""


def find_specs(*, lane: str, pool: str, slugs: Sequence[str]) -> list[ModelSpec]:
    """The entries to serve; without `slugs` every enabled model of lane and pool. Raises `NothingToServe`."""
    models = Model.objects.filter(in_lane(lane), pool=pool, enabled=True)
    if slugs:
        models = models.filter(slug__in=slugs)
    specs = [spec_of(model) for model in models]
    missing = sorted(set(slugs) - {spec.slug for spec in specs})
    if missing or not specs:
        named = ", ".join(missing) or "any model"
        remedy = "write it into the models file and run manage.py loadmodels"
        raise NothingToServe(f"pool {pool} does not offer {named}; {remedy}")
    return specs


def check_memory(specs: Sequence[ModelSpec], device: DeviceInfo, *, room: int) -> None:
    """Raises NothingToServe when a model that declares its memory, and stays in it, does not fit even alone."""
    for spec in specs:
        if not is_offloaded(spec, device) and spec.memory_bytes > room:
            remedy = (
                "name others with --models" if len(specs) > 1 else "set offload in its entry, or serve it elsewhere"
            )
            raise NothingToServe(
                f"{spec.slug}: {spec.memory_bytes:,} bytes needed, {device.name} has {room:,}; {remedy}"
            )


def is_offloaded(spec: ModelSpec, device: DeviceInfo) -> bool:
    """Whether a model's weights wait in main memory; on a CPU they are there anyway."""
    return offload_of(spec) != "none" and device.kind != "cpu"


@contextmanager
def naming(spec: ModelSpec, *, alone: bool) -> Iterator[None]:
    """Say which model a broken checkpoint belongs to, and how the others of the pool can be served without it."""
    try:
        yield
    except CheckpointError as error:
        others = "" if alone else "; or serve the others: switch it off in the admin, or name them with --models"
        raise NothingToServe(f"model {spec.slug}: {error}{others}") from error


def warm_up(served: Served, engine: Engine) -> None:
    """One picture for nobody: kernels are chosen, memory is taken, and a model that draws nothing shows now.

    Raises `CheckpointError`.
    """
    spec = served.model.spec
    with tempfile.TemporaryDirectory() as folder:
        row = PassRow(
            key="warm-up",
            prompt="a red circle",
            width=spec.default_width,
            height=spec.default_height,
            num_inference_steps=spec.default_steps,
            seed=0,
            **_start_of(spec, Path(folder)),
        )
        outcome = engine.run(served.model, [row], NoHooks()).row("warm-up")
    errors: list[Exception] = [] if outcome.error is None else [outcome.error]
    if outcome.latents is not None:
        served.tail.submit(outcome.latents, lambda result: errors.extend([result.error] if result.error else []))
        served.tail.drain(None)
    if errors:
        reason = f"draws nothing that may be delivered ({errors[0]})"
        raise CheckpointError(file=spec.path, reason=reason, remedy="check the model's weights and its entry")


def _start_of(spec: ModelSpec, folder: Path) -> dict[str, Any]:
    """What a row of the model starts from: nothing where it draws from text alone, else a blank picture."""
    if "text-to-image" in spec.tasks:
        return {}
    task, size = spec.tasks[0], (spec.default_width, spec.default_height)
    started: dict[str, Any] = {"task": task, "images": (_blank("RGB", size, folder),)}
    return started | ({"mask": _blank("L", size, folder)} if task == "inpaint" else {})


def _blank(mode: str, size: tuple[int, int], folder: Path) -> InputPicture:
    from PIL import Image  # for this alone

    data = io.BytesIO()
    Image.new(mode, size, "white").save(data, "PNG")
    file = folder / f"{mode}.png"
    file.write_bytes(data.getvalue())
    return InputPicture(path=str(file), sha256=hashlib.sha256(data.getvalue()).hexdigest())

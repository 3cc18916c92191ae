"""An engine that sleeps, for tests of everything around the engine: `gpuworker --engine tests.chaos.sleeping:Sleeping`.

It loads no torch, takes its steps by sleeping, and draws a plain picture whose colour follows from the seed, through
the product's own worker. What it should do wrong comes from the environment (see `Faults`).
"""

from __future__ import annotations

import colorsys
import errno
import hashlib
import io
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from generation.engine.catalog import ModelSpec
from generation.engine.device import DeviceInfo
from generation.engine.errors import BadFrame, CheckpointError
from generation.engine.files import PictureFile, encode_picture, encode_thumbnail
from generation.engine.request import PassRow

logger = logging.getLogger(__name__)

WARM_UP = "warm-up"  # the key of the row that `generation.worker.load.warm_up` draws
WARM_UP_STEP_S = 0.0125


@dataclass(frozen=True)
class Faults:
    """What goes wrong, by environment variable. A prompt may ask for it too: `RAISE`, `BLACK`, `HANG`."""

    step_s: float = float(os.environ.get("SLEEPING_STEP_S", "0.0125"))
    decode_s: float = float(os.environ.get("SLEEPING_DECODE_S", "0"))
    # While this file exists nothing is decoded any further.
    decode_waits: str = os.environ.get("SLEEPING_DECODE_WAITS", "")
    previews: bool = os.environ.get("SLEEPING_PREVIEWS", "") == "1"
    broken_checkpoint: bool = os.environ.get("SLEEPING_BROKEN", "") == "1"
    broken_model: str = os.environ.get("SLEEPING_BROKEN_MODEL", "")  # the slug of one that cannot be loaded
    load_s: float = float(os.environ.get("SLEEPING_LOAD_S", "0"))
    # What it says of its memory, in bytes: used, total.
    memory: tuple[int, int] = (
        int(os.environ.get("SLEEPING_MEMORY_USED", "0")),
        int(os.environ.get("SLEEPING_MEMORY_TOTAL", str(10**9))),
    )
    load_raises: str = os.environ.get("SLEEPING_LOAD_RAISES", "")  # the words of a RuntimeError
    # While this file exists a picture's second image cannot be written: the disk is full.
    disk_full: str = os.environ.get("SLEEPING_DISK_FULL", "")
    # A file that exists means: it happened once already.
    kill_before_finish: str = os.environ.get("SLEEPING_KILL_BEFORE_FINISH", "")
    freeze_before_finish: str = os.environ.get("SLEEPING_FREEZE_BEFORE_FINISH", "")
    freeze_in_claim: str = os.environ.get("SLEEPING_FREEZE_IN_CLAIM", "")


@dataclass(frozen=True)
class Tokens:
    used: int
    total: int

    @property
    def cut(self) -> bool:
        return self.used < self.total


@dataclass(frozen=True)
class Timings:
    encode_ms: float = 0.0
    steps_ms: float = 0.0
    step_ms: tuple[float, ...] = ()
    share_ms: float = 0.0


@dataclass(frozen=True)
class Latents:
    """Nothing but the seed: the tail makes a colour of it."""

    key: str
    prompt: str
    seed: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The fields of `RowOutcome`."""

    key: str
    status: str
    latents: Latents | None = None
    error: Exception | None = None
    tokens: Tokens | None = None
    negative_tokens: Tokens | None = None
    batch_size: int = 0
    bucket: int = 64
    negative_bucket: int | None = None
    steps: int = 0
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The fields of `PassOutcome`."""

    rows: tuple[Outcome, ...]
    dtype: str = "none"
    hardware: str = "sleeping"
    run_ms: float = 0.0
    halved: int = 0
    repeated: int = 0

    def row(self, key: str) -> Outcome:
        return next(row for row in self.rows if row.key == key)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The fields of `TailPicture`."""

    file: PictureFile
    thumbnail: PictureFile
    sha256: str
    decode_ms: float = 1.0
    encode_ms: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """The fields of `TailResult`."""

    key: str
    picture: Picture | None = None
    error: Exception | None = None


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The fields of `LoadedModel` that the worker reads."""

    spec: ModelSpec
    device: DeviceInfo
    family: Any = field(default_factory=lambda: SimpleNamespace(adapters=None))
    dtype: str = "none"
    dtype_reason: str = "nothing is computed"
    offload: str = "none"
    compiled: bool = False
    load_ms: float = 1.0


class Sleeping:
    """See `generation.worker.engine.Engine`."""

    def __init__(self) -> None:
        self.faults = Faults()
        if self.faults.disk_full:
            _fill_disk(self.faults.disk_full)
        _plant(self.faults)

    def describe(self) -> DeviceInfo:
        used, total = self.faults.memory
        return DeviceInfo(
            kind="cpu", name="sleeping engine", key="sleeping", memory_total=total, memory_free=total - used, bf16=False
        )

    def load(self, spec: ModelSpec) -> Any:
        if self.faults.broken_checkpoint or spec.slug == self.faults.broken_model:
            raise CheckpointError(file="sleeping", reason="is broken on purpose", remedy="unset SLEEPING_BROKEN")
        if self.faults.load_raises:
            raise RuntimeError(self.faults.load_raises)
        time.sleep(self.faults.load_s)
        return Loaded(spec=spec, device=self.describe())

    def run(self, model: Any, rows: Sequence[PassRow], hooks: Any) -> Any:
        hooks.phase("encode", {"rows": len(rows)})
        ended: dict[str, Outcome] = {}
        alive = {row.key: row for row in rows}
        for row in rows:
            if "RAISE" in row.prompt:
                ended[row.key] = Outcome(
                    key=row.key, status="failed", error=RuntimeError(f"raised on purpose: {row.prompt}")
                )
                del alive[row.key]
        steps = max((row.num_inference_steps for row in rows), default=0)
        started, share_ms = time.perf_counter(), 0.0
        for step in range(1, steps + 1):
            stopped, cancelled = hooks.stop(), hooks.cancelled()
            for key in set(alive) if stopped else cancelled & set(alive):
                timings = Timings(encode_ms=0.1, steps_ms=since(started), share_ms=share_ms)
                status = "stopped" if stopped else "cancelled"
                ended[key] = Outcome(key=key, status=status, batch_size=len(alive), timings=timings)
            alive = {key: row for key, row in alive.items() if key not in ended}
            if not alive:
                break
            hooks.phase("step", {"step": step, "steps": steps, "rows": len(alive)})
            at = time.perf_counter()
            time.sleep(3600 if any("HANG" in row.prompt for row in alive.values()) else self._step_s(alive))
            share_ms += since(at) / len(alive)
            hooks.step(step, steps, dict.fromkeys(alive, preview_of(step) if self.faults.previews else b""))
        for key, row in alive.items():
            timings = Timings(encode_ms=0.1, steps_ms=since(started), share_ms=share_ms)
            ended[key] = self._drawn(row, timings, len(alive))
        return Whole(rows=tuple(ended[row.key] for row in rows), run_ms=since(started))

    def _step_s(self, alive: Mapping[str, PassRow]) -> float:
        """Of the pass's steps. Warming up takes none of them: nobody watches it, and everybody waits for it."""
        return min(self.faults.step_s, WARM_UP_STEP_S) if set(alive) == {WARM_UP} else self.faults.step_s

    def _drawn(self, row: PassRow, timings: Timings, batch: int) -> Outcome:
        words = len(row.prompt.split())
        return Outcome(
            key=row.key,
            status="drawn",
            latents=Latents(row.key, row.prompt, row.seed, row.width, row.height),
            tokens=Tokens(used=min(words, 512), total=words),
            batch_size=batch,
            steps=row.num_inference_steps,
            timings=timings,
        )

    def tail(self, model: Any, phase: Callable[[Any, Mapping[str, Any]], None]) -> Any:
        return SleepingTail(phase, decode_s=self.faults.decode_s, waits=self.faults.decode_waits)

    def memory_used(self) -> int:
        return self.faults.memory[0]

    def sweep(self) -> None:
        return None


class SleepingTail:
    """One thread, like `generation.engine.tail.Tail`."""

    def __init__(self, phase: Callable[[Any, Mapping[str, Any]], None], *, decode_s: float, waits: str = "") -> None:
        self._phase = phase
        self._decode_s = decode_s
        self._waits = waits
        self._orders: queue.Queue[tuple[Latents, Callable[[Any], None], Any, int | None] | None] = queue.Queue(
            maxsize=16
        )
        self._idle = threading.Condition()
        self._open = 0
        self._thread = threading.Thread(target=self._work, name="tail", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        return self._open

    def submit(
        self, latents: Latents, callback: Callable[[Any], None], *, fmt: Any = "png", quality: int | None = None
    ) -> None:
        with self._idle:
            self._open += 1
        self._orders.put((latents, callback, fmt, quality))

    def drain(self, timeout: float | None = None) -> bool:
        with self._idle:
            return self._idle.wait_for(lambda: self._open == 0, timeout)

    def close(self, timeout: float | None = None) -> bool:
        self._orders.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            latents, callback, fmt, quality = order
            try:
                self._phase("decode", {"key": latents.key})
                time.sleep(self._decode_s)
                while self._waits and Path(self._waits).exists():
                    time.sleep(0.02)
                result = Result(key=latents.key, picture=draw(latents, fmt, quality))
                self._phase("store", {"key": latents.key})
            except Exception as error:
                result = Result(key=latents.key, error=error)
            try:
                callback(result)
            except Exception:
                logger.exception("storing %s failed", latents.key)
            with self._idle:
                self._open -= 1
                self._idle.notify_all()


def since(started: float) -> float:
    return 1000 * (time.perf_counter() - started)


def draw(latents: Latents, fmt: Any = "png", quality: int | None = None) -> Picture:
    """A plain picture in the seed's colour; the same seed always gives the same bytes."""
    if "BLACK" in latents.prompt:
        raise BadFrame("the picture is completely black")
    red, green, blue = colorsys.hsv_to_rgb((latents.seed * 0.618034) % 1, 0.6, 0.9)
    colour = (int(255 * red), int(255 * green), int(255 * blue))
    picture = Image.new("RGB", (latents.width, latents.height), colour)
    file = encode_picture(picture, fmt=fmt, quality=quality)
    return Picture(file=file, thumbnail=encode_thumbnail(picture), sha256=hashlib.sha256(file.data).hexdigest())


def preview_of(step: int) -> bytes:
    """A little WebP, brighter with every step."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (min(255, 30 * step),) * 3).save(buffer, "WEBP")
    return buffer.getvalue()


def _fill_disk(marker: str) -> None:
    """Writing fails after the thumbnail of the first image, once its file has its name."""
    from generation.worker import settle

    real = settle.write_atomic

    def faulty(path: str, data: bytes) -> None:
        real(path, data)
        if Path(marker).exists() and "-1-" in Path(path).name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    settle.write_atomic = faulty


def _plant(faults: Faults) -> None:
    """Kill or freeze this process once.

    Either between the files' rename and the transaction that would own them, or in the transaction of a claim, with the
    pool's lock in hand.
    """
    from generation.domain import claim
    from generation.worker import settle

    for module, name, marker, number in (
        (settle, "finish_slice", faults.kill_before_finish, signal.SIGKILL),
        (settle, "finish_slice", faults.freeze_before_finish, signal.SIGSTOP),
        (claim, "_take_rows", faults.freeze_in_claim, signal.SIGSTOP),
    ):
        if marker:
            setattr(module, name, _signal_once(getattr(module, name), Path(marker), number))


def _signal_once(real: Callable[..., Any], marker: Path, number: signal.Signals) -> Callable[..., Any]:
    """`real`, but its first call in any process sends this one a signal before it; the marker says that it happened."""

    def faulty(*args: Any, **kwargs: Any) -> Any:
        if not marker.exists():
            marker.write_text(str(os.getpid()), encoding="ascii")
            os.kill(os.getpid(), number)
            time.sleep(0.2)  # a stop signal reaches the other threads a moment later
        return real(*args, **kwargs)

    return faulty

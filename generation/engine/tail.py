"""The tail of a pass: decode, encode the file, store; in one thread, beside the next pass. GPU worker only.

The thread owns its VAE: Qwen's keeps state on the module while it decodes, and two threads on one instance give wrong
pictures without an error.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from generation.engine.errors import TailClosed
from generation.engine.family import Decoder, RowLatents
from generation.engine.files import Format, PictureFile, encode_picture, encode_thumbnail
from generation.engine.guard import check_frame
from generation.engine.loader import LoadedModel
from generation.engine.memory import name_failure
from generation.engine.outcome import Phase

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TailPicture:
    """A finished picture: the file, its thumbnail, the SHA-256 of the file's bytes (hex), and times in milliseconds."""

    file: PictureFile
    thumbnail: PictureFile
    sha256: str
    decode_ms: float
    encode_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TailResult:
    """What the callback gets: either `picture` or `error` (BadFrame, OutOfMemory, or what a library raised)."""

    key: str
    picture: TailPicture | None = None
    error: Exception | None = None


Store = Callable[[TailResult], None]
PhaseHook = Callable[[Phase, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Order:
    latents: RowLatents
    callback: Store
    fmt: Format
    quality: int | None


class Tail:
    """One thread. `submit` waits while `capacity` pictures are under way, so that latents do not pile up.

    `phase`, where given, is called in the tail's thread before each decode and each store, with `{"key": …}`. Whatever
    happens to a picture, `phase` raising included, its callback is called once.
    """

    def __init__(self, model: LoadedModel, *, capacity: int = 16, phase: PhaseHook | None = None) -> None:
        self._decoder: Decoder = model.family.decoder()
        # Decoding must not wait for the next pass's kernels. The latents are ready: the pass has looked at them.
        cuda: Any = torch.cuda  # its Stream has no types
        self._stream = cuda.Stream(model.family.device) if model.family.device.type == "cuda" else None
        self._phase = phase
        self._orders: queue.Queue[_Order | None] = queue.Queue(maxsize=capacity)
        self._idle = threading.Condition()
        self._open = 0
        self._closed = False
        self.store_failures = 0  # callbacks that raised: the caller's own bookkeeping failed, each is logged
        self._thread = threading.Thread(target=self._work, name="tail", daemon=True)
        self._thread.start()

    def submit(
        self,
        latents: RowLatents,
        callback: Store,
        *,
        fmt: Format = "png",
        quality: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Hand a drawn row over; `callback(result)` is called once, in the tail's thread.

        `fmt` and `quality` are as in `encode_picture`.

        Raises TailClosed after `close`, TimeoutError when the queue stays full for `timeout` seconds.
        """
        with self._idle:
            if self._closed:
                raise TailClosed("the tail is closed, make a new one")
            self._open += 1
        try:
            self._orders.put(_Order(latents, callback, fmt, quality), timeout=timeout)
        except queue.Full:
            self._done()
            raise TimeoutError(f"the tail took no picture for {timeout:g} s") from None

    @property
    def pending(self) -> int:
        """Pictures submitted whose callback has not returned."""
        with self._idle:
            return self._open

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until every submitted picture's callback has returned; False when `timeout` seconds were not enough."""
        with self._idle:
            return self._idle.wait_for(lambda: self._open == 0, timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Take no more, finish what is there, end the thread; False when `timeout` seconds were not enough."""
        with self._idle:
            first, self._closed = not self._closed, True
        if first:
            self._orders.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            result = self._finish(order)
            try:
                order.callback(result)
            except Exception:  # the next pictures must not pay for one failed store
                self.store_failures += 1
                logger.exception("storing picture %s failed", order.latents.key)
            del order, result  # or the latents stay alive while the thread waits
            self._done()

    def _finish(self, order: _Order) -> TailResult:
        key = order.latents.key
        try:
            self._tell("decode", order)
            picture = self._make_picture(order)
            self._tell("store", order)
            return TailResult(key=key, picture=picture)
        except Exception as error:  # every failure is this picture's, and its callback is told
            return TailResult(key=key, error=name_failure(error))

    def _make_picture(self, order: _Order) -> TailPicture:
        started = time.perf_counter()
        with torch.cuda.stream(self._stream):  # None changes nothing
            frame = self._decoder.decode(order.latents)
            check_frame(frame)
            picture = to_picture(frame)
            if order.latents.paste is not None:
                picture = order.latents.paste.onto(picture)
        decoded = time.perf_counter()
        file = encode_picture(picture, fmt=order.fmt, quality=order.quality)
        return TailPicture(
            file=file,
            thumbnail=encode_thumbnail(picture),
            sha256=hashlib.sha256(file.data).hexdigest(),
            decode_ms=1000 * (decoded - started),
            encode_ms=1000 * (time.perf_counter() - decoded),
        )

    def _tell(self, name: Phase, order: _Order) -> None:
        if self._phase is not None:
            self._phase(name, {"key": order.latents.key})

    def _done(self) -> None:
        with self._idle:
            self._open -= 1
            self._idle.notify_all()


def to_picture(frame: torch.Tensor) -> Image.Image:
    """(3, height, width), 0 to 1 → an RGB picture; rounded to 8 bits on the device, so that a third is copied."""
    pixels = (frame.float() * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu()
    return Image.fromarray(pixels.numpy())

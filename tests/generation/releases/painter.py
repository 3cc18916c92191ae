"""A GPU worker for tests: the true claim, file and finish, with a picture that the test chooses in between."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import connection
from PIL import Image

from accounts.domain.media import write_atomic
from accounts.ids import uuid7
from generation.domain.claim import ClaimedRow, claim_pass
from generation.domain.finish import StoredImage, fail_row, finish_slice
from generation.domain.storage import image_paths

Draw = Callable[[ClaimedRow], "bytes | Fault"]


@dataclass(frozen=True)
class Fault:
    """The worker says that a row failed."""

    code: str


def scene(seed: int, *, width: int = 64, height: int = 64) -> Any:
    """A picture with something on it, which follows from the seed: (height, width, 3), 0 to 255."""
    small = np.random.default_rng(seed).uniform(30, 225, (8, 8, 3))
    return small[np.arange(height) * 8 // height][:, np.arange(width) * 8 // width]


def encode(pixels: Any) -> bytes:
    """As a PNG file."""
    out = io.BytesIO()
    Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def paint(row: ClaimedRow) -> bytes:
    """What a well release draws."""
    return encode(scene(row.seeds[0][1], width=row.width, height=row.height))


class Painter:
    """One worker of a lane, in a thread."""

    def __init__(self, lane: str, *, release: str, draw: Draw = paint, slow_s: float = 0.0) -> None:
        self.lane, self.release, self.draw, self.slow_s = lane, release, draw, slow_s
        self.batches: list[int] = []
        self.receipt: dict[str, Any] = {}
        self.serves = {"demo": 8}
        self.hangs = False
        self._worker = uuid7()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Painter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def _work(self) -> None:
        try:
            while not self._ended.wait(0.02):
                claim = claim_pass(
                    lane=self.lane, pool="demo", models=self.serves, worker=self._worker, hardware="a GPU"
                )
                if claim is not None:
                    self.batches.append(len(claim.rows))
                    time.sleep(self.slow_s)
                    if self.hangs:  # its lease is still good when the test ends
                        self._ended.wait()
                        return
                    for row in claim.rows:
                        self._end(row, batch=len(claim.rows))
        finally:
            connection.close()

    def _end(self, row: ClaimedRow, *, batch: int) -> None:
        drawn = self.draw(row)
        if isinstance(drawn, Fault):
            fail_row(row=row, code=drawn.code, message="on purpose", retry=False)
            return
        paths = image_paths(row=row, index=0, fmt="png")
        write_atomic(paths.file, drawn)
        write_atomic(paths.thumbnail, drawn)
        receipt = {"lane": self.lane, "release": self.release, "batch_size": batch, "hardware": "a GPU", **self.receipt}
        image = StoredImage(
            index=0, file=paths.file, thumbnail=paths.thumbnail, format="png",
            sha256=hashlib.sha256(drawn).hexdigest(), bytes=len(drawn), thumbnail_bytes=len(drawn), width=row.width,
            height=row.height, seed=row.seeds[0][1], receipt=receipt,
        )  # fmt: skip
        finish_slice(row=row, images=[image], run_ms=5)

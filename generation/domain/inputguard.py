"""The guard before everything that strangers send as a picture: `generation/engine/normalise.py`, as a process of its
own with bounds on memory and time. The web itself decodes nothing.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from accounts.errors import Unavailable
from generation.engine import normalise
from generation.errors import PictureRefused

log = logging.getLogger(__name__)

Kind = Literal["picture", "mask", "alpha"]

MAX_BYTES = 10_000_000  # of what is sent
AT_ONCE = 2  # of one web process: together they take less than half a gigabyte
WAIT_S = 20.0  # for a place among those
TIME_S = 30.0  # on a busy machine; its own processor time is bounded by itself
_PROGRAM = str(Path(normalise.__file__).resolve())
_places = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, slots=True)
class Normalised:
    """A PNG that the studio has made itself, and its size in pixels."""

    data: bytes
    width: int
    height: int


def normalise_picture(data: bytes, *, kind: Kind, field: str, own: bool = False) -> Normalised:
    """What is kept of a file that was sent, or (`own`) drawn here.

    Raises `PictureRefused` naming field and bound, `Unavailable` when all are busy.
    """
    if not data:
        raise PictureRefused("is empty", field=field)
    most = normalise.MAX_BYTES if own else MAX_BYTES
    if len(data) > most:
        raise PictureRefused(f"is too large, max {most} bytes", field=field)
    if not _places.acquire(timeout=WAIT_S):
        raise Unavailable("many pictures are being read at this moment; try again", retry_after_s=5)
    try:
        return _ask(data, kind=kind, field=field)
    finally:
        _places.release()


def command(kind: Kind) -> list[str]:
    """How the guard is started: this Python, without anything of the studio's on its path or in its environment."""
    return [sys.executable, "-I", _PROGRAM, kind]


def _ask(data: bytes, *, kind: Kind, field: str) -> Normalised:
    try:
        done = subprocess.run(
            command(kind), input=data, capture_output=True, timeout=TIME_S, env={}, cwd="/", check=False
        )
    except subprocess.TimeoutExpired:
        raise PictureRefused("takes too long to be decoded, send a smaller one", field=field) from None
    head, _, png = done.stdout.partition(b"\n")
    if done.returncode != 0 or not head:
        # Killed at its bound of time (SIGXCPU), by the system for memory, or by a decoder's fault: none of it ours.
        log.warning(
            "the guard of pictures ended with %d: %s", done.returncode, done.stderr[-300:].decode(errors="replace")
        )
        raise PictureRefused("cannot be decoded within the bounds of time and memory, send a smaller one", field=field)
    answer = json.loads(head)
    if "error" in answer:
        raise PictureRefused(str(answer["error"]), field=field)
    return Normalised(png, int(answer["width"]), int(answer["height"]))

"""Workers that draw what a test of comparisons wants, right and wrong, and the three golden cases they draw."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

from accounts.domain.media import media_path
from generation.domain.claim import ClaimedRow
from generation.models import Comparison, GoldenCase, Lane
from generation.releases.compare import side
from generation.releases.compare.limits import Bound
from generation.releases.compare.run import compare_lane
from tests.generation.releases.machine import Machine
from tests.generation.releases.painter import Draw, Fault, Painter, encode, paint, scene

SLUGS = ["apple", "boat", "cloud"]
made: list[Machine] = []


def prepare_cases(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cases of the model on offer; no verdict depends on how quick this machine is."""
    made[:] = [machine]
    for position, slug in enumerate(SLUGS):
        GoldenCase.objects.create(slug=slug, model_id="demo", prompt=f"a {slug}", seed=position, position=position)
    monkeypatch.setattr("generation.releases.compare.judge.SLOWER", Bound(1e9, 1e9))
    monkeypatch.setattr(side, "LOOK_EVERY_S", 0.02)


def add_started_cases() -> None:
    """Two cases that start from the apple's picture."""
    apple = GoldenCase.objects.get(slug="apple")
    common = {"model_id": "demo", "starts_from": apple}
    GoldenCase.objects.create(
        slug="baked", task="image-to-image", prompt="a baked apple", seed=7, strength=0.5, position=7, **common
    )
    GoldenCase.objects.create(
        slug="bitten", task="inpaint", prompt="a bite", seed=8, mask="0.25,0.5,0.75,1", position=8, **common
    )


def repaint(row: ClaimedRow, *, strength: float | None = None, masked: bool = True) -> bytes:
    """What a well release draws, from text or from a picture; with a fault, another strength or no mask."""
    fresh = scene(row.seeds[0][1], width=row.width, height=row.height)
    if not row.params.get("images"):
        return encode(fresh)
    share = row.params["strength"] if strength is None else strength
    start = _pixels(row.params["images"][0]["file"])
    mask = _pixels(row.params["mask"]["file"]) / 255 if masked and "mask" in row.params else 1.0
    return encode(start + (fresh - start) * share * mask)


def _pixels(file: str) -> Any:
    with Image.open(io.BytesIO(media_path(file).read_bytes())) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float64)


@contextmanager
def drawing(
    *, blue: Draw | None = paint, green: Draw | None = paint, green_slow_s: float = 0.0
) -> Iterator[dict[str, Painter]]:
    """Workers of both lanes (None: of one no worker draws)."""
    made[0]._let_workers_look()  # seen just now
    releases = {lane.name: lane.release.name for lane in Lane.objects.select_related("release") if lane.release}
    with ExitStack() as stack:
        yield {
            lane: stack.enter_context(Painter(lane, release=releases[lane], draw=draw, slow_s=slow_s))
            for lane, draw, slow_s in (("blue", blue, 0.0), ("green", green, green_slow_s))
            if draw is not None
        }


@contextmanager
def drawing_later(*, green: Draw) -> Iterator[Painter]:
    """A worker of green that is there before its lane is: by hand-over it loads in the middle of the promotion."""
    release = Lane.objects.select_related("release").get(pk="green").release
    assert release is not None
    with Painter("green", release=release.name, draw=green) as painter:
        yield painter


def wrong(row: ClaimedRow) -> bytes:
    """Another picture than was asked for."""
    return encode(scene(row.seeds[0][1] + 1000, width=row.width, height=row.height))


def black(row: ClaimedRow) -> bytes:
    return encode(np.zeros((row.height, row.width, 3)))


def nan(row: ClaimedRow) -> Fault:
    """What the engine's own guard says of NaN."""
    return Fault("bad_frame")


def only(prompt: str, draw: Draw) -> Draw:
    """A fault in one case; the others are well."""
    return lambda row: draw(row) if row.prompt == prompt else paint(row)


def compare(lane: str = "green", **options: Any) -> Comparison:
    return compare_lane(lane, **{"timeout_s": 20.0} | options)

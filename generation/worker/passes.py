"""One pass: claimed rows in, pictures into the tail."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from accounts.domain.media import media_path
from generation.domain.claim import Claim, ClaimedRow
from generation.domain.lorafiles import lora_path
from generation.engine.errors import RowRefused
from generation.engine.request import InputPicture, LoraUse, PassRow
from generation.meters import PASS_IMAGES, PASS_SECONDS
from generation.worker.clock import PhaseClock
from generation.worker.database import PATIENCE_S
from generation.worker.engine import Engine, TailLike
from generation.worker.gains import Gains
from generation.worker.leases import Leases
from generation.worker.publisher import Publisher
from generation.worker.settle import Settler, Slice
from generation.worker.stop import StopFlag

if TYPE_CHECKING:
    from generation.engine.loader import LoadedModel
    from generation.engine.outcome import PassOutcome
    from generation.engine.tail import TailResult

logger = logging.getLogger(__name__)

FINISH_S = PATIENCE_S + 30.0  # for a row's last transaction, repeated while the database is away
GRACE_S = 10.0  # how much of a pass a request to end waits for; a longer one gives its rows back


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model that this process holds, with the tail that finishes its pictures."""

    model: LoadedModel
    tail: TailLike


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What every pass of this process uses."""

    engine: Engine
    clock: PhaseClock
    leases: Leases
    publisher: Publisher
    settler: Settler
    stop: StopFlag
    gains: Gains


def draw(claim: Claim, served: Served, desk: Desk) -> None:
    """Draw a claim's rows. When this returns, each of them is ended, given back, or in the tail's hands.

    When it raises (the database stays away), the rest is let go and comes back when the lease has run out.
    """
    with desk.leases.holding(claim.rows):
        _draw(claim, served, desk)


def _draw(claim: Claim, served: Served, desk: Desk) -> None:
    rows, pictures = _prepare(claim, desk)
    if not pictures:
        return
    hooks = PassHooks(rows, desk, shape=(claim.model, rows[0].width, rows[0].height))
    started = time.monotonic()
    try:
        outcome = desk.engine.run(served.model, pictures, hooks)
    except Exception as error:  # a bug in a hook or in the engine: each row pays one of its attempts
        logger.exception("pass failed as a whole")
        for row in rows:
            desk.settler.refuse(row, error)
        return
    finally:
        desk.clock.leave("pass")
        PASS_SECONDS.labels(settings.STUDIO_LANE, claim.model).observe(time.monotonic() - started)
        PASS_IMAGES.labels(settings.STUDIO_LANE, claim.model).observe(len(pictures))
    first = rows[0]
    spec = served.model.spec
    shape = (claim.model, first.task, first.width, first.height, first.guided)
    desk.gains.note_pass(shape, outcome, batch_max=spec.batch_max)
    for row in rows:
        _hand_on(row, outcome, served, desk)


def make_key(row: ClaimedRow, index: int) -> str:
    """The engine's name for one image of a row."""
    return f"{row.id}:{index}"


def make_pictures(row: ClaimedRow) -> list[PassRow]:
    """One engine row per image to draw. Raises RowRefused when the row asks for what no engine can hold."""
    scale = float(row.params.get("true_cfg_scale", 1.0))
    try:
        loras = tuple(
            LoraUse(
                path=str(media_path(lora_path(use["sha256"]))),
                sha256=use["sha256"],
                scale=use["scale"],
                name=use["name"],
            )
            for use in row.params.get("loras", [])
        )
        images = tuple(map(_input, row.params.get("images", [])))
        mask = row.params.get("mask")
        return [
            PassRow(
                key=make_key(row, index),
                prompt=row.prompt,
                negative_prompt=row.negative_prompt,
                width=row.width,
                height=row.height,
                num_inference_steps=row.steps,
                seed=seed,
                true_cfg_scale=scale,
                loras=loras,
                task=row.task,
                images=images,
                mask=_input(mask) if mask else None,
                strength=float(row.params.get("strength", 1.0)),
            )
            for index, seed in row.seeds
        ]
    except ValueError as error:  # our own words, about this row's values
        raise RowRefused(str(error)) from error


def _input(stored: Mapping[str, Any]) -> InputPicture:
    return InputPicture(path=str(media_path(stored["file"])), sha256=stored["sha256"])


def _prepare(claim: Claim, desk: Desk) -> tuple[list[ClaimedRow], list[PassRow]]:
    rows: list[ClaimedRow] = []
    pictures: list[PassRow] = []
    for row in claim.rows:
        try:
            made = make_pictures(row)
        except Exception as error:  # whatever one row holds, its neighbours are drawn
            desk.settler.refuse(row, error)
            continue
        rows.append(row)
        pictures += made
    return rows, pictures


def _hand_on(row: ClaimedRow, outcome: PassOutcome, served: Served, desk: Desk) -> None:
    """Decide what follows for one row, by the worst that happened to one of its images."""
    done = Slice(row, {index: outcome.row(make_key(row, index)) for index, _ in row.seeds})
    statuses = {image.status for image in done.outcomes.values()}
    errors = [image.error for image in done.outcomes.values() if image.error is not None]
    if desk.leases.is_lost(row):
        desk.settler.forget(row)
    elif desk.leases.is_cancelled(row):
        desk.settler.cancel(row, run_ms=done.run_ms)
    elif errors:
        desk.settler.refuse(row, errors[0])
    elif statuses != {"drawn"}:
        desk.settler.give_back(row)
    else:
        _submit(done, served, desk)


def _submit(done: Slice, served: Served, desk: Desk) -> None:
    params = done.row.params
    fmt, quality = params.get("output_format", "png"), params.get("output_compression")
    for index, image in sorted(done.outcomes.items()):
        if image.latents is None:
            raise ValueError(f"image {index} was drawn without latents")
        receive = partial(_receive, done, index, served, desk)
        served.tail.submit(image.latents, receive, fmt=fmt, quality=quality)
    desk.leases.hand_over(done.row)


def _receive(done: Slice, index: int, served: Served, desk: Desk, result: TailResult) -> None:
    """In the tail's thread: one picture is ready; with the last one of its row, finish the row."""
    track = f"tail {served.model.spec.slug}"
    settling = partial(desk.clock.enter, track, "finish", None, allow_s=FINISH_S)
    try:
        if done.take(index, result):
            desk.settler.finish(done, served.model, settling=settling)
    finally:
        desk.clock.leave(track)
        if served.tail.pending <= 1:
            connection.close()  # this was the last one for now


class PassHooks:
    """What the engine asks and tells between steps (see `generation.engine.outcome.Hooks`)."""

    def __init__(self, rows: list[ClaimedRow], desk: Desk, *, shape: tuple[str, int, int]) -> None:
        self._rows = {row.id: row for row in rows}
        self._names = {make_key(row, index): (row.id, index) for row in rows for index, _ in row.seeds}
        self._steps: dict[str, int] = {}
        self._desk = desk
        self._shape = shape
        self._step_began = time.monotonic()
        self._step_s = 0.0
        self._steps_left = 0

    def phase(self, name: Any, detail: Mapping[str, Any]) -> None:
        self._desk.clock.enter("pass", name, (*self._shape, detail.get("rows"), detail.get("loras")))
        self._step_began = time.monotonic()
        if name == "step":
            self._steps_left = int(detail["steps"]) - int(detail["step"])

    def step(self, step: int, steps: int, previews: Mapping[str, bytes]) -> None:
        self._step_s = time.monotonic() - self._step_began
        touched = set()
        for key, webp in previews.items():
            row, index = self._names[key]
            self._steps[key] = step
            touched.add(row)
            if webp:
                self._desk.publisher.preview(tenant=self._rows[row].tenant, generation=row, index=index, webp=webp)
        reached = {row: self._progress(row) for row in touched}
        self._desk.leases.note_steps(reached)
        for row, at in reached.items():
            claimed = self._rows[row]
            self._desk.publisher.progress(tenant=claimed.tenant, generation=row, step=at, steps=claimed.steps)

    def cancelled(self) -> set[str]:
        unwanted = self._desk.leases.unwanted()
        return {key for key, (row, _) in self._names.items() if row in unwanted} if unwanted else set()

    def stop(self) -> bool:
        """Asked to end: what is nearly done is finished, a long rest is given back."""
        if not self._desk.stop.asked:
            return False
        return self._desk.stop.seconds + self._step_s * self._steps_left > GRACE_S

    def _progress(self, row: UUID) -> int:
        """Steps of a row with several images: their average, so that it only rises and ends at the last step.

        Those that it leaves out, because it begins from a picture, count as done with its first.
        """
        claimed = self._rows[row]
        steps = [self._steps.get(make_key(claimed, index), 0) for index, _ in claimed.seeds]
        drawn = sum(step + claimed.steps - claimed.steps_run if step else 0 for step in steps)
        return (claimed.done * claimed.steps + drawn) // max(1, claimed.n)

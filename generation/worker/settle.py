"""What becomes of a row: from what the engine says to one call of the domain.

Runs in the pass's thread (rows that were not drawn) and in the tail's (pictures). Every call names the row's fence;
when the domain answers that somebody else has the row, our own files go and nothing else happens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings

from accounts.domain.media import delete_files, write_atomic
from accounts.logcontext import bind_log
from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_running
from generation.domain.claim import ClaimedRow
from generation.domain.failures import FailureNote
from generation.domain.finish import StoredImage, fail_row, finish_slice, release_row
from generation.domain.storage import ImagePaths, image_paths
from generation.engine.errors import BadFrame, InputRefused, LoraRefused, OutOfMemory, RowRefused
from generation.worker.database import insist
from generation.worker.leases import Leases
from generation.worker.lines import RecentLines

if TYPE_CHECKING:
    from generation.engine.loader import LoadedModel
    from generation.engine.outcome import RowOutcome
    from generation.engine.tail import TailPicture, TailResult

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Slice:
    """One claimed row on its way out: what the pass said of each of its images, and the pictures as they come in."""

    row: ClaimedRow
    outcomes: dict[int, RowOutcome]
    pictures: dict[int, TailPicture] = field(default_factory=dict)
    error: Exception | None = None

    def take(self, index: int, result: TailResult) -> bool:
        """Note one of the tail's results; whether it was the last one."""
        if result.picture is not None:
            self.pictures[index] = result.picture
        else:
            self.error = self.error or result.error
            del self.outcomes[index]
        return len(self.pictures) == len(self.outcomes)

    def paths(self, index: int) -> ImagePaths:
        """Where a picture goes under this claim's fence."""
        return image_paths(row=self.row, index=index, fmt=self.pictures[index].file.format)

    @property
    def run_ms(self) -> float:
        """GPU milliseconds of this row: its share of each forward it was in, its own encoding and decoding."""
        drawn = sum(outcome.timings.encode_ms + outcome.timings.share_ms for outcome in self.outcomes.values())
        return drawn + sum(picture.decode_ms for picture in self.pictures.values())


@dataclass(frozen=True, slots=True)
class Settler:
    """Ends rows. `pause` is called with the reason when files cannot be stored: claiming on would only fail rows."""

    leases: Leases
    lane: str
    pause: Callable[[str], None]
    lines: RecentLines
    worker: UUID
    worker_name: str

    def refuse(self, row: ClaimedRow, error: Exception) -> None:
        """The row failed by itself; what may be different next time is tried again (three times in all)."""
        code, message, retry = explain(error)
        with self._handling(row):
            logger.warning("row failed: %s: %s", code, message, exc_info=error if retry else None)
            note = self._note(row)
            insist(lambda: fail_row(row=row, code=code, message=message, retry=retry, note=note), what="fail a row")

    def _note(self, row: ClaimedRow) -> FailureNote:
        """What this worker logged about the row, for staff."""
        since = self.leases.held_since(row)
        lines = self.lines.about(row.id, since=since, hide=(row.prompt, row.negative_prompt))
        return FailureNote(worker=self.worker, worker_name=self.worker_name, lines=lines)

    def give_back(self, row: ClaimedRow) -> None:
        """Back to the queue, as if it had never been claimed."""
        with self._handling(row):
            logger.info("row given back")
            insist(lambda: release_row(row=row), what="give a row back")

    def cancel(self, row: ClaimedRow, *, run_ms: float) -> None:
        """Somebody cancelled it: settle what ran."""
        with self._handling(row):
            insist(lambda: cancel_running(row=row, run_ms=round(run_ms)), what="cancel a row")

    def forget(self, row: ClaimedRow) -> None:
        """Somebody else has it."""
        with self._handling(row):
            logger.warning("row was lost to another worker, thrown away")

    def finish(self, done: Slice, model: LoadedModel, *, settling: Callable[[], None]) -> None:
        """Store the pictures, then let one transaction own them.

        `settling` is called when nothing but the database is left to wait for.
        """
        row = done.row
        if self.leases.is_lost(row):
            return self.forget(row)
        if self.leases.is_cancelled(row):
            settling()
            return self.cancel(row, run_ms=done.run_ms)
        if done.error is not None:
            settling()
            return self.refuse(row, done.error)
        with self._handling(row):
            try:
                images = self._store(done, model)
            except OSError as error:  # disk full, media folder gone: nobody's row is at fault
                logger.error("pictures cannot be stored, row given back: %s", error)
                self.pause(f"pictures cannot be stored: {error.strerror or error}")
                settling()
                insist(lambda: release_row(row=row), what="give a row back")
                return None
            settling()
            self._own(done, images)
        return None

    def _own(self, done: Slice, images: list[StoredImage]) -> None:
        answer = insist(
            lambda: finish_slice(row=done.row, images=images, run_ms=round(done.run_ms), warnings=find_warnings(done)),
            what="finish a row",
        )
        if answer.value != "lost":
            logger.info("row %s, %d images, %.0f ms", answer.value, len(images), done.run_ms)
        elif answer.repeated:
            # The first try may have been committed before the connection broke: then these files are delivered ones.
            logger.warning("row may be finished or lost: its files are left to the janitor")
        else:
            logger.warning("row was lost to another worker, our files are deleted")
            _discard(done)

    def _store(self, done: Slice, model: LoadedModel) -> list[StoredImage]:
        """Write the pictures. Raises OSError; then none is left, or a full disk would get fuller with every try."""
        try:
            return [self._write(done, index, model) for index in sorted(done.pictures)]
        except BaseException:
            _discard(done)
            raise

    def _write(self, done: Slice, index: int, model: LoadedModel) -> StoredImage:
        row, picture, paths = done.row, done.pictures[index], done.paths(index)
        write_atomic(paths.file, picture.file.data)
        write_atomic(paths.thumbnail, picture.thumbnail.data)
        return StoredImage(
            index=index,
            file=paths.file,
            thumbnail=paths.thumbnail,
            format=picture.file.format,
            sha256=picture.sha256,
            bytes=len(picture.file.data),
            thumbnail_bytes=len(picture.thumbnail.data),
            width=picture.file.width,
            height=picture.file.height,
            seed=dict(row.seeds)[index],
            receipt=make_receipt(row, index, done.outcomes[index], model, lane=self.lane),
        )

    @contextmanager
    def _handling(self, row: ClaimedRow) -> Iterator[None]:
        """One row's scope: its tenant, its log fields; after it the row is nobody's here."""
        # Letting go is outermost: entering a scope may talk to the database, and so fail.
        with self.leases.letting_go(row), in_tenant(row.tenant), bind_log(tenant=row.tenant, generation=row.id):
            yield


def _discard(done: Slice) -> None:
    """Delete what was written of a slice under this fence; what resists is left to the janitor."""
    try:
        for index in done.pictures:
            paths = done.paths(index)
            delete_files([paths.file, paths.thumbnail])
    except OSError as error:
        logger.warning("files are left to the janitor: %s", error)


def explain(error: Exception) -> tuple[str, str, bool]:
    """An error as (code, message for the person who asked, whether another try may help)."""
    if isinstance(error, BadFrame):
        return "bad_frame", error.reason, False
    if isinstance(error, OutOfMemory):
        return "out_of_memory", str(error), True
    if isinstance(error, InputRefused):
        return "input_refused", str(error)[:500], False
    if isinstance(error, LoraRefused):
        return "lora_refused", str(error)[:500], False
    if isinstance(error, RowRefused):
        return "refused", str(error)[:500], False
    # What a library says may hold paths and prompts: it goes to the log, not to the person.
    return "engine_error", f"the model failed while drawing ({type(error).__name__})", True


def find_warnings(done: Slice) -> list[dict[str, str]]:
    """What the person should know about the picture: a prompt that was longer than the model reads."""
    found = []
    first = done.outcomes[min(done.outcomes)]
    for name, tokens in (("prompt", first.tokens), ("negative_prompt", first.negative_tokens)):
        if tokens is not None and tokens.cut:
            detail = f"the model read the first {tokens.used} of {tokens.total} tokens of the {name.replace('_', ' ')}"
            found.append({"code": f"{name}_cut", "detail": detail})
    return found


def make_receipt(row: ClaimedRow, index: int, outcome: RowOutcome, model: LoadedModel, *, lane: str) -> dict[str, Any]:
    """How one image was made: all that is needed to make it again, and no prompt (that stays in its column)."""
    params: Mapping[str, Any] = row.params
    return {
        "model": row.model,
        "revision": model.spec.revision,
        "checkpoint": model.spec.path,
        "loras": params.get("loras", []),
        "task": row.task,
        "images": [picture["sha256"] for picture in params.get("images", [])],
        "mask": params["mask"]["sha256"] if params.get("mask") else None,
        "strength": params.get("strength"),
        "seed": dict(row.seeds)[index],
        "width": row.width,
        "height": row.height,
        "num_inference_steps": row.steps,
        "true_cfg_scale": params.get("true_cfg_scale"),
        "dtype": model.dtype,
        "offload": model.offload,
        "compiled": model.compiled,
        "prompt_tokens": outcome.tokens.used if outcome.tokens else None,
        "negative_prompt_tokens": outcome.negative_tokens.used if outcome.negative_tokens else None,
        "bucket": outcome.bucket,
        "negative_bucket": outcome.negative_bucket,
        "batch_size": outcome.batch_size,
        "hardware": model.device.key,
        "device": model.device.name,
        "lane": lane,
        "release": settings.RELEASE,
    }

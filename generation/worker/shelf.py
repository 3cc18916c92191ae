"""The models of one worker: those in memory, with their tails, and the coming and going of the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection

from generation.domain.claim import find_next_model
from generation.domain.workers import is_held_elsewhere
from generation.engine.errors import CheckpointError
from generation.enums import WorkerState
from generation.worker.clock import PhaseClock
from generation.worker.database import UNREACHABLE
from generation.worker.engine import Engine
from generation.worker.leases import Leases
from generation.worker.load import check_memory, is_offloaded, naming, warm_up
from generation.worker.passes import Served
from generation.worker.report import Report
from generation.worker.resident import Residents
from generation.worker.stop import StopFlag

if TYPE_CHECKING:
    from generation.engine.catalog import ModelSpec
    from generation.engine.device import DeviceInfo

logger = logging.getLogger(__name__)

_TAIL_S = 60.0  # how long a stopping worker waits for pictures under way
_LOOK_S = 1.0  # between two looks whether a leaving model's pictures are stored


class Shelf:
    """What `GpuWorker` claims for. `fill` at the start, `change` before claims, `close` at the end."""

    def __init__(
        self, *, engine: Engine, report: Report, clock: PhaseClock, leases: Leases, stop: StopFlag, lane: str, pool: str
    ) -> None:
        self._engine = engine
        self._report = report
        self._clock = clock
        self._leases = leases
        self._stop = stop
        self._lane, self._pool = lane, pool
        self._specs: dict[str, ModelSpec] = {}
        self._served: dict[str, Served] = {}
        self._residents = Residents({}, room=0)

    def fill(self, specs: Sequence[ModelSpec], device: DeviceInfo, *, room: int) -> None:
        """Load what fits, and draw one picture with each. Raises NothingToServe, and whatever a library says."""
        room = room or device.memory_total
        check_memory(specs, device, room=room)
        self._specs = {spec.slug: spec for spec in specs}
        sizes = {spec.slug: 0 if is_offloaded(spec, device) else spec.memory_bytes for spec in specs}
        self._residents = Residents(sizes, room=room)
        for slug in self._residents.first():
            with naming(self._specs[slug], alone=len(specs) == 1):
                self._load(slug)
        self._report.set(serves=list(self._specs), memory_used=self._engine.memory_used())
        if self._residents.switches:
            others = ", ".join(slug for slug in self._specs if slug not in self._served)
            logger.info("not all models fit: %s come in when it is their turn", others)

    @property
    def slugs(self) -> tuple[str, ...]:
        """All models that this worker serves, loaded or not."""
        return tuple(self._specs)

    def batch_sizes(self) -> Mapping[str, int]:
        """The models in memory, with the most images of each that fit a pass."""
        return {slug: served.model.spec.batch_max for slug, served in self._served.items()}

    def absent(self) -> Sequence[str]:
        """Models that would come in when it is their turn."""
        return [slug for slug in self._residents.candidates() if slug not in self._served]

    @property
    def patience_ms(self) -> float:
        """How long one of those waits at most for its turn while others are drawn."""
        return self._residents.patience * 1000

    def take(self, slug: str) -> Served:
        """A model to draw with."""
        self._residents.used(slug)
        return self._served[slug]

    def loras(self) -> list[str]:
        """SHA-256 of the LoRAs that its models have in memory."""
        found = [served.model.family.adapters for served in self._served.values()]
        return sorted({sha256 for adapters in found if adapters is not None for sha256 in adapters.held})

    def change(self, *, hardware: str, idle: bool) -> bool:
        """Load another model when it is its turn; whether one came. `idle`: nothing could be claimed just now.

        A model that cannot be loaded rests for a while, and the others are served.
        """
        if self._stop.asked or not self._residents.may_look(idle=idle):
            return False
        candidates = self._residents.candidates()
        turn = find_next_model(lane=self._lane, pool=self._pool, models=candidates, hardware=hardware)
        elsewhere = turn is not None and turn not in self._served and self._is_elsewhere(turn)
        wanted = self._residents.judge(turn, idle=idle, elsewhere=elsewhere)
        return wanted is not None and self._swap(wanted)

    def close(self) -> None:
        """Wait until every picture under way is stored."""
        for slug, served in self._served.items():
            if not served.tail.close(_TAIL_S):
                logger.error("tail of %s did not end within %.0f s; its leases will run out", slug, _TAIL_S)

    def _is_elsewhere(self, slug: str) -> bool:
        return is_held_elsewhere(self._report.id, lane=self._lane, pool=self._pool, model=slug)

    def _swap(self, slug: str) -> bool:
        leaving = self._residents.leavers(slug)
        logger.info("%s comes in, %s goes", slug, ", ".join(leaving) or "nothing")
        self._report.write(state=WorkerState.LOADING, detail=f"loading {slug}")
        for other in leaving:
            self._let_go(other)
        try:
            self._load(slug)
        except UNREACHABLE:  # no fault of the model
            self._forget(slug)
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, CheckpointError) else type(error).__name__
            logger.exception("%s cannot be loaded, others are served", slug)
            self._forget(slug)
            self._residents.broke(slug)
            self._report.write(state=WorkerState.IDLE, detail=f"cannot load {slug}: {reason}")
            return False
        self._report.write(state=WorkerState.IDLE, detail="", memory_used=self._engine.memory_used())
        return True

    def _load(self, slug: str) -> None:
        started = time.monotonic()
        self._report.write(state=WorkerState.LOADING, detail=f"loading {slug}")
        connection.close()  # loading may be long, and nothing in it needs the database
        model = self._engine.load(self._specs[slug])
        self._served[slug] = Served(model=model, tail=self._engine.tail(model, self._tail_phase(slug)))
        self._report.write(dtype=model.dtype, state=WorkerState.LOADING, detail=f"warming up {slug}")
        try:
            warm_up(self._served[slug], self._engine)
        finally:
            self._clock.leave(f"tail {slug}")
        took = time.monotonic() - started
        self._residents.came(slug, load_s=took)
        self._report.set(resident=list(self._served), loras=self.loras())
        logger.info("loaded and warmed up %s in %.1f s", slug, took)

    def _let_go(self, slug: str) -> None:
        """Its pictures are stored first, under their leases; then its memory is free."""
        served = self._served[slug]
        while not served.tail.close(_LOOK_S):
            logger.info("%s leaves once its last pictures are stored", slug)
        self._residents.went(slug)
        del served
        self._forget(slug)

    def _forget(self, slug: str) -> None:
        served = self._served.pop(slug, None)
        if served is not None:
            served.tail.close(_LOOK_S)
        del served
        self._engine.sweep()
        self._report.set(resident=list(self._served), loras=self.loras())

    def _tail_phase(self, slug: str) -> Any:
        def phase(name: Any, detail: Mapping[str, Any]) -> None:
            row, _, _ = str(detail["key"]).partition(":")
            held = self._leases.find(UUID(row)) if len(row) == 36 else None
            size = (held.width, held.height) if held else None
            self._clock.enter(f"tail {slug}", name, (slug, size))

        return phase

"""What workers do in the random walk (`walk.py`): claim, renew, finish, fail, crash, and come back too late."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import rule

from generation.domain.cancel import cancel_running
from generation.domain.claim import MAX_LOST, ClaimedRow, renew_claims
from generation.domain.finish import MAX_ATTEMPTS, fail_row, finish_slice, release_row
from generation.domain.sweep import sweep
from generation.enums import Status
from tests.generation.domain.desk import claim, draw
from tests.generation.domain.walkmodel import Customer, Look, Work

CONCURRENT = 4


class Workers:
    """A part of the walk."""

    look: Look
    customers: list[Customer]
    work: dict[UUID, Work]
    held: list[ClaimedRow]
    zombies: list[ClaimedRow]
    steps: int

    @rule(most=st.sampled_from((1, 8, 8)))
    def claim(self, most: int) -> None:
        self._claim(most)
        self._did("claim")

    @rule(most=st.sampled_from((1, 8)), fate=st.sampled_from(("finish", "finish", "crash", "fail")))
    def claim_and_end(self, most: int, fate: str) -> None:
        """A worker's whole turn: all rows of a pass meet the same end."""
        for row in self._claim(most):
            end: Callable[[int], None] = {
                "finish": lambda place: self.finish(place, 90),
                "crash": self.crash,
                "fail": lambda place: self.fail(place, True),
            }[fate]
            end(self.held.index(row))
        self._did("claim")

    def _claim(self, most: int) -> list[ClaimedRow]:
        taken = claim(models={"demo": most})
        self._requeue_expired()  # a claim begins with that
        rows = list(taken.rows) if taken else []
        for row in rows:
            work = self.work[row.id]
            assert work.status == Status.QUEUED, "claimed what was not waiting"
            assert row.fence > work.fence
            assert not next(one for one in self.customers if one.id == row.tenant).suspended
            work.status, work.fence = Status.RUNNING, row.fence
        self.held += rows
        for customer in self.customers:
            running = [one for one in self.work.values() if one.tenant == customer.id and one.status == Status.RUNNING]
            assert len(running) <= CONCURRENT
        return rows

    @rule(pick=st.integers(0, 99))
    def renew(self, pick: int) -> None:
        if not self.held:
            self.claim(8)
            return
        row = self._any(self.held, pick)
        renewal = renew_claims({row.id: row.fence}, steps={row.id: 1}, lease_s=30)
        assert (row.id in renewal.lost) == (not self.work[row.id].owns(row))
        assert (row.id in renewal.cancelled) == (self.work[row.id].owns(row) and self.work[row.id].cancelling)
        self._did("renew")

    @rule(pick=st.integers(0, 99))
    def crash(self, pick: int) -> None:
        """Its worker is gone or hangs: the lease runs out, and the worker may still come back with its picture."""
        if not self.held:
            self.claim(8)
            return
        row = self.held.pop(pick % len(self.held))
        self.zombies.append(row)
        work = self.work[row.id]
        if work.owns(row):
            sql = "UPDATE generation_generation SET lease_until = now() - interval '1 s' WHERE id = %s RETURNING 1"
            self.look(sql, row.id)
            work.expired = True
        self._did("crash")

    @rule()
    def sweep(self) -> None:
        report = sweep()
        assert not report.errors and not report.repaired, report
        self._requeue_expired()
        for work in self.work.values():
            if work.expired:  # for the last time, or while it was to be cancelled
                work.lost += 1
                work.fence += 1
                work.end_run(Status.CANCELED if work.cancelling else Status.FAILED)
        self._did("sweep")

    @rule(pick=st.integers(0, 99), ms=st.integers(0, 400))
    def finish(self, pick: int, ms: int) -> None:
        if not self.held:
            self.claim(8)
            return
        self._finish(self.held.pop(pick % len(self.held)), ms)
        self._did("finish")

    @rule(pick=st.integers(0, 99), retry=st.booleans())
    def fail(self, pick: int, retry: bool) -> None:
        if not self.held:
            self.claim(8)
            return
        self._fail(self.held.pop(pick % len(self.held)), retry)
        self._did("fail")

    @rule(pick=st.integers(0, 99))
    def release(self, pick: int) -> None:
        if not self.held:
            self.claim(8)
            return
        self._release(self.held.pop(pick % len(self.held)))
        self._did("release")

    @rule(pick=st.integers(0, 99), ms=st.integers(0, 400))
    def drop(self, pick: int, ms: int) -> None:
        """A worker drops a row that was cancelled."""
        if not self.held:
            self.claim(8)
            return
        self._drop(self.held.pop(pick % len(self.held)), ms)
        self._did("drop")

    @rule(pick=st.integers(0, 99), way=st.sampled_from(("finish", "finish", "fail", "release", "drop")))
    def zombie(self, pick: int, way: str) -> None:
        """Somebody comes back with a fence that may be stale; it may come back again and again."""
        if not self.zombies:
            self.crash(pick)
            return
        # First those whose row somebody else draws by now: there they do most harm.
        overtaken = [row for row in self.zombies if self._is_overtaken(row)]
        if not overtaken and pick % 2:
            self.sweep()
            self.claim(8)
            return
        row = self._any(overtaken or self.zombies, pick)
        if way == "finish":
            self._finish(row, 60)
        elif way == "fail":
            self._fail(row, True)
        elif way == "release":
            self._release(row)
        else:
            self._drop(row, 30)
        self._did("zombie")

    def _is_overtaken(self, row: ClaimedRow) -> bool:
        work = self.work[row.id]
        return work.status == Status.RUNNING and not work.owns(row)

    def _finish(self, row: ClaimedRow, ms: int) -> None:
        work, owned = self.work[row.id], self.work[row.id].owns(row)
        outcome = finish_slice(row=row, images=draw(row), run_ms=ms)
        if not owned:
            assert outcome == "lost"
            return
        work.done += len(row.seeds)
        work.cost_ms += ms
        work.end_run(Status.SUCCEEDED if work.done >= work.n else Status.QUEUED)
        assert outcome == ("continues" if work.status == Status.QUEUED else "finished")

    def _fail(self, row: ClaimedRow, retry: bool) -> None:
        work, owned = self.work[row.id], self.work[row.id].owns(row)
        outcome = fail_row(row=row, code="engine_error", message="bad", retry=retry)
        if not owned:
            assert outcome == "lost"
            return
        work.attempt += 1
        again = work.cancelling or (retry and work.attempt < MAX_ATTEMPTS)
        work.end_run(Status.QUEUED if again else Status.FAILED)
        assert outcome == ("retried" if work.status == Status.QUEUED else "failed")

    def _release(self, row: ClaimedRow) -> None:
        work, owned = self.work[row.id], self.work[row.id].owns(row)
        assert release_row(row=row) == owned
        if owned:
            work.end_run(Status.QUEUED)

    def _drop(self, row: ClaimedRow, ms: int) -> None:
        work, owned = self.work[row.id], self.work[row.id].owns(row)
        assert cancel_running(row=row, run_ms=ms) == owned
        if owned:
            work.cost_ms += ms
            work.cancelling = True
            work.end_run(Status.CANCELED)

    def _requeue_expired(self) -> None:
        for work in self.work.values():
            if work.expired and work.lost + 1 < MAX_LOST and not work.cancelling:
                work.lost += 1
                work.fence += 1
                work.end_run(Status.QUEUED)

"""The errand worker: quick errands go on while a slow one takes its time, and both end with the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from redis import Redis

from accounts.domain import errands
from accounts.domain.errands import ClaimedErrand, Lease, add_errand, errand
from accounts.enums import ErrandKind
from accounts.models import Errand
from accounts.tenancy import across_tenants, in_tenant
from generation.worker import errands as worker
from generation.worker.stop import StopFlag
from tests.factories import Person

PATIENCE_S = 60


class Scene:
    """A worker in a thread of this process, with an export that waits to be let go."""

    def __init__(self) -> None:
        self.stop = StopFlag()
        self.export_runs, self.let_go, self.mail_sent = threading.Event(), threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        try:
            worker.serve_errands(lane="blue", stop=self.stop)
        except BaseException as error:
            self.error = error

    def export(self, claimed: ClaimedErrand) -> None:
        lease = Lease(claimed)
        self.export_runs.set()
        while not self.let_go.wait(0.05):
            lease.keep()

    def send(self, claimed: ClaimedErrand) -> None:
        self.mail_sent.set()

    def finish(self) -> None:
        self.stop.ask()
        self.thread.join(timeout=PATIENCE_S)
        assert not self.thread.is_alive()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, redis: Redis, db: None) -> Iterator[Scene]:
    monkeypatch.setattr(errands, "_handlers", {})
    monkeypatch.setattr(worker, "SLOW_IDLE_S", 0.1)
    scene = Scene()
    errand(ErrandKind.EXPORT)(scene.export)
    errand(ErrandKind.SEND_MAIL)(scene.send)
    scene.thread.start()
    yield scene
    scene.let_go.set()
    scene.finish()


def test_mail_is_sent_beside_a_running_export(scene: Scene, alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        add_errand(kind=ErrandKind.EXPORT, tenant=alice.tenant.pk)
    assert scene.export_runs.wait(PATIENCE_S)
    with in_tenant(alice.tenant.pk):
        add_errand(kind=ErrandKind.SEND_MAIL, tenant=alice.tenant.pk)
    assert scene.mail_sent.wait(PATIENCE_S), "the e-mail waited for the export"
    with across_tenants():
        assert Errand.objects.filter(kind=ErrandKind.EXPORT).exists(), "which still runs"


def test_end_of_the_process_interrupts_the_export(scene: Scene, alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        add_errand(kind=ErrandKind.EXPORT, tenant=alice.tenant.pk)
    assert scene.export_runs.wait(PATIENCE_S)
    scene.finish()
    with across_tenants():
        row = Errand.objects.get()
    assert (row.attempt, row.lease_until, row.error) == (0, None, "")
    assert scene.error is None and errands.is_ending == []


def test_broken_half_ends_the_whole(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down() -> bool:
        raise RuntimeError("no such column")

    monkeypatch.setattr(worker, "claim_errand", lambda name, slow: break_down() if slow else None)
    scene.thread.join(timeout=PATIENCE_S)
    assert isinstance(scene.error, RuntimeError) and scene.stop.asked

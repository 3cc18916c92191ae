"""What the doctor says of queues, lanes, the ticker and errands."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from accounts.enums import ErrandKind
from accounts.models import Errand
from accounts.tenancy import across_tenants
from generation.models import Generation, Worker
from generation.worker.ticker import LOCK
from qwenstudio.embedded import Services
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person
from tests.generation.api.calls import submitted
from tests.qwenstudio.doctor.looking import line, look

pytestmark = pytest.mark.django_db


def make_worker(name: str, *, lane: str = "blue", release: str = "1.0") -> Worker:
    return Worker.objects.create(
        name=name, pid=1, lane=lane, pool="demo", serves=["demo"], state="idle", release=release
    )


def test_a_queue_that_is_old_although_somebody_serves_it(alice: Person) -> None:
    offer_sleeping_model()
    submitted(alice)
    make_worker("gpu-0")
    assert line("queue of demo", "workers").level == "ok"
    with across_tenants():
        Generation.objects.update(created_at=timezone.now() - timedelta(minutes=31))
    found = line("queue of demo", "workers")
    assert (found.level, "more GPUs" in found.remedy) == ("warn", True)


def test_lanes(alice: Person) -> None:
    assert [(found.level, found.name) for found in look("lanes")] == [("ok", "lanes")]
    offer_sleeping_model()
    submitted(alice)
    stranded = line("lane blue", "lanes")
    assert (stranded.level, "STUDIO_LANE=blue" in stranded.remedy) == ("fail", True)
    make_worker("gpu-0")
    make_worker("gpu-1", lane="green", release="2.0")
    blue, green = look("lanes")
    assert (blue.level, blue.text) == ("ok", "GPU workers: 1, release 1.0; 1 wait")
    assert (green.level, green.text) == ("ok", "GPU workers: 1, release 2.0; 0 wait")
    make_worker("gpu-2", lane="green", release="1.0")
    mixed = line("lane green", "lanes")
    assert (mixed.level, "1.0, 2.0" in mixed.text) == ("warn", True)


def test_ticker(services: Services) -> None:
    assert line("ticker", "errands").level == "warn"
    with psycopg.connect(services.urls["worker"], autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        assert line("ticker", "errands").level == "ok"


def test_errands() -> None:
    assert [found.name for found in look("errands")] == ["ticker", "errands"]
    with across_tenants():
        Errand.objects.create(kind=ErrandKind.SEND_MAIL, data={})
        assert line("errands", "errands").text == "1 are due"
        Errand.objects.update(due_at=timezone.now() - timedelta(minutes=11))
        late = line("errands", "errands")
        assert (late.level, "errandworker" in late.remedy) == ("fail", True)
        Errand.objects.update(lease_until=timezone.now() + timedelta(minutes=1))
        assert line("errands", "errands").level == "ok", "somebody is at it"
        Errand.objects.update(failed_at=timezone.now())
        assert line("errands failed", "errands").level == "warn"

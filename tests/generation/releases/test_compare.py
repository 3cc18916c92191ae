"""`release compare`, with the true claim and finish: what it stores, what it leaves behind, what promotions make of it.

Workers are threads that draw what a test wants (`painter.py`); a whole comparison of two true worker processes is in
`test_compare_processes.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.domain.media import media_path
from accounts.models import AuditEvent, Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.pools import pause_pool
from generation.enums import ReleaseMode
from generation.errors import ReleaseFailed, ReleaseRefused
from generation.models import ComparedCase, Comparison, GoldenCase, Model, Pool
from generation.releases.compare import keep, limits, run, side
from generation.releases.compare.limits import Bound
from generation.releases.compare.paths import picture_path
from generation.releases.promote import roll_back
from generation.releases.status import say_status
from tests.chaos.rig import wait_until
from tests.factories import make_person, make_tenant
from tests.generation.releases.comparing import SLUGS, black, compare, drawing, nan, only, wrong
from tests.generation.releases.machine import Machine
from tests.generation.releases.painter import Draw, Fault, encode, paint, scene
from tests.generation.releases.test_release_steps import finish, promote, start

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("golden_cases")]


def test_two_lanes_that_draw_the_same(machine: Machine, look: Callable[..., Any]) -> None:
    start(machine)
    said: list[str] = []
    with drawing() as painters:
        found = compare(by="olga", say=said.append)
    assert (found.verdict, found.against, found.release_name, found.against_release) == ("green", "blue", "two", "one")
    assert (found.by, found.whole, found.skipped) == ("olga", True, [])
    cases = list(found.cases.all())
    assert [case.slug for case in cases] == SLUGS
    assert {case.ssim for case in cases} == {1.0}
    assert {(case.bits, case.colour, case.verdict) for case in cases} == {(0, 0.0, "green")}
    assert all(case.new_sha256 == case.old_sha256 != "" for case in cases)
    assert all(case.new_wait_ms is not None and case.new_run_ms is not None for case in cases)
    assert [row["cases"] for row in found.by_model] == [3]
    assert painters["blue"].batches == painters["green"].batches == [1, 1, 1], "each picture was drawn alone"
    assert any("apple: green; SSIM 1.000, hash 0 of 64, colour 0.0" in line for line in said)
    with across_tenants():
        event = AuditEvent.objects.get(action="release.compared")
    assert event.detail["verdict"] == "green"
    assert event.target == "lane:green"
    assert event.tenant_id is None
    for case in cases:
        assert media_path(picture_path(case.new_sha256)).read_bytes() == encode(scene(case.params["seed"]))


def test_nothing_of_it_is_left_but_its_pictures(machine: Machine, media: Path, look: Callable[..., Any]) -> None:
    tenant, owner = make_tenant("Somebody")
    person = make_person(tenant, owner)
    start(machine)
    with drawing():
        compare()
    for table in ("generation", "image", "receipt", "idempotency", "failure"):
        assert look(f"SELECT count(*) FROM generation_{table}") == [(0,)], table
    assert look("SELECT count(*) FROM accounts_counter WHERE tenant_id = %s", tenant.pk) == [(0,)]
    assert look("SELECT count(*) FROM accounts_ledgerentry WHERE tenant_id = %s", tenant.pk) == [(0,)]
    assert look("SELECT DISTINCT tenant_id FROM accounts_ledgerentry") == [(side.TENANT,)]
    assert look("SELECT count(*) FROM accounts_membership WHERE tenant_id = %s", side.TENANT) == [(0,)]
    assert look("SELECT stored_bytes FROM accounts_tenant WHERE id = %s", side.TENANT) == [(0,)]
    assert look("SELECT sum(queued), sum(running) FROM generation_fairclock") == [(0, 0)]
    assert person.api.get("/api/v1/images").json()["results"] == []
    # Its files are errands of the moment they were removed in.
    paths = [path for row in look("SELECT data FROM accounts_errand") for path in row[0]["paths"]]
    files = {file.relative_to(media).as_posix() for file in media.rglob("*") if file.is_file()}
    assert {file for file in files if not file.startswith("comparisons/")} == set(paths)


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (wrong, "", "SSIM is"),
        (black, "", "the picture is black"),
        (nan, "bad_frame", "it failed: NaN or a black frame"),
        (lambda row: Fault("out_of_memory"), "out_of_memory", "it failed: out of memory"),
        (lambda row: encode(scene(row.seeds[0][1], width=32)), "", "32 × 64 pixels instead of 64 × 64"),
    ],
    ids=["wrong", "black", "NaN", "memory", "size"],
)
def test_a_planted_fault_is_red_and_is_not_promoted(machine: Machine, fault: Draw, error: str, words: str) -> None:
    start(machine)
    said: list[str] = []
    with drawing(green=only("a boat", fault)):
        found = compare(say=said.append)
    assert found.verdict == "red"
    assert {case.slug: (case.verdict, case.new_error) for case in found.cases.all()} == {
        "apple": ("green", ""),
        "boat": ("red", error),
        "cloud": ("green", ""),
    }
    assert any(words in line for line in said), said
    with pytest.raises(ReleaseRefused, match=r"the comparison says no: two against blue .* is red: boat") as refused:
        promote(machine)
    assert "blue serves as before, green is still ready" in refused.value.message
    assert machine.serves() == "blue one"
    assert not Comparison.objects.filter(promoted_at__isnull=False).exists()

    promote(machine, force="the old boat was wrong")
    assert machine.serves() == "green two"
    with across_tenants():
        event = AuditEvent.objects.get(target="release:promote green against the comparison")
    assert event.detail["why"] == "the old boat was wrong"
    assert "boat" in event.detail["verdict"]


def test_a_slow_lane(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.releases.compare.judge.SLOWER", Bound(1.3, 2.0))
    GoldenCase.objects.exclude(slug="apple").update(enabled=False)
    start(machine)
    said: list[str] = []
    with drawing(green_slow_s=3.0) as painters:
        found = compare(say=said.append)
    assert found.verdict == "red"
    assert [reason["code"] for reason in found.by_model[0]["reasons"]] == ["slower"]
    assert found.cases.get().verdict == "green", "its pictures are well"
    assert painters["green"].batches == [1] * (1 + limits.LOOKS_AGAIN), "what seems slow was looked at again"
    assert any("seems slower: drawn again" in line for line in said)
    with pytest.raises(ReleaseRefused, match="times as slow"):
        promote(machine)


# ---- what it is compared with


def test_references_are_what_was_promoted(machine: Machine) -> None:
    start(machine)
    with drawing():
        first = compare()
    promote(machine)
    first.refresh_from_db()
    assert first.promoted_at is not None
    finish(machine)
    # Green serves two now; blue comes with three, and green's workers are away.
    machine.releases = ["three", *machine.releases]
    start(machine, "blue", release="three")
    with drawing(blue=paint, green=None):
        found = compare("blue", against="references")
    assert (found.verdict, found.against, found.against_release) == ("green", "references", "two")
    assert all(case.old_wait_ms is None and case.old_run_ms is not None for case in found.cases.all())
    with drawing(blue=only("a cloud", wrong), green=None):
        assert compare("blue", against="references").verdict == "red"


def test_after_a_rollback_the_references_are_those_of_what_serves_again(machine: Machine) -> None:
    start(machine)
    with drawing(green=None):
        compare("blue")  # the first of all, of what serves: they are references at once
    with drawing(green=wrong):
        assert compare().verdict == "red"
    promote(machine, force="it is meant to be so")
    with drawing(green=wrong):
        assert compare("green").verdict == "green", "green serves, and draws as it did when it was promoted"
    roll_back(machine.tools(), timeout_s=2.0)
    with drawing(green=None):
        found = compare("blue")
    assert (found.against, found.against_release, found.verdict) == ("references", "one", "green")


def test_what_serves_makes_the_first_references(machine: Machine) -> None:
    start(machine)
    with drawing():
        found = compare("blue")
        assert found.verdict == "yellow", "there was nothing to compare with"
        assert {case.old_error for case in found.cases.all()} == {"no_reference"}
        found.refresh_from_db()
        assert found.promoted_at is not None
        assert compare("blue").verdict == "green"
        assert compare("green", against="references").verdict == "green"


def test_a_case_that_was_changed_has_no_reference(machine: Machine) -> None:
    start(machine)
    with drawing():
        compare("blue")
        GoldenCase.objects.filter(slug="boat").update(seed=77)
        found = compare("blue")
    assert {case.slug: case.verdict for case in found.cases.all()} == {
        "apple": "green",
        "boat": "yellow",
        "cloud": "green",
    }


def test_a_reference_whose_file_was_changed_is_none(machine: Machine) -> None:
    start(machine)
    with drawing():
        found = compare("blue")
        file = media_path(picture_path(found.cases.get(slug="apple").new_sha256))
        file.write_bytes(encode(scene(5)))
        again = compare("green", against="references")
    assert again.cases.get(slug="apple").old_error == "no_reference"


def test_new_fails_where_old_fails_too(machine: Machine) -> None:
    start(machine)
    with drawing(blue=nan, green=nan):
        found = compare()
    assert found.verdict == "yellow", "it is broken, but not by this release"
    assert found.by_model[0]["new_errors"] == found.by_model[0]["old_errors"] == {"bad_frame": 3}


# ---- who draws, and who does not


def test_a_worker_of_another_release_is_found_out(machine: Machine) -> None:
    start(machine)
    with drawing() as painters:
        painters["green"].receipt = {"release": "nobody knows"}
        found = compare()
    assert {case.new_error for case in found.cases.all()} == {"elsewhere"}
    assert found.verdict == "red"


def test_a_picture_in_company_does_not_count(machine: Machine) -> None:
    start(machine)
    with drawing() as painters:
        painters["green"].receipt = {"batch_size": 2}
        assert {case.new_error for case in compare().cases.all()} == {"not_alone"}


def test_a_lane_whose_worker_hangs(machine: Machine, look: Callable[..., Any]) -> None:
    GoldenCase.objects.exclude(slug="apple").update(enabled=False)
    start(machine)
    with drawing(green=None):  # its row says that it is idle, and nobody claims
        found = compare(timeout_s=0.5)
    assert found.verdict == "red"
    assert found.cases.get().new_error == "timeout"
    assert look("SELECT count(*) FROM generation_generation") == [(0,)], "it was cancelled and removed"
    assert look("SELECT sum(queued) FROM generation_fairclock") == [(0,)]


def test_a_worker_that_hangs_with_a_picture_stops_neither_the_other_lane_nor_the_comparison(machine: Machine) -> None:
    start(machine)
    with drawing() as painters:
        painters["green"].hangs = True
        found = compare(timeout_s=3.0)
    assert {case.new_error for case in found.cases.all()} == {"timeout"}
    assert {case.old_error for case in found.cases.all()} == {""}
    assert found.verdict == "red"
    assert painters["green"].batches == [1], "nobody waited for the other two"
    with drawing():
        assert compare().verdict == "green", "what hangs still does not hold up the next one"


def test_a_row_that_the_ticker_gives_away_is_no_picture_of_this_lane(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from generation.releases.handover import hand_over_queue

    GoldenCase.objects.exclude(slug="apple").update(enabled=False)
    start(machine)
    real = run.draw_alone

    def give_away(wanted: Any, *, lane: str, **more: Any) -> Any:
        import threading

        thread = threading.Timer(0.2, lambda: hand_over_queue(source="green", target="blue"))
        if lane == "green":
            thread.start()
        return real(wanted, lane=lane, **more)

    monkeypatch.setattr(run, "draw_alone", give_away)
    with drawing(green=None):
        found = compare(timeout_s=10)
    assert found.cases.get().new_error == "moved"
    assert found.verdict == "red"


def test_nobody_to_draw(machine: Machine) -> None:
    with pytest.raises(ReleaseRefused, match=r"no worker of green draws now .*stopped"):
        compare()
    start(machine, mode=ReleaseMode.HAND_OVER)
    with pytest.raises(ReleaseRefused, match="in a hand-over its workers load at the promotion"):
        compare()
    Pool.objects.update_or_create(lane="blue", name="demo")
    pause_pool(lane="blue", name="demo", reason="maintenance", by=None)
    with pytest.raises(ReleaseRefused, match="whether its pool is paused"):
        compare("blue")
    assert not Comparison.objects.exists()


def test_what_to_draw_is_refused_in_words(machine: Machine) -> None:
    start(machine)
    with pytest.raises(ReleaseRefused, match="no enabled golden case named pear; there are: apple, boat, cloud"):
        compare(slugs=["pear"])
    with pytest.raises(ReleaseRefused, match="green cannot be compared with itself"):
        compare(against="green")
    GoldenCase.objects.update(enabled=False)
    with pytest.raises(ReleaseRefused, match="there is no enabled golden case of demo"):
        compare()
    GoldenCase.objects.update(enabled=True)
    side.open_tenant(set())
    with in_tenant(side.TENANT):
        Tenant.objects.update(suspended_at="2026-01-01T00:00Z")
    with pytest.raises(ReleaseRefused, match="is suspended"):
        compare()


def test_models_that_nobody_serves_are_named(machine: Machine) -> None:
    entry = Model.objects.get(slug="demo").spec
    Model.objects.create(slug="large", title="Large", pool="large", spec=entry)
    GoldenCase.objects.create(slug="dune", model_id="large", prompt="a dune")
    start(machine)
    with drawing():
        found = compare()
    assert (found.skipped, found.verdict) == (["dune"], "green")


def test_a_model_that_the_new_lane_has_lost_is_red(machine: Machine) -> None:
    entry = Model.objects.get(slug="demo").spec
    Model.objects.create(slug="large", title="Large", pool="large", spec=entry, public=False)
    GoldenCase.objects.create(slug="dune", model_id="large", prompt="a dune")
    start(machine)
    from generation.models import Worker

    Worker.objects.filter(lane="blue").update(serves=["demo", "large"])
    with drawing():
        found = compare(timeout_s=0.5)
    case = found.cases.get(slug="dune")
    assert (case.new_error, case.verdict) == ("not_served", "red")


def test_a_case_that_its_model_does_not_allow(machine: Machine) -> None:
    GoldenCase.objects.filter(slug="boat").update(width=4096, height=4096)
    start(machine)
    with drawing():
        found = compare()
    case = found.cases.get(slug="boat")
    assert (case.new_error, case.old_error, case.verdict) == ("refused", "refused", "yellow")


def test_some_cases_only(machine: Machine) -> None:
    start(machine)
    with drawing():
        found = compare(slugs=["cloud", "apple"])
    assert [case.slug for case in found.cases.all()] == ["apple", "cloud"]
    assert not found.whole
    with drawing(green=wrong), pytest.raises(ReleaseRefused, match="the comparison says no"):
        promote(machine)  # a part of the cases is no verdict: it compares


# ---- crashes, keeping


def test_a_comparison_that_is_killed_may_be_typed_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, look: Callable[..., Any]
) -> None:
    start(machine)
    with drawing():
        before = compare()

        class Killed(BaseException):
            pass

        def die(*args: Any, **kwargs: Any) -> None:
            raise Killed

        # Dies while the second picture waits, before anything could be removed.
        count = iter(range(10))
        real_wait, real_remove = side._wait, side._remove
        monkeypatch.setattr(side, "_wait", lambda *a, **k: real_wait(*a, **k) if next(count) < 2 else die())
        monkeypatch.setattr(side, "_remove", lambda id: None)
        with pytest.raises(Killed):
            compare()
        monkeypatch.setattr(side, "_wait", real_wait)
        monkeypatch.setattr(side, "_remove", real_remove)
        wait_until(
            lambda: look("SELECT count(*)::int FROM generation_generation WHERE status <> 'succeeded'")[0][0] == 0,
            seconds=20,
            what="the painters to end",
        )
        assert look("SELECT count(*)::int FROM generation_generation")[0][0] == 3
        broken = Comparison.objects.order_by("-started_at").first()
        assert broken is not None
        assert (broken.verdict, broken.finished_at) == ("", None)
        assert "is green" in "\n".join(say_status(machine.tools())), "the verdict of before stands"
        again = compare()
    assert again.verdict == "green"
    assert look("SELECT count(*)::int FROM generation_generation") == [(0,)], "what was left is gone"
    before.refresh_from_db()
    assert before.verdict == "green"
    promote(machine)
    again.refresh_from_db()
    assert again.promoted_at is not None


def test_a_full_disk_stores_no_verdict(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    start(machine)

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keep, "write_atomic", full)
    with drawing(), pytest.raises(ReleaseFailed, match=r"cannot be stored: .*No space left"):
        compare()
    assert not Comparison.objects.exclude(verdict="").exists()
    assert not ComparedCase.objects.exists()


def test_old_comparisons_and_their_pictures_go(machine: Machine, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "KEPT", 2)
    monkeypatch.setattr(keep, "OLD_ENOUGH_S", -1)
    start(machine)
    with drawing():
        first = compare("blue")  # the references
    with drawing(green=wrong):
        second = compare()
    gone = {case.new_sha256 for case in second.cases.all()}
    with drawing():
        compare()
        last = compare()
    kept = set(Comparison.objects.values_list("pk", flat=True))
    assert first.pk in kept, "references stay"
    assert second.pk not in kept
    assert last.pk in kept
    assert not any(media_path(picture_path(sha256)).exists() for sha256 in gone)
    named = {case.new_sha256 for case in first.cases.all()}
    assert all(media_path(picture_path(sha256)).is_file() for sha256 in named)


def test_the_janitor_leaves_golden_pictures_alone(machine: Machine, media: Path) -> None:
    from generation.domain.storage import janitor

    start(machine)
    with drawing():
        found = compare()
    janitor(older_than_s=-1)
    assert all(media_path(picture_path(case.new_sha256)).is_file() for case in found.cases.all())

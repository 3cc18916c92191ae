"""The worker as a process, with the sleeping engine: what becomes of rows, files and ledger."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest

from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_generation
from generation.models import Model
from tests.chaos.rig import ROOT, Rig, Submit, make_entry, row_of, wait_for, wait_until
from tests.chaos.sleeping import Latents, draw
from tests.factories import Person


def ledger_of(rig: Rig, generation: UUID) -> dict[str, int]:
    """What the generation cost in the end, by metric."""
    sql = "SELECT metric, sum(amount)::bigint FROM accounts_ledgerentry WHERE ref = %s GROUP BY metric"
    return {str(metric): int(str(amount)) for metric, amount in rig.ask(sql, generation)}


def kinds_of(rig: Rig, generation: UUID) -> list[str]:
    sql = "SELECT kind FROM accounts_ledgerentry WHERE ref = %s AND metric = 'images' ORDER BY kind"
    return [str(row[0]) for row in rig.ask(sql, generation)]


def files_in(media: Path) -> list[Path]:
    return sorted(path for path in media.rglob("*") if path.is_file())


def test_submitted_is_drawn_stored_and_charged(rig: Rig, alice: Person, submit: Submit, media: Path) -> None:
    rig.start_worker()
    wanted = submit(alice, seed=41)
    wait_for(rig, wanted, "succeeded")

    columns = "file, thumbnail, sha256, bytes, width, height, seed, format"
    rows = rig.ask(f"SELECT {columns} FROM generation_image WHERE generation_id = %s", wanted)
    assert len(rows) == 1
    file, thumbnail, sha256, size, *rest = rows[0]
    expected = draw(Latents("", "", 41, 64, 64))
    data = (media / str(file)).read_bytes()
    assert data == expected.file.data
    assert (sha256, size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert rest == [64, 64, 41, "png"]
    assert (media / str(thumbnail)).read_bytes()[8:12] == b"WEBP"
    assert files_in(media) == sorted([media / str(file), media / str(thumbnail)])
    assert all(path.stat().st_mode & 0o077 == 0 for path in files_in(media))
    assert str(file).startswith(f"{alice.tenant.pk}/{alice.user.pk}/")

    receipt = rig.ask("SELECT body FROM generation_receipt")[0][0]
    assert isinstance(receipt, dict)
    assert receipt["seed"] == 41
    assert {key: receipt[key] for key in ("model", "hardware", "batch_size", "bucket", "num_inference_steps")} == {
        "model": "demo", "hardware": "sleeping", "batch_size": 1, "bucket": 64, "num_inference_steps": 4,
    }  # fmt: skip
    assert "a red circle" not in json.dumps(receipt)
    assert kinds_of(rig, wanted) == ["reserve", "settle"]
    assert ledger_of(rig, wanted)["images"] == 1
    passed = "SELECT state FROM generation_worker WHERE passes >= 1"  # told when it has nothing more to draw
    wait_until(lambda: rig.ask(passed) != [], seconds=60, what="a pass that is counted")
    assert rig.end("worker") == 0
    assert rig.ask("SELECT state FROM generation_worker") == [("stopped",)]


def test_ten_images_come_in_slices(rig: Rig, alice: Person, submit: Submit) -> None:
    rig.start_worker()
    wanted = submit(alice, n=10, seed=100)
    wait_for(rig, wanted, "succeeded")
    rows = rig.ask('SELECT "index", seed FROM generation_image WHERE generation_id = %s ORDER BY 1', wanted)
    assert rows == [(index, 100 + index) for index in range(10)]
    assert ledger_of(rig, wanted)["images"] == 10
    fence = row_of(rig, wanted, "fence")[0]
    assert fence >= 2  # eight images are the most for one pass


def test_work_goes_on_without_redis(rig: Rig, alice: Person, submit: Submit) -> None:
    rig.start_worker()
    rig.wait_for_worker()
    with rig.frozen_valkey():
        wanted = submit(alice)
        wait_for(rig, wanted, "succeeded", seconds=60)


def test_cancelled_in_mid_pass(rig: Rig, alice: Person, submit: Submit, media: Path) -> None:
    """Noticed within a second, long before the next renewal (after 100 s), and dropped at the next step."""
    rig.start_worker(SLEEPING_STEP_S="3", lease=600)
    rig.wait_for_worker()
    wanted = submit(alice, num_inference_steps=8)
    wait_for(rig, wanted, "running")
    with in_tenant(alice.tenant.pk):
        cancel_generation(wanted)
    wait_for(rig, wanted, "canceled")
    (took,) = row_of(rig, wanted, "extract(epoch FROM finished_at - cancel_requested_at)::float8")
    assert took < 15  # 4 s and what the machine needs; the whole pass takes 24
    assert rig.ask("SELECT 1 FROM generation_image") == []
    assert ledger_of(rig, wanted)["images"] == 0
    (ran,) = rig.ask("SELECT extract(epoch FROM finished_at - started_at)::float8 * 1000 FROM generation_generation")[0]
    # What ran is paid for: all of the GPU's time between the claim and the end, not just the encoding.
    assert 1000 <= ledger_of(rig, wanted)["gpu_ms"] <= float(str(ran))
    assert ledger_of(rig, wanted)["gpu_ms"] == row_of(rig, wanted, "cost_ms")[0]
    assert files_in(media) == []
    after = submit(alice, prompt="next", num_inference_steps=1)
    wait_for(rig, after, "succeeded")


def test_sigterm_finishes_a_short_pass(rig: Rig, alice: Person, submit: Submit) -> None:
    child = rig.start_worker(SLEEPING_STEP_S="0.5")
    wanted = submit(alice)
    wait_for(rig, wanted, "running")
    child.terminate()
    child.terminate()  # a second one changes nothing
    assert child.wait(90) == 0
    assert row_of(rig, wanted, "status", "attempt", "lost") == ("succeeded", 0, 0)


def test_sigterm_gives_a_long_pass_back(rig: Rig, alice: Person, submit: Submit) -> None:
    child = rig.start_worker(SLEEPING_STEP_S="6")
    wanted = submit(alice)
    wait_for(rig, wanted, "running")
    time.sleep(1)
    child.terminate()
    assert child.wait(90) == 0
    assert row_of(rig, wanted, "status", "attempt", "lost", "lease_until") == ("queued", 0, 0, None)
    assert kinds_of(rig, wanted) == ["reserve"]


def test_raising_row_fails_after_three_attempts_and_takes_nobody_with_it(
    rig: Rig, alice: Person, submit: Submit
) -> None:
    bad, good = submit(alice, prompt="RAISE"), submit(alice, prompt="fine")
    rig.start_worker()
    wait_for(rig, bad, "failed", seconds=90)
    wait_for(rig, good, "succeeded")
    assert row_of(rig, bad, "attempt", "error_code") == (3, "engine_error")
    assert row_of(rig, good, "attempt") == (0,)
    assert ledger_of(rig, bad)["images"] == 0


def test_black_picture_fails_with_its_reason(rig: Rig, alice: Person, submit: Submit, media: Path) -> None:
    wanted = submit(alice, prompt="BLACK", n=2)
    rig.start_worker()
    wait_for(rig, wanted, "failed")
    assert row_of(rig, wanted, "error_code", "error_message") == ("bad_frame", "the picture is completely black")
    assert ledger_of(rig, wanted)["images"] == 0
    assert files_in(media) == []


def test_long_prompt_is_drawn_with_a_warning(rig: Rig, alice: Person, submit: Submit) -> None:
    wanted = submit(alice, prompt="word " * 600)
    rig.start_worker()
    wait_for(rig, wanted, "succeeded")
    (warnings,) = row_of(rig, wanted, "warnings")
    assert [warning["code"] for warning in warnings] == ["prompt_cut"]
    assert "512 of 600 tokens" in warnings[0]["detail"]


def test_broken_checkpoint_ends_the_worker_with_its_reason(rig: Rig, alice: Person, submit: Submit) -> None:
    child = rig.start_worker(SLEEPING_BROKEN="1")
    assert child.wait(90) == 3
    assert rig.ask("SELECT state FROM generation_worker") == [("failed",)]
    (detail,) = rig.ask("SELECT detail FROM generation_worker")[0]
    assert "is broken on purpose" in str(detail)
    assert "is broken on purpose" in rig.log("worker")
    wanted = submit(alice)  # still accepted
    assert row_of(rig, wanted, "status") == ("queued",)


def test_any_failed_load_ends_the_worker_with_its_reason(rig: Rig, alice: Person) -> None:
    child = rig.start_worker(SLEEPING_LOAD_RAISES="CUDA out of memory: a red house, token=abc")
    assert child.wait(90) == 3
    expected = "loading demo ended with RuntimeError; the worker's log says more"
    assert rig.ask("SELECT state, detail FROM generation_worker") == [("failed", expected)]
    assert "a red house" in rig.log("worker")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"memory_bytes": 2 * 10**9}, "demo: 2,000,000,000 bytes needed, sleeping engine has 1,000,000,000; set off"),
        ({"memory_bytes": 2 * 10**9, "offload": "model"}, "demo: 2,000,000,000 bytes needed"),  # no effect on a CPU
        ({"family": "unheard-of"}, "database: model demo: family"),
    ],
)
def test_model_that_cannot_be_served_is_named(rig: Rig, alice: Person, spec: dict[str, object], reason: str) -> None:
    Model.objects.filter(slug="demo").update(spec=make_entry() | spec)
    assert rig.start_worker().wait(60) == 3
    ((state, detail),) = rig.ask("SELECT state, detail FROM generation_worker")
    assert state == "failed"
    assert str(detail).startswith(reason)


def test_hanging_step_ends_the_process(rig: Rig, alice: Person, submit: Submit) -> None:
    wanted = submit(alice, prompt="HANG")
    child = rig.start_impatient(lease=30, floor_s=1.0, first_s=8.0)
    assert child.wait(90) == 70
    assert "step has not ended" in rig.log("worker")
    (detail,) = rig.ask("SELECT detail FROM generation_worker")[0]
    assert str(detail).startswith("stuck: pass: step has not ended")
    # The row is untouched: its lease runs out, and whoever comes next takes it.
    assert row_of(rig, wanted, "status", "attempt") == ("running", 0)


def test_killed_between_rename_and_transaction(
    rig: Rig, alice: Person, submit: Submit, media: Path, tmp_path: Path
) -> None:
    wanted = submit(alice)
    child = rig.start_worker(lease=5, SLEEPING_KILL_BEFORE_FINISH=str(tmp_path / "killed"))
    assert child.wait(90) == -signal.SIGKILL
    assert len(files_in(media)) == 2  # nobody owns them
    assert rig.ask("SELECT 1 FROM generation_image") == []
    rig.start_worker("second")
    wait_for(rig, wanted, "succeeded")
    assert row_of(rig, wanted, "lost", "attempt") == (1, 0)
    names = {str(name) for row in rig.ask("SELECT file, thumbnail FROM generation_image") for name in row}
    assert len(names) == 2
    assert len(files_in(media)) == 4  # the fence in the names keeps both apart; the janitor takes the old ones
    assert names <= {str(path.relative_to(media)) for path in files_in(media)}
    assert kinds_of(rig, wanted) == ["reserve", "settle"]


def test_frozen_worker_wakes_up_too_late(rig: Rig, alice: Person, submit: Submit, media: Path, tmp_path: Path) -> None:
    wanted = submit(alice)
    frozen = rig.start_worker(lease=5, SLEEPING_FREEZE_BEFORE_FINISH=str(tmp_path / "frozen"))
    wait_until((tmp_path / "frozen").exists, seconds=60, what=f"the freeze\n{rig.log('worker')}")
    rig.start_worker("second")
    wait_for(rig, wanted, "succeeded")
    frozen.send_signal(signal.SIGCONT)
    wait_until(lambda: "our files are deleted" in rig.log("worker"), seconds=60, what=f"{rig.log('worker')}")
    rows = rig.ask("SELECT file, thumbnail FROM generation_image")
    assert len(rows) == 1
    assert files_in(media) == sorted(media / str(name) for name in rows[0])
    assert kinds_of(rig, wanted) == ["reserve", "settle"]
    assert frozen.poll() is None  # it goes on working
    after = submit(alice, prompt="next")
    wait_for(rig, after, "succeeded")


def test_worker_frozen_in_its_claim_stops_nobody_else(rig: Rig, alice: Person, submit: Submit, tmp_path: Path) -> None:
    """It holds the lock of its pool, which every other claim waits for, and would for as long as it is frozen."""
    wanted = submit(alice)
    frozen = rig.start_worker(lease=5, SLEEPING_FREEZE_IN_CLAIM=str(tmp_path / "frozen"))
    wait_until((tmp_path / "frozen").exists, seconds=60, what=f"the freeze\n{rig.log('worker')}")
    rig.start_worker("second")
    wait_for(rig, wanted, "succeeded")
    assert row_of(rig, wanted, "attempt", "lost") == (0, 0)  # the claim was never committed
    rig.end("second")
    frozen.send_signal(signal.SIGCONT)
    wait_until(lambda: "database out of reach" in rig.log("worker"), seconds=60, what=rig.log("worker"))
    after = submit(alice, prompt="next")
    wait_for(rig, after, "succeeded")
    assert frozen.poll() is None


def test_frozen_ticker_hands_its_lock_on(rig: Rig) -> None:
    frozen = rig.start_ticker("first")
    wait_until(lambda: "holds the lock" in rig.log("first"), seconds=60, what=rig.log("first"))
    frozen.send_signal(signal.SIGSTOP)
    rig.start_ticker("second")
    wait_until(lambda: "holds the lock" in rig.log("second"), seconds=60, what=rig.log("second"))
    frozen.send_signal(signal.SIGCONT)
    wait_until(lambda: "database out of reach" in rig.log("first"), seconds=60, what=rig.log("first"))
    assert frozen.poll() is None  # it waits for its turn again


def test_full_disk_is_not_filled_any_further(
    rig: Rig, alice: Person, submit: Submit, media: Path, tmp_path: Path
) -> None:
    (full := tmp_path / "full").touch()
    wanted = submit(alice, n=2)
    rig.start_worker(SLEEPING_DISK_FULL=str(full))
    wait_until(lambda: "row given back" in rig.log("worker"), seconds=60, what=rig.log("worker"))
    wait_for(rig, wanted, "queued")
    assert files_in(media) == []
    full.unlink()
    wait_for(rig, wanted, "succeeded", seconds=60)
    assert row_of(rig, wanted, "attempt", "lost") == (0, 0)
    assert len(files_in(media)) == 4


def test_importing_the_worker_loads_no_torch() -> None:
    program = (
        "import sys, django; django.setup()\n"
        "import generation.worker, generation.worker.serve, generation.worker.errands\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=150).returncode == 0

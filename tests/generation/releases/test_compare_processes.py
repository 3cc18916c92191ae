"""`release compare` of two true GPU workers that draw with the demo model, typed as an operator types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qwenstudio.embedded import Services
from tests.chaos.rig import ROOT, Rig, wait_until
from tests.generation.releases.processes import Notes

pytestmark = pytest.mark.timeout(600)
CASES = ("red-circle", "circle-painted-over")  # the second starts from the first one's picture
NAMED = ("--cases", ",".join(CASES))


@pytest.fixture
def rig(db: object, services: Services, tmp_path: Path, media: Path) -> Iterator[Rig]:
    """Blue serves one, green is ready with two; the demo model is on offer."""
    from generation.domain.catalog import load_models
    from generation.enums import LaneState
    from generation.models import Lane, Release

    load_models(ROOT / "deploy" / "models.toml", apply=True)
    for lane, name, state in (("blue", "one", LaneState.SERVING), ("green", "two", LaneState.READY)):
        release = Release.objects.create(name=name, lane=lane)
        Lane.objects.filter(pk=lane).update(release=release, state=state, serves=["demo"])
    found = Rig(services, tmp_path / "rig")
    Notes(found.folder).write("links", {"blue": "one", "green": "two"})
    try:
        yield found
    finally:
        found.close()


def start(rig: Rig, lane: str, release: str, *, engine: str = "") -> None:
    """A worker of a lane, which has loaded and warmed up when this returns."""
    child = rig.start_worker(lane, engine=engine, STUDIO_LANE=lane, STUDIO_RELEASE=release)
    rig.wait_for_worker(seconds=300, pid=child.pid)


def type_compare(rig: Rig, *words: str) -> subprocess.Popen[str]:
    """`manage.py release compare …`, begun."""
    tools = "tests.generation.releases.processes:make_tools"
    return subprocess.Popen(
        [sys.executable, "manage.py", "release", "--tools", tools, "compare", *words],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        env={**os.environ, "RELEASE_RIG": str(rig.folder), "STUDIO_PROCESS": "worker"},
    )  # fmt: skip


def compare(rig: Rig, *words: str) -> tuple[dict[str, Any], int]:
    """The report, and the exit code."""
    command = type_compare(rig, "--json", *NAMED, *words)
    out, err = command.communicate(timeout=400)
    assert command.returncode in (0, 3), err
    found: dict[str, Any] = json.loads(out)
    return found, command.returncode


def test_two_workers_of_the_demo(rig: Rig, look: Callable[..., Any]) -> None:
    start(rig, "blue", "one")
    start(rig, "green", "two")
    # Killed in the middle, and typed again: it begins anew.
    killed = type_compare(rig, *NAMED)
    sql = "SELECT count(*)::int FROM generation_generation WHERE status = 'running'"
    wait_until(lambda: look(sql)[0][0] > 0, seconds=120, what="the first picture to be drawn")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    found, _ = compare(rig)  # its verdict is about time too, and the machine may do anything meanwhile
    assert (found["against"], found["release"]) == ("blue", "two")
    assert {
        case["slug"]: (case["verdict"], case["new_sha256"] == case["old_sha256"]) for case in found["cases"]
    } == dict.fromkeys(CASES, ("green", True)), "the same release on the same machine draws the same bytes"
    assert found["models"][0]["new_errors"] == {}
    assert found["models"][0]["new_ms"] > 0
    assert look("SELECT count(*) FROM generation_generation") == [(0,)]

    # Green with weights that are a little wrong.
    assert rig.end("green") == 0
    start(rig, "green", "two", engine="tests.generation.releases.faulty:Disturbed")
    found, code = compare(rig, "green", "--against", "blue")
    assert (code, found["verdict"]) == (3, "red")
    assert {case["verdict"] for case in found["cases"]} == {"red"}

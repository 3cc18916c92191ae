"""`deploy/sizing.py`: against the queues whose waits are known, and against the runbook's table."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "sizing.py"
_spec = importlib.util.spec_from_file_location("sizing", SCRIPT)
assert _spec and _spec.loader
sizing = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sizing)


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_one_server_waits_as_pollaczek_and_khinchine_say(busy: float) -> None:
    """M/D/1: the mean wait is ρ s / (2 (1 − ρ))."""
    found = fmean(sizing.waits(busy, 1.0, 1, count=100_000))
    assert found == pytest.approx(busy / (2 * (1 - busy)), rel=0.06)


def test_two_servers_wait_as_the_tables_say() -> None:
    """M/D/2 at ρ = 0.8: a little more than half of the 1.78 s of M/M/2 (Cosmetatos)."""
    found = fmean(sizing.waits(1.6, 1.0, 2, count=100_000))
    assert found == pytest.approx(0.9, rel=0.06)


def test_an_idle_server_lets_nobody_wait() -> None:
    assert sizing.percentile(sizing.waits(0.001, 1.0, 1, count=1_000), 0.95) == 0.0


def test_the_rate_keeps_both_bounds() -> None:
    quick, slow = sizing.highest_rate(0.8, 2), sizing.highest_rate(18.5, 1)
    assert quick == pytest.approx(0.9 * 2 / 0.8), "the wait is far below a minute: the busy share decides"
    assert slow < 0.9 / 18.5, "here the wait decides"
    assert sizing.percentile(sizing.waits(slow, 18.5, 1), 0.95) <= 60
    assert sizing.percentile(sizing.waits(slow * 1.05, 18.5, 1), 0.95) > 60
    assert sizing.highest_rate(18.5, 1, wait_s=600) > slow


def test_the_runbook_has_this_table() -> None:
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- sizes: deploy/sizing.py -->\n\n(.*?)\n\n<!-- end of sizes -->", page, re.DOTALL)
    assert found and found[1] == sizing.table(), "run deploy/sizing.py and put its table there"


def test_it_answers_an_operator() -> None:
    words = ["--seconds", "1.2", "--gpus", "2", "--per-minute", "0.5"]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)
    assert done.returncode == 0 and re.match(r"180 people: 1\.50 pictures a second, GPUs busy for 90%", done.stdout)

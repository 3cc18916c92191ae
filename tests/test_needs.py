"""What a new machine lacks is named once, for people and for `.ci/run`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).resolve().parent.parent


def test_every_marker_has_a_program_and_every_program_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(needs.MARKERS.values()) == set(needs.INSTALL) == set(needs.FINDERS)
    assert all(line.startswith("apt-get install ") for line in needs.INSTALL.values())
    marked = {marker for marker in needs.MARKERS if f"{marker}:" in (ROOT / "pyproject.toml").read_text()}
    assert marked == set(needs.MARKERS), "pytest knows them"
    monkeypatch.setattr(needs, "FINDERS", dict.fromkeys(needs.FINDERS, lambda: None))
    monkeypatch.setattr(needs.shutil, "which", lambda name: "/usr/bin/npm" if name == "npm" else None)
    assert "npm" not in needs.missing_packages(), "npm brings the client, another Node must not come over this one"
    monkeypatch.setattr(needs.shutil, "which", lambda name: None)
    packages = needs.missing_packages()
    assert len(packages) >= len(needs.INSTALL) and not [word for word in packages if "(" in word or word == "install"]


def test_the_script_installs_what_the_list_names() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "tests.needs --packages" in script and "STRICT=1" in script
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")]).returncode == 0
    line = [sys.executable, "-m", "tests.needs", "--packages"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == needs.missing_packages()


def test_the_readme_names_the_same_programs() -> None:
    text = (ROOT / "README.md").read_text()
    packages = {name: line.removeprefix("apt-get install ").split()[0] for name, line in needs.INSTALL.items()}
    assert [name for name, package in packages.items() if f"`{package}`" not in text] == []

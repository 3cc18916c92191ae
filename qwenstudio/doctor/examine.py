"""Runs all checks at the same time and waits for none longer than its patience.

A server that takes a connection and never answers can hold a thread for as long as it likes: such a thread is left
behind (it ends with the process), and what it had not said yet is a finding of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from qwenstudio.doctor.finding import SEVERITY, Check, Finding


def examine(checks: Mapping[str, Check]) -> list[Finding]:
    """Every finding, bad ones first, then in the order of the checks."""
    started = time.monotonic()
    runs = [_Run(name, check) for name, check in checks.items()]
    found = [finding for run in runs for finding in run.wait(since=started)]
    return sorted(found, key=lambda finding: SEVERITY[finding.level])


class _Run:
    """One check in a thread of its own."""

    def __init__(self, name: str, check: Check) -> None:
        self.name, self.check = name, check
        self._found: list[Finding] = []
        self._thread = threading.Thread(target=self._look, name=f"doctor-{name}", daemon=True)
        self._thread.start()

    def wait(self, *, since: float) -> list[Finding]:
        self._thread.join(max(0.0, since + self.check.patience_s - time.monotonic()))
        found = list(self._found)
        if self._thread.is_alive():
            text = f"no end within {self.check.patience_s:g} s: something takes a connection and does not answer"
            found.append(Finding("fail", self.name, text, "restart what the lines of this group name"))
        return [replace(finding, group=self.check.group, check=self.name) for finding in found]

    def _look(self) -> None:
        try:
            for finding in self.check.find():
                self._found.append(finding)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self._found.append(Finding("fail", self.name, text, "this is a bug in the check: report it"))

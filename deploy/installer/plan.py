"""A list of steps: each knows whether it is done, says what it does, and does it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

AGAIN = "Run the same line again: it goes on here."


class InstallError(Exception):
    """The installation cannot go on; the text says what to do. Running it again goes on from there."""


@dataclass(frozen=True)
class Step:
    """One step. `is_done` looks and changes nothing; `do` may be called again after it was cut off."""

    describe: str
    is_done: Callable[[], bool]
    do: Callable[[], None]


def looks_done(step: Step) -> bool:
    """What the step says; where it cannot even look, it is not done."""
    try:
        return step.is_done()
    except (OSError, InstallError, subprocess.SubprocessError):
        return False


def show(steps: Sequence[Step], *, say: Callable[[str], None]) -> int:
    """Print the plan; how many steps are to be done."""
    open_steps = 0
    for step in steps:
        done = looks_done(step)
        open_steps += not done
        say(f"  {'done ' if done else 'to do'}  {step.describe}")
    return open_steps


def carry_out(steps: Sequence[Step], *, say: Callable[[str], None]) -> int:
    """Do what is not done, in order; how many steps that were. Raises `InstallError` naming the step."""
    changed = 0
    for step in steps:
        if looks_done(step):
            continue
        say(f"  {step.describe}")
        try:
            step.do()
        except (OSError, subprocess.SubprocessError, InstallError) as error:
            raise InstallError(f"{step.describe}: {error}\nMend that. {AGAIN}") from error
        if not looks_done(step):
            raise InstallError(f"{step.describe}: this was done without an error, and yet it is not so")
        changed += 1
    return changed

"""manage.py release: blue and green (docs/releases.md)."""

from __future__ import annotations

import getpass
import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from accounts.errors import StudioError
from generation.enums import ReleaseMode
from generation.releases.compare.report import as_json
from generation.releases.compare.run import AGAINST, compare_lane
from generation.releases.compare.side import PICTURE_S
from generation.releases.drain import EMPTY_S, drain_lane
from generation.releases.finish import finish_release
from generation.releases.lanes import adopt_default, default_lane, one_at_a_time, read_lanes
from generation.releases.migrations import read_unapplied
from generation.releases.promote import Moved, promote_lane, roll_back
from generation.releases.ready import READY_S
from generation.releases.start import plan_start, start_lane
from generation.releases.status import say_next, say_status
from generation.releases.tools import LANES, Tools, other_lane

RED = 3
"""The exit code of a comparison that says no; 1 is one that could not be made."""


class Command(BaseCommand):
    help = (
        "Put a release beside the one that runs, lead people to it, go back, end it. Every step may be typed again: "
        "it goes on where the last one stopped. `status` says where things stand and what to type next."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tools", default=settings.RELEASE_TOOLS, help="module:function, for tests")
        steps = parser.add_subparsers(dest="step", required=True, metavar="step")
        steps.add_parser("status", help="where things stand, and what to type next")
        start = steps.add_parser("start", help="start a release in the lane that does not serve")
        start.add_argument("lane", choices=LANES)
        start.add_argument("--release", default="", help="its name; without: the newest that is installed")
        modes = [mode.value for mode in ReleaseMode]
        start.add_argument("--mode", default="", choices=["", *modes], help="instead of measuring")
        compare = steps.add_parser("compare", help="draw the golden pictures in a lane, and say how far they are off")
        compare.add_argument("lane", nargs="?", default="", choices=["", *LANES], help="without: the one not serving")
        compare.add_argument(
            "--against", default="", choices=["", *AGAINST], help="without: the other lane, if it draws"
        )
        compare.add_argument("--cases", default="", metavar="NAME,NAME", help="only these golden cases")
        compare.add_argument("--json", action="store_true", help="the whole report; progress goes to stderr")
        compare.add_argument("--timeout", type=float, default=PICTURE_S, metavar="S", help="for one picture")
        promote = steps.add_parser("promote", help="lead everybody to a lane that is ready")
        promote.add_argument("lane", choices=LANES)
        promote.add_argument("--force", default="", metavar="REASON", help="although the comparison says no")
        rollback = steps.add_parser("rollback", help="lead everybody back to the lane that served before")
        drain = steps.add_parser("drain", help="empty the lane that does not serve any more")
        drain.add_argument("lane", choices=LANES)
        finish = steps.add_parser("finish", help="stop the lane that does not serve, and keep nobody in a lane")
        steps.add_parser("migrations", help="what this code would change in the database, as JSON")
        for step in (start, promote, rollback, drain, finish):
            step.add_argument("--yes", action="store_true", help="ask nothing")
        for step in (start, promote, rollback):
            step.add_argument("--timeout", type=float, default=READY_S, metavar="S", help="for a lane to become ready")
        drain.add_argument("--timeout", type=float, default=EMPTY_S, metavar="S", help="for the lane to become empty")

    def handle(self, *, step: str, tools: str, **options: Any) -> None:
        if step == "migrations":
            self.say(json.dumps([asdict(one) for one in read_unapplied()]))
            return
        try:
            found = replace(find_tools(tools), say=self.say)
            if step == "status":
                self.say("\n".join(say_status(found)))
                return
            with one_at_a_time():
                self._steps()[step](found, options)
            if step == "compare":
                return
            self.say(f"next: {say_next(read_lanes()[other_lane(default_lane())], serving=default_lane())}")
        except StudioError as error:
            raise CommandError(f"{error.message}.") from error

    def say(self, text: str) -> None:
        """A line at once: who waits reads along."""
        self.stdout.write(text)
        self.stdout.flush()

    def _steps(self) -> dict[str, Callable[[Tools, dict[str, Any]], None]]:
        return {
            "start": self._start,
            "compare": self._compare,
            "promote": self._promote,
            "rollback": self._rollback,
            "drain": self._drain,
            "finish": self._finish,
        }

    def _start(self, tools: Tools, options: dict[str, Any]) -> None:
        mode = ReleaseMode(options["mode"]) if options["mode"] else None
        chosen = plan_start(options["lane"], tools, release=options["release"], mode=mode)
        self.say("\n".join(chosen.lines()))
        self._confirm(options, "Start it?")
        start_lane(chosen, tools, timeout_s=options["timeout"])
        self.say(f"{chosen.lane} is ready with {chosen.release}; {default_lane()} serves as before")

    def _compare(self, tools: Tools, options: dict[str, Any]) -> None:
        adopt_default(tools)
        lane = options["lane"] or other_lane(default_lane())
        found = compare_lane(
            lane,
            against=options["against"],
            slugs=list(filter(None, options["cases"].split(","))),
            timeout_s=options["timeout"],
            tasks_of=tools.code.tasks_of,
            by=os.environ.get("SUDO_USER") or getpass.getuser(),
            say=self._complain if options["json"] else self.say,
        )
        page = settings.STUDIO_URL + reverse("admin:generation_comparison_change", args=[found.pk])
        if options["json"]:
            self.say(json.dumps(as_json(found) | {"page": page}, indent=1))
        else:
            self.say(f"{lane} with {found.release_name} against {found.against}: {found.verdict.upper()}")
            self.say(f"report: {page}")
        if found.is_red:
            words = f"The comparison is red: release promote {lane} refuses, unless --force says why."
            raise CommandError(words, returncode=RED)

    def _complain(self, text: str) -> None:
        self.stderr.write(text, self.style.NOTICE)

    def _promote(self, tools: Tools, options: dict[str, Any]) -> None:
        lane = options["lane"]
        self._confirm(options, f"Lead everybody to {lane}?")
        moved = promote_lane(lane, tools, force=options["force"].strip(), timeout_s=options["timeout"])
        if moved.already:
            self.say(f"{lane} serves already, nothing was moved")
            return
        self.say(f"{lane} serves: the move took {moved.move_ms} ms{_say_rest(moved)}")

    def _rollback(self, tools: Tools, options: dict[str, Any]) -> None:
        self._confirm(options, "Go back to the release before?")
        moved = roll_back(tools, timeout_s=options["timeout"])
        self.say(f"{default_lane()} serves{_say_rest(moved)}")

    def _drain(self, tools: Tools, options: dict[str, Any]) -> None:
        lane = options["lane"]
        self._confirm(options, f"Give away what waits in {lane}, and let its workers end?")
        moved = drain_lane(lane, tools, timeout_s=options["timeout"])
        self.say(f"{lane} is drained; {moved} waiting pictures went to {default_lane()}")

    def _finish(self, tools: Tools, options: dict[str, Any]) -> None:
        self._confirm(options, f"Stop {other_lane(default_lane())} for good?")
        lane = finish_release(tools)
        self.say(f"{lane} is stopped; {default_lane()} serves alone")

    def _confirm(self, options: dict[str, Any], question: str) -> None:
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError(f"{question} Nobody is there to answer: add --yes.")
        if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was changed.")


def find_tools(path: str) -> Tools:
    """What `module:function` makes. Raises `CommandError` where there is none."""
    module, _, name = path.partition(":")
    try:
        make: Callable[[], Tools] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CommandError(f"--tools {path!r} must be module:function ({error})") from error
    return make()


def _say_rest(moved: Moved) -> str:
    pause = "" if moved.pause_ms is None else f", nothing was drawn for {moved.pause_ms / 1000:.1f} s"
    return f"{pause}{f', {moved.handed_over} waiting pictures went along' if moved.handed_over else ''}"

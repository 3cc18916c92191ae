"""manage.py restart: the running units anew, after a change of settings."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from generation.releases.ready import READY_S
from qwenstudio.guard import UnsafeSettings, refuse_at_start
from qwenstudio.restarting import KINDS, NotServing, restart_units, running_units
from qwenstudio.units.control import UnitsError, pick_units
from qwenstudio.units.layout import Layout


class Command(BaseCommand):
    help = (
        "Start the running units anew so that they read changed settings, and wait until each serves. Settings with "
        "which nothing would start are refused first, while everything still runs with the old ones."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kinds", nargs="*", metavar="|".join(KINDS), help="only these (default: all of them)")
        parser.add_argument("--timeout", type=float, default=READY_S, metavar="S", help="for all of it")

    def handle(self, *, kinds: list[str], timeout: float, **options: Any) -> None:
        if unknown := set(kinds) - set(KINDS):
            raise CommandError(f"{', '.join(sorted(unknown))}: it is one of {', '.join(KINDS)}")
        try:
            refuse_at_start()
            layout = Layout.here()
            units = pick_units(layout)
            names = running_units(units, layout, kinds=kinds or KINDS)
            restart_units(units, layout, names, say=self.stdout.write, timeout_s=timeout)
        except (UnsafeSettings, UnitsError, NotServing) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{len(names)} units serve with the settings as they are now" if names else "nothing runs")

"""manage.py rotate: another secret in place of one, while the studio runs."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.domain.audit import record
from accounts.errors import StudioError
from generation.releases.lanes import one_at_a_time
from generation.releases.ready import READY_S
from qwenstudio.restarting import NotServing
from qwenstudio.rotation import SECRETS, Rotation, RotationError
from qwenstudio.units.control import UnitsError, pick_units
from qwenstudio.units.layout import Layout

FINISHED = ("secret-key", "encryption-key")


class Command(BaseCommand):
    help = (
        "Put a new secret in place of one of this installation's, start the units anew, and see that the old one is "
        "worth nothing any more. Of the two keys the old one is kept for what it has signed or sealed, until "
        "--finish. May be typed again where it was cut off."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        words = "; ".join(f"{name}: {what}" for name, what in SECRETS.items())
        parser.add_argument("secret", choices=list(SECRETS), help=words)
        parser.add_argument("--finish", action="store_true", help="take older keys away")
        parser.add_argument("--timeout", type=float, default=READY_S, metavar="S", help="for the units to serve again")

    def handle(self, *, secret: str, finish: bool, timeout: float, **options: Any) -> None:
        if finish and secret not in FINISHED:
            raise CommandError(f"--finish is for {' and '.join(FINISHED)}: of {secret} nothing is kept")
        layout = Layout.here()
        if not os.access(layout.secrets, os.W_OK):
            raise CommandError(f"{layout.secrets} is root's: sudo studio rotate {secret}")
        try:
            rotation = Rotation(layout=layout, units=pick_units(layout), say=self.stdout.write, timeout_s=timeout)
            with one_at_a_time():
                rotation.refuse_two_lanes()
                record("secret.rotated", target=f"secret:{secret}", detail={"finish": finish})
                getattr(rotation, f"{'finish_' if finish else ''}{secret.replace('-', '_')}")()
        except (RotationError, NotServing, UnitsError) as error:
            raise CommandError(str(error)) from None
        except StudioError as error:
            raise CommandError(f"{error.message}.") from None

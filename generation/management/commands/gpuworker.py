"""manage.py gpuworker --pool demo: draws what is queued."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.meters.share import share
from generation.worker.engine import TorchEngine, find_engine
from generation.worker.leases import LEASE_S
from generation.worker.serve import GpuWorker, Plan
from generation.worker.stop import StopFlag
from qwenstudio import notify


class Command(BaseCommand):
    help = (
        "Load the models of a pool and draw what is queued for them until SIGTERM. Exit codes: 0 asked to end, "
        "3 a model cannot be loaded, 70 the work hung."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--pool", required=True, help="the pool whose queue this worker serves")
        parser.add_argument("--models", default="", help="slugs, separated by commas; default: all models of the pool")
        parser.add_argument(
            "--memory", type=int, default=0, metavar="BYTES",
            help="what its models may take together; where they do not fit, they take turns (default: the device's)",
        )  # fmt: skip
        parser.add_argument("--lease", type=int, default=LEASE_S, help="seconds a claim lasts without renewal")
        parser.add_argument("--engine", default="", help="module:attribute of another engine, for tests")

    def handle(self, *, pool: str, models: str, memory: int, lease: int, engine: str, **options: Any) -> None:
        stop = StopFlag()
        stop.install()
        notify.watch_stopped()
        try:
            chosen = find_engine(engine) if engine else TorchEngine()
        except ValueError as error:
            raise CommandError(str(error)) from error
        slugs = tuple(slug for slug in (word.strip() for word in models.split(",")) if slug)
        if lease < 5:
            raise CommandError("--lease must be at least 5 s, so that one slow renewal does not lose it")
        if memory < 0:
            raise CommandError("--memory must be a number of bytes; 0 is the device's memory")
        share(settings.PROCESS)
        plan = Plan(lane=settings.STUDIO_LANE, pool=pool, slugs=slugs, room=memory, lease_s=lease)
        sys.exit(GpuWorker(plan, engine=chosen, stop=stop).run())

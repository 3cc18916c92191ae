"""manage.py ticker: sweeps every five seconds."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from accounts.meters.share import share
from generation.worker.stop import StopFlag
from generation.worker.ticker import tick


class Command(BaseCommand):
    help = "Sweep every 5 s until SIGTERM. Any number may run; one of them holds the lock and works, the others wait."
    requires_system_checks = ()

    def handle(self, **options: Any) -> None:
        stop = StopFlag()
        stop.install()
        share(settings.PROCESS)
        tick(stop=stop)

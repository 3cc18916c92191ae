"""manage.py errandworker: does durable other work."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from accounts.meters.share import share
from generation.worker.errands import serve_errands
from generation.worker.stop import StopFlag


class Command(BaseCommand):
    help = "Do errands (files to delete, mail to send) until SIGTERM. Any number may run."
    requires_system_checks = ()

    def handle(self, **options: Any) -> None:
        stop = StopFlag()
        stop.install()
        share(settings.PROCESS)
        serve_errands(lane=settings.STUDIO_LANE, stop=stop)

"""manage.py reencrypt: everything that is sealed, under the newest key."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand

from accounts.domain.reseal import reseal_everything


class Command(BaseCommand):
    help = (
        "Seal everything anew under the first of STUDIO_ENCRYPTION_KEYS, so that the others may go, and print as JSON "
        "what was found. Exit code 1: something was sealed with a key that is not among them. May be run at any time."
    )
    requires_system_checks = ()

    def handle(self, **options: Any) -> None:
        found = reseal_everything()
        self.stdout.write(json.dumps({name: dataclasses.asdict(kind) for name, kind in found.items()}, indent=2))
        if any(kind.unreadable for kind in found.values()):
            sys.exit(1)

"""manage.py rebuild: counters from the ledger, storage from the rows of images."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from accounts.domain.rebuild import rebuild_counters
from generation.domain.stored import all_tenants, rebuild_stored


class Command(BaseCommand):
    help = (
        "Set every tenant's counters to the sums of its ledger and its storage to the sizes of its pictures, and print "
        "as JSON what was wrong. Submits wait meanwhile, a moment for each tenant."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", type=UUID, metavar="ID", help="this one only")

    def handle(self, *, tenant: UUID | None = None, **options: Any) -> None:
        tenants = all_tenants()
        if tenant is not None and tenant not in tenants:
            raise CommandError(f"there is no tenant {tenant}")
        chosen = tenants if tenant is None else [tenant]
        found = {str(id): {"counters": rebuild_counters(id), "stored_bytes": rebuild_stored(id)} for id in chosen}
        wrong = {id: row for id, row in found.items() if any(row.values())}
        self.stdout.write(json.dumps({"tenants": len(chosen), "wrong": wrong}, indent=2))

"""manage.py loadupstreams: the upstreams file into the database."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from generation.books.demochat import demo_rows
from generation.books.loading import Loaded, load_upstreams
from generation.books.upstreamfile import UpstreamsFileError


class Command(BaseCommand):
    help = (
        "Write the upstreams file (STUDIO_UPSTREAMS) into the database and show what changed: servers that answer "
        "chat, and the chat models that tenants see. What the file does not name stays; nothing is deleted."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="show what would change, write nothing")

    def handle(self, *, dry_run: bool = False, **options: Any) -> None:
        try:
            found = load_upstreams(settings.STUDIO_UPSTREAMS, apply=not dry_run)
        except UpstreamsFileError as error:
            raise CommandError(str(error)) from error
        ours = demo_rows()
        for kind, loaded in found.items():
            for line in describe(kind, loaded, known={slug for of, slug in ours if of == kind}):
                self.stdout.write(line)
        if dry_run and any(not loaded.is_empty for loaded in found.values()):
            self.stdout.write("Nothing was written (--dry-run).")


def describe(kind: str, loaded: Loaded, *, known: Collection[str] = ()) -> list[str]:
    """One line per entry: `+` new, `~` changed with its keys, `=` as it was, `?` in the database alone, not `known`."""
    lines = [f"+ {kind} {slug}" for slug in loaded.added]
    lines += [f"~ {kind} {slug}: {', '.join(keys)}" for slug, keys in sorted(loaded.changed.items())]
    lines += [f"= {kind} {slug}" for slug in loaded.unchanged]
    missing = [slug for slug in loaded.missing if slug not in known]
    return lines + [f"? {kind} {slug}: not in the file, stays; switch it off in the admin" for slug in missing]

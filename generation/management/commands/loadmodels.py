"""manage.py loadmodels: the models file into the database."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from generation.domain.catalog import CatalogDiff, load_models
from generation.domain.lorafiles import add_shipped_loras, refit_loras
from generation.engine.errors import CatalogError
from generation.releases.compare.shipped import add_shipped


class Command(BaseCommand):
    help = (
        "Write the models file (STUDIO_MODELS) into the database and show what changed. "
        "Models that the file does not name stay as they are. A model without golden cases gets those that are shipped."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="show what would change, write nothing")
        parser.add_argument(
            "--disable-missing", action="store_true", help="switch off the models that the file does not name"
        )

    def handle(self, *, dry_run: bool = False, disable_missing: bool = False, **options: Any) -> None:
        try:
            diff = load_models(settings.STUDIO_MODELS, apply=not dry_run, disable_missing=disable_missing)
        except CatalogError as error:
            raise CommandError(str(error)) from error
        for line in describe(diff):
            self.stdout.write(line)
        if not dry_run:
            for slug in add_shipped():
                self.stdout.write(f"+ golden case {slug}")
            for slug in add_shipped_loras():
                self.stdout.write(f"+ LoRA {slug}")
            for slug, fits in refit_loras().items():
                self.stdout.write(f"~ LoRA {slug}: fits {', '.join(fits) or 'no model'}")
        if dry_run and not diff.is_empty:
            self.stdout.write("Nothing was written (--dry-run).")
        elif not dry_run and diff.changed:
            self.stdout.write("Workers that serve a changed model must be started again.")


def describe(diff: CatalogDiff) -> list[str]:
    """One line per model: `+` new, `~` changed with its keys, `=` as it was, `?` in the database only, `-` off."""
    lines = [f"+ {slug}" for slug in diff.added]
    lines += [f"~ {slug}: {', '.join(keys)}" for slug, keys in sorted(diff.changed.items())]
    lines += [f"= {slug}" for slug in diff.unchanged]
    off = set(diff.disabled)
    lines += [f"- {slug}: not in the file, switched off" for slug in diff.disabled]
    stays = "not in the file, stays; switch it off in the admin, or with --disable-missing"
    lines += [f"? {slug}: {stays}" for slug in diff.missing if slug not in off]
    return lines

"""manage.py addlora: a LoRA's file that lies on this machine already."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from accounts.errors import StudioError
from generation.domain.lorafiles import add_lora
from generation.engine.lorarules import RULES


class Command(BaseCommand):
    help = "Look a LoRA's safetensors file over, copy it under STUDIO_MEDIA and offer it. The admin changes the rest."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="its name in requests")
        parser.add_argument("file", type=Path)
        parser.add_argument("--family", required=True, choices=sorted(RULES))
        parser.add_argument("--title", default="")
        parser.add_argument("--trigger-words", default="")
        parser.add_argument("--licence", default="")
        parser.add_argument("--source", default="")
        parser.add_argument("--private", action="store_true", help="for tenants that get a grant, not for all")

    def handle(self, *, slug: str, file: Path, family: str, title: str, private: bool, **options: Any) -> None:
        fields = {name: options[name] for name in ("trigger_words", "licence", "source")}
        try:
            lora = add_lora(slug=slug, family=family, file=file, title=title or slug, public=not private, **fields)
        except (StudioError, ValidationError, OSError) as error:
            raise CommandError(f"{file}: {error}") from error
        self.stdout.write(f"{lora.slug}: rank {lora.rank}, {lora.bytes:,} bytes, fits {', '.join(lora.fits)}")

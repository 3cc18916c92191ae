"""manage.py fetchmodel: a checkpoint or a LoRA from a hub into a folder; the studio itself never downloads."""

from __future__ import annotations

import json
import os
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from generation.engine.catalog import is_hub_id
from generation.engine.checkpoint import verify_checkpoint
from generation.engine.errors import CheckpointError
from generation.engine.families import FAMILIES
from generation.engine.fetch import Fetched, fetch, verify
from generation.engine.hub import PUBLIC_HUB, FetchError, Hub

_WIDTH = 24
_SHOW_S = 0.3
_LOG_S = 30.0


class Command(BaseCommand):
    help = (
        "Download a model of a hub: OWNER/NAME for a checkpoint, OWNER/NAME:FILE for one safetensors file such as a "
        "LoRA. Resumes where an earlier run stopped, compares every byte with the hub's hashes, and puts the folder in "
        "place when all of it is right. Workers need no network afterwards."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", metavar="OWNER/NAME[:FILE]", help="with --verify: the folder to read again")
        parser.add_argument("--revision", default="main", help="a commit, tag or branch (default: main)")
        parser.add_argument("--to", type=Path, metavar="FOLDER", help="default: models/OWNER/NAME in $STUDIO_VAR")
        parser.add_argument("--hub", default="", metavar="URL", help=f"default: $HF_ENDPOINT, else {PUBLIC_HUB}")
        parser.add_argument(
            "--verify", action="store_true", help="download nothing, compare a folder with its manifest"
        )

    def handle(self, *, model: str, revision: str, **options: Any) -> None:
        try:
            if options["verify"]:
                self._verify(Path(model))
                return
            repo, _, only = model.partition(":")
            if not is_hub_id(repo):
                raise CommandError(f"{repo!r} is no model of a hub; write OWNER/NAME, or OWNER/NAME:FILE.safetensors")
            target = (options["to"] or settings.STUDIO_VAR / "models" / repo).expanduser().absolute()
            hub = Hub(
                options["hub"] or os.environ.get("HF_ENDPOINT") or PUBLIC_HUB, token=os.environ.get("HF_TOKEN", "")
            )
            bar = Bar(self.stderr)
            try:
                fetched = fetch(hub, repo, revision=revision, target=target, only=only, watcher=bar)
            finally:
                bar.end()
        except FetchError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename or 'the disk'}: {error.strerror or error}") from error
        self._tell(fetched, repo=repo, only=only)

    def _tell(self, fetched: Fetched, *, repo: str, only: str) -> None:
        self.stdout.write(f"{repo} at {fetched.commit}: {len(fetched.files)} files in {fetched.folder}, hashes right")
        if fetched.left_out:
            some = ", ".join(fetched.left_out[:5]) + (" …" if len(fetched.left_out) > 5 else "")
            self.stdout.write(f"left out: {some}")
        if only:
            self.stdout.write(f'In the entry: turbo_lora = {{ path = "{fetched.folder / only}", scale = 1.0 }}')
            return
        family = self._find_family(fetched.folder)
        if family:
            self.stdout.write(f'In the entry: family = "{family}", path = "{fetched.folder}"')

    def _find_family(self, folder: Path) -> str:
        """The family that draws this checkpoint, once it has looked it over."""
        try:
            pipeline = json.loads((folder / "model_index.json").read_text()).get("_class_name")
        except (OSError, ValueError, AttributeError):
            return ""
        family = next((name for name, info in FAMILIES.items() if info.pipeline == pipeline), "")
        if not family:
            self.stdout.write(f"No family here draws a {pipeline}; there are {', '.join(FAMILIES)}.")
            return ""
        try:
            verify_checkpoint(folder, family=family)
        except CheckpointError as error:
            raise CommandError(f"downloaded as the hub has it, but not usable: {error}") from error
        return family

    def _verify(self, folder: Path) -> None:
        wrong = verify(folder.expanduser().absolute())
        if wrong:
            raise CommandError(f"{folder}: {'; '.join(wrong)}. Remove the folder and fetch it again.")
        self.stdout.write(f"{folder}: every file has the bytes it came with")


class Bar:
    """How a download goes: one line that moves on a terminal, a line now and then elsewhere."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self._shows = bool(out.isatty())
        self._began = self._shown = time.monotonic()
        self._size = self._done = self._came = 0
        self._open = False

    def begin(self, *, files: int, size: int) -> None:
        self._size = size
        self.say(f"{files} files, {readable(size)}")

    def move(self, name: str, by: int) -> None:
        self._done += by
        self._came += max(0, by)
        now = time.monotonic()
        if now - self._shown < (_SHOW_S if self._shows else _LOG_S) and self._done < self._size:
            return
        self._shown = now
        line = self._line(name, now)
        if self._shows:
            self._out.write(f"\r\x1b[K{line}", ending="")
            self._out.flush()
            self._open = True
        else:
            self._out.write(line)

    def _line(self, name: str, now: float) -> str:
        share = self._done / self._size if self._size else 1.0
        filled = int(share * _WIDTH)
        speed = self._came / max(now - self._began, 0.001)
        left = (self._size - self._done) / speed if speed else 0.0
        bar = "#" * filled + "." * (_WIDTH - filled)
        rest = f"{readable(self._done)} of {readable(self._size)}, {readable(speed)}/s, {left:.0f} s left"
        return f"[{bar}] {share:4.0%} {rest}  {name[-40:]}"

    def say(self, text: str) -> None:
        self.end()
        self._out.write(text)

    def end(self) -> None:
        """Leave the moving line."""
        if self._open:
            self._out.write("")
            self._open = False


def readable(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"

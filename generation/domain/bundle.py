"""The zip of an export, written piece by piece.

Pictures are stored as they are (they are compressed already), tables are deflated. Memory does not grow with the
tenant, and the disk gets the file bit by bit.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from uuid import UUID

import orjson
from django.db.models import QuerySet
from django.utils import timezone

from accounts.domain.csv import csv_line
from accounts.domain.errands import Lease
from accounts.domain.exports import note_progress
from accounts.domain.media import media_path
from accounts.domain.tables import CHUNK, Table, account_tables, settings_of
from accounts.models import Tenant
from accounts.tenancy import current_tenant
from generation.domain.pace import Pace
from generation.models import (
    ChatCall,
    ChatGrant,
    Generation,
    Image,
    InputFile,
    LoraGrant,
    ModelGrant,
    PromptRule,
    Receipt,
    Style,
)

README = """Everything that {name} has in this studio, {when:%Y-%m-%d %H:%M} UTC.

images/        the pictures as they were made, named <generation>-<number>
inputs/        the pictures and masks that they start from, named by their ids in the generations' params
settings.json  the organisation itself
*.csv, *.jsonl one table each, for spreadsheets and for programs: members, invitations, keys (without secrets),
               budgets, ledger (what was charged), audit (who did what), generations (prompts and parameters), images
               (with their place in this file and their SHA-256), inputs, styles, models and chat models that were
               opened for the organisation, rules (for answers), chat_calls (with their words where these are kept)
receipts.jsonl how each picture was made, signed by the studio

A cell that would be a formula has an apostrophe in front, in the .csv only. Times are UTC.
"""


class Bundle:
    """One zip under way."""

    def __init__(self, file: BinaryIO, *, export: UUID, lease: Lease) -> None:
        self._file = file
        self._pace = Pace(file, lease=lease, note=lambda done: note_progress(export, done=done))
        self._done = 0

    def write_all(self) -> int:
        """Everything; returns how many pictures are in it."""
        tenant = current_tenant()
        row = Tenant.objects.get(pk=tenant)
        with zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED, allowZip64=True) as bundle:
            _write_text(bundle, "README.txt", README.format(name=row.name, when=timezone.now()))
            _write_text(bundle, "settings.json", orjson.dumps(settings_of(tenant), option=orjson.OPT_INDENT_2).decode())
            if row.logo and media_path(row.logo).is_file():
                bundle.write(media_path(row.logo), "logo.webp")
            for table in (*account_tables(tenant), *generation_tables()):
                self._write_table(bundle, table)
            self._write_images(bundle)
            self._write_inputs(bundle)
        return self._done

    def _write_table(self, bundle: zipfile.ZipFile, table: Table) -> None:
        """Twice, because a zip takes one entry at a time: for programs and for spreadsheets."""
        with bundle.open(_entry(f"{table.name}.jsonl"), "w", force_zip64=True) as out:
            for rows in table.read():
                self._keep()
                out.write(b"".join(_json_line(table, row) for row in rows))
        if table.name == "receipts":
            return  # nested, and of no use in a cell
        with bundle.open(_entry(f"{table.name}.csv"), "w", force_zip64=True) as out:
            out.write(csv_line(table.header).encode())
            for rows in table.read():
                self._keep()
                out.write("".join(csv_line([_cell(value) for value in row]) for row in rows).encode())

    def _write_images(self, bundle: zipfile.ZipFile) -> None:
        for image in _paged(Image.objects.all(), "generation_id", "index", "file"):
            path = media_path(image["file"])
            if path.is_file():  # one that was removed meanwhile is no fault
                name = place_of(image["generation_id"], image["index"], image["file"])
                bundle.write(path, name, compress_type=zipfile.ZIP_STORED)
                self._done += 1
            self._keep()

    def _write_inputs(self, bundle: zipfile.ZipFile) -> None:
        for row in _paged(InputFile.objects.all(), "file"):
            path = media_path(row["file"])
            if path.is_file():
                bundle.write(path, f"inputs/{row['pk']}.png", compress_type=zipfile.ZIP_STORED)
            self._keep()

    def _keep(self) -> None:
        self._pace.keep(self._done)


def generation_tables() -> list[Table]:
    """The tables of generation, read in the tenant's scope."""
    return [
        Table(
            "generations",
            lambda: Generation.objects.all(),
            ("id", "user", "key", "model_id", "task", "prompt", "negative_prompt", "width", "height", "steps", "seed",
             "n", "params", "status", "starred", "retry_of", "error_code", "error_message", "warnings", "cost_ms",
             "created_at", "started_at", "finished_at"),
            ("id", "user", "key", "model", "task", "prompt", "negative_prompt", "width", "height", "steps", "seed",
             "n", "params", "status", "starred", "retry_of", "error_code", "error_message", "warnings", "gpu_ms",
             "created_at", "started_at", "finished_at"),
        ),
        Table(
            "images",
            lambda: Image.objects.all(),
            ("id", "generation_id", "index", "file", "format", "sha256", "bytes", "width", "height", "seed",
             "created_at"),
            ("id", "generation", "index", "file", "format", "sha256", "bytes", "width", "height", "seed", "created_at"),
            lambda row: (*row[:3], place_of(*row[1:4]), *row[4:]),
        ),
        Table(
            "inputs",
            lambda: InputFile.objects.all(),
            ("id", "user", "kind", "sha256", "bytes", "width", "height", "created_at"),
            ("id", "user", "kind", "sha256", "bytes", "width", "height", "created_at"),
        ),
        Table(
            "receipts", lambda: Receipt.objects.all(), ("image_id", "body", "signature"), ("image", "body", "signature")
        ),
        Table("models", lambda: ModelGrant.objects.all(), ("model_id",), ("model",)),
        Table(
            "styles",
            lambda: Style.objects.all(),
            ("id", "name", "prompt", "negative_prompt", "position", "created_at", "updated_at"),
            ("id", "name", "prompt", "negative_prompt", "position", "created_at", "updated_at"),
        ),
        Table("chat_models", lambda: ChatGrant.objects.all(), ("model_id",), ("model",)),
        Table(
            "rules",
            lambda: PromptRule.objects.all(),
            ("id", "kind", "action", "text", "enabled", "created_at", "updated_at"),
        ),
        Table(
            "chat_calls",
            lambda: ChatCall.objects.all(),
            ("id", "user", "key", "model", "outcome", "finish", "prompt_chars", "tokens_in", "tokens_out", "estimated",
             "first_byte_ms", "total_ms", "prompt", "answer", "created_at"),
        ),
        Table("loras", lambda: LoraGrant.objects.all(), ("lora_id",), ("lora",)),
    ]  # fmt: skip


def _paged(rows: QuerySet[Any], *fields: str) -> Iterator[dict[str, Any]]:
    rows, last = rows.order_by("pk"), None
    while True:
        found = list((rows if last is None else rows.filter(pk__gt=last)).values("pk", *fields)[:CHUNK])
        if not found:
            return
        last = found[-1]["pk"]
        yield from found


def place_of(generation: UUID, index: int, file: str) -> str:
    """A picture's name in the zip."""
    return f"images/{generation}-{index + 1}{os.path.splitext(file)[1]}"


def _write_text(bundle: zipfile.ZipFile, name: str, text: str) -> None:
    bundle.writestr(_entry(name), text)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=timezone.now().timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    return entry


def _json_line(table: Table, row: tuple[Any, ...]) -> bytes:
    return orjson.dumps(dict(zip(table.header, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE)


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, list | Mapping) else value

"""The auditor: compares the clients' own append-only log with rows, files and ledger."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row


@dataclass(frozen=True)
class Audit:
    """Raw counts. `faults` is what must be empty."""

    sent: int
    accepted: int
    rows: int
    succeeded: int
    images_asked: int
    images_stored: int
    ledger_images: int
    faults: list[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_log(file: Path) -> list[dict[str, Any]]:
    """One JSON object per line, as the clients wrote them."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def audit(*, log: Path, url: str, media: Path, since: str = "-infinity", before: Collection[str] = ()) -> Audit:
    """Look at everything that was created after `since`. `url` is the database administrator's.

    `before` are the tenants of earlier runs on the same servers, whose files and counters are no concern of this one.
    """
    sent = read_log(log)
    accepted = [entry for entry in sent if entry["status"] == 202]
    with psycopg.connect(url, row_factory=dict_row) as connection:
        rows = connection.execute("SELECT * FROM generation_generation WHERE created_at > %s", (since,)).fetchall()
        images = connection.execute(
            "SELECT i.*, r.id AS receipt FROM generation_image i LEFT JOIN generation_receipt r ON r.image_id = i.id"
            " WHERE i.created_at > %s",
            (since,),
        ).fetchall()
        entries = connection.execute(
            "SELECT * FROM accounts_ledgerentry WHERE created_at > %s AND metric = 'images'", (since,)
        ).fetchall()
        counters = connection.execute(
            "SELECT * FROM accounts_counter WHERE scope = 'tenant' AND period = 'day' AND tenant_id <> ALL(%s::uuid[])",
            (list(before),),
        ).fetchall()
    faults = [
        *_check_rows(accepted, rows),
        *_check_images(rows, images, media),
        *_check_files(images, media, before),
        *_check_ledger(rows, entries),
        *_check_counters(counters, images, entries),
    ]
    return Audit(
        sent=len(sent),
        accepted=len(accepted),
        rows=len(rows),
        succeeded=sum(row["status"] == "succeeded" for row in rows),
        images_asked=sum(entry["n"] for entry in accepted),
        images_stored=len(images),
        ledger_images=sum(entry["amount"] for entry in entries),
        faults=faults,
    )


def _check_rows(accepted: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    """Nothing accepted is lost, nothing is there that nobody sent, and each succeeded as it was asked for."""
    found = {str(row["id"]): row for row in rows}
    faults = [
        f"answered twice: {name}" for name, times in Counter(entry["id"] for entry in accepted).items() if times > 1
    ]
    for entry in accepted:
        row = found.pop(entry["id"], None)
        if row is None:
            faults.append(f"lost: {entry['id']}")
        elif row["status"] != "succeeded":
            faults.append(
                f"{row['status']}: {entry['id']} {row['error_code']} lost={row['lost']} attempt={row['attempt']}"
            )
        elif (row["n"], row["done"]) != (entry["n"], entry["n"]):
            faults.append(f"asked for {entry['n']}, n={row['n']} done={row['done']}: {entry['id']}")
        elif str(row["tenant_id"]) != entry["tenant"]:
            faults.append(f"in another tenant: {entry['id']}")
    return faults + [f"nobody asked for it: {name}" for name in found]


def _check_images(rows: list[dict[str, Any]], images: list[dict[str, Any]], media: Path) -> list[str]:
    """Each image once, with its file's hash, a WebP thumbnail and a receipt."""
    faults = []
    indexes: dict[str, list[int]] = {}
    for image in images:
        indexes.setdefault(str(image["generation_id"]), []).append(image["index"])
        file, thumbnail = media / image["file"], media / image["thumbnail"]
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != image["sha256"]:
            faults.append(f"file is missing or another one: {image['file']}")
        if not thumbnail.is_file() or thumbnail.read_bytes()[8:12] != b"WEBP":
            faults.append(f"thumbnail is missing: {image['thumbnail']}")
        if image["receipt"] is None:
            faults.append(f"no receipt: {image['id']}")
    for row in rows:
        if row["status"] == "succeeded" and sorted(indexes.get(str(row["id"]), [])) != list(range(row["n"])):
            faults.append(f"images {indexes.get(str(row['id']))} of {row['n']}: {row['id']}")
    return faults


def _check_files(images: list[dict[str, Any]], media: Path, before: Collection[str]) -> list[str]:
    """No file without a row (the janitor's work is done by now)."""
    known = {image[name] for image in images for name in ("file", "thumbnail")}
    there = [path.relative_to(media) for path in media.rglob("*") if path.is_file()]
    ours = {str(path) for path in there if path.parts[0] not in before}
    return [f"file without a row: {name}" for name in sorted(ours - known)]


def _check_ledger(rows: list[dict[str, Any]], entries: list[dict[str, Any]]) -> list[str]:
    """Each generation reserved once and settled once; in the end it cost as many images as it has."""
    faults = []
    by_ref: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        by_ref.setdefault(str(entry["ref"]), []).append(entry)
    for row in rows:
        own = by_ref.pop(str(row["id"]), [])
        if sorted(entry["kind"] for entry in own) != ["reserve", "settle"]:
            faults.append(f"ledger {[entry['kind'] for entry in own]}: {row['id']}")
        if sum(entry["amount"] for entry in own) != row["n"]:
            faults.append(f"charged {sum(entry['amount'] for entry in own)} images for {row['n']}: {row['id']}")
    return faults + [f"charged for nothing: {ref}" for ref in by_ref]


def _check_counters(
    counters: list[dict[str, Any]], images: list[dict[str, Any]], entries: list[dict[str, Any]]
) -> list[str]:
    """A tenant's counter says what its ledger and its images say, and nothing stays reserved."""
    faults = []
    stored = Counter(str(image["tenant_id"]) for image in images)
    for counter in counters:
        if counter["reserved"] != 0:
            faults.append(f"still reserved: {counter['reserved']} {counter['metric']} of {counter['tenant_id']}")
    used: Counter[str] = Counter()
    for counter in counters:
        if counter["metric"] == "images":
            used[str(counter["tenant_id"])] += counter["used"]
    if entries and used != stored:
        faults.append(f"counters {dict(used)}, images {dict(stored)}")
    return faults

"""Exports: everything that is the tenant's own and nothing else, in bounded memory, once, for a week."""

from __future__ import annotations

import csv
import io
import json
import stat
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from PIL import Image as Picture

from accounts.domain import errands
from accounts.domain.callers import caller_of_member
from accounts.domain.errands import claim_errand, run_errand
from accounts.domain.exports import fetch_export, list_exports, request_export
from accounts.domain.tenants import change_tenant
from accounts.enums import ErrandKind, Role
from accounts.errors import ExportUnderWay, NotAllowed, NotFound
from accounts.models import ApiKey, Errand, Export, KeySecret, Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain import export as export_module
from generation.domain import pace
from generation.domain.finish import finish_slice
from generation.domain.styles import make_style
from generation.models import Image
from tests.factories import Person, make_member
from tests.generation.domain.desk import claim, draw, submit
from tests.mails import waiting_mails

AsWorker = Callable[[], AbstractContextManager[None]]
FORMULA = '=HYPERLINK("http://evil.example","x")'


def drawn(person: Person, media: Path, as_worker: AsWorker, *, data: bytes = b"picture", **fields: Any) -> UUID:
    """A generation with its files."""
    identity = submit(person.caller, **fields)
    with as_worker():
        taken = claim()
        assert taken is not None
        (row,) = taken.rows
        images = draw(row)
        for image in images:
            for name in (image.file, image.thumbnail):
                (media / name).parent.mkdir(parents=True, exist_ok=True)
                (media / name).write_bytes(data)
        assert finish_slice(row=row, images=images, run_ms=10.0) == "finished"
    return identity


def ask(person: Person) -> UUID:
    with in_tenant(person.tenant.pk):
        export: UUID = request_export(by=person.caller).pk
        return export


def work(as_worker: AsWorker) -> list[str]:
    with as_worker():
        found = []
        while (claimed := claim_errand("test", slow=True)) is not None:
            found.append(run_errand(claimed))
        return found


def row_of(export: UUID) -> Export:
    with across_tenants():
        row: Export = Export.objects.get(pk=export)
        return row


def opened(media: Path, export: UUID) -> zipfile.ZipFile:
    return zipfile.ZipFile(media / row_of(export).file)


def lines(bundle: zipfile.ZipFile, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bundle.read(f"{name}.jsonl").splitlines()]


def test_everything_of_the_tenant_and_nothing_else(
    alice: Person, bob: Person, mallory: Person, media: Path, as_worker: AsWorker
) -> None:
    mine = drawn(alice, media, as_worker, prompt=FORMULA, n=2)
    theirs = drawn(mallory, media, as_worker, prompt="mallory's own")
    out = io.BytesIO()
    Picture.new("RGB", (20, 20)).save(out, "PNG")
    with in_tenant(alice.tenant.pk):
        make_style(by=alice.caller, name="Ink", prompt="ink, {prompt}")
        change_tenant(by=alice.caller, address=None, logo=out.getvalue())
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(note="staff think so")
    export = ask(alice)
    assert work(as_worker) == ["done"]
    row = row_of(export)
    assert (row.status, row.done, row.total) == ("ready", 2, 2)
    path = media / row.file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_size == row.bytes
    assert [file.name for file in path.parent.iterdir()] == [path.name]

    with opened(media, export) as bundle:
        assert bundle.testzip() is None
        names = set(bundle.namelist())
        tables = {"members", "invitations", "keys", "budgets", "ledger", "audit", "exports", "generations", "images",
                  "inputs", "models", "styles", "loras", "rules", "chat_calls", "chat_models"}  # fmt: skip
        wanted = {"README.txt", "settings.json", "logo.webp", "receipts.jsonl"}
        wanted |= {f"{table}.{ending}" for table in tables for ending in ("csv", "jsonl")}
        wanted |= {f"images/{mine}-1.png", f"images/{mine}-2.png"}
        assert names == wanted
        assert all(bundle.getinfo(name).compress_type == zipfile.ZIP_STORED for name in names if name[:7] == "images/")
        assert bundle.read(f"images/{mine}-1.png") == b"picture"
        assert {line["file"] for line in lines(bundle, "images")} == {f"images/{mine}-{n}.png" for n in (1, 2)}
        assert [line["prompt"] for line in lines(bundle, "generations")] == [FORMULA]
        cells = list(csv.DictReader(io.StringIO(bundle.read("generations.csv").decode(), newline="")))
        assert [cell["prompt"] for cell in cells] == [f"'{FORMULA}"]
        assert {line["email"] for line in lines(bundle, "members")} == {alice.user.email, bob.user.email}
        assert {line["prefix"] for line in lines(bundle, "keys")} == {alice.key.prefix, bob.key.prefix}
        assert len(lines(bundle, "receipts")) == 2 and lines(bundle, "receipts")[0]["signature"]
        assert sum(line["amount"] for line in lines(bundle, "ledger") if line["metric"] == "images") == 2
        assert "export.asked" in {line["action"] for line in lines(bundle, "audit")}
        assert [line["prompt"] for line in lines(bundle, "styles")] == ["ink, {prompt}"]
        assert json.loads(bundle.read("settings.json"))["name"] == "A"
        everything = b"".join(bundle.read(name) for name in names)
    for secret in (alice.secret, sha256(alice.secret.encode()).hexdigest(), "staff think so", mallory.user.email,
                   "mallory's own", str(theirs), str(media)):  # fmt: skip
        assert secret.encode() not in everything, secret
    (mail,) = waiting_mails("export_ready")
    assert mail["to"] == alice.user.email


def test_only_owners_ask_and_fetch_and_only_their_own(
    alice: Person, bob: Person, mallory: Person, media: Path, as_worker: AsWorker
) -> None:
    admin = make_member(alice.tenant, Role.ADMIN)
    callers = [bob.caller, caller_of_member(user_id=admin.pk, tenant_id=alice.tenant.pk)]
    for caller in callers:
        with in_tenant(alice.tenant.pk), pytest.raises(NotAllowed):
            request_export(by=caller)
    export = ask(alice)
    with in_tenant(alice.tenant.pk):
        with pytest.raises(NotFound):
            fetch_export(by=alice.caller, export_id=export)  # not ready
        with pytest.raises(ExportUnderWay):
            request_export(by=alice.caller)
    work(as_worker)
    with in_tenant(alice.tenant.pk):
        assert fetch_export(by=alice.caller, export_id=export).pk == export
        with pytest.raises(NotAllowed):
            fetch_export(by=callers[1], export_id=export)
    with in_tenant(mallory.tenant.pk), pytest.raises(NotFound):
        fetch_export(by=mallory.caller, export_id=export)


def test_a_new_one_takes_the_old_ones_place_and_a_week_ends_it(alice: Person, media: Path, as_worker: AsWorker) -> None:
    first = ask(alice)
    work(as_worker)
    old = media / row_of(first).file
    second = ask(alice)
    assert work(as_worker) == ["done", "done"]  # the second, and the end of the first
    assert not old.exists() and (row_of(first).status, row_of(first).file) == ("expired", "")
    row = row_of(second)
    assert row.expires_at is not None and timedelta(days=6) < row.expires_at - timezone.now() <= timedelta(days=7)
    with across_tenants():
        Export.objects.filter(pk=second).update(expires_at=timezone.now())
    with in_tenant(alice.tenant.pk), pytest.raises(NotFound):
        fetch_export(by=alice.caller, export_id=second)  # not a second longer, whether or not the errand has come
    with across_tenants():
        Errand.objects.filter(kind=ErrandKind.EXPORT).update(due_at=timezone.now())
    assert set(work(as_worker)) == {"done"}
    assert not (media / row.file).exists() and row_of(second).status == "expired"
    with in_tenant(alice.tenant.pk):
        page = list_exports(by=alice.caller, cursor=None, limit=10)
        assert [export.pk for export in page.results] == [second, first]


def test_memory_does_not_grow_with_the_pictures(alice: Person, media: Path, as_worker: AsWorker) -> None:
    drawn(alice, media, as_worker, data=b"\x00" * 40_000_000, n=2)
    export = ask(alice)
    tracemalloc.start()
    try:
        assert work(as_worker) == ["done"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert row_of(export).bytes > 80_000_000
    assert peak < 10_000_000, f"{peak:,} bytes"


def test_removed_pictures_are_left_out(alice: Person, media: Path, as_worker: AsWorker) -> None:
    drawn(alice, media, as_worker, n=2)
    with across_tenants():
        (media / Image.objects.order_by("pk").values_list("file", flat=True)[0]).unlink()
    export = ask(alice)
    work(as_worker)
    assert (row_of(export).status, row_of(export).done, row_of(export).total) == ("ready", 1, 2)


def test_a_full_disk_is_said_at_once(
    alice: Person, media: Path, as_worker: AsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SPARE_BYTES", 2**62)
    export = ask(alice)
    assert work(as_worker) == ["done"]
    assert row_of(export).status == "failed" and "no room" in row_of(export).error
    monkeypatch.undo()
    again = ask(alice)
    work(as_worker)
    assert row_of(again).status == "ready"


def test_what_goes_wrong_for_good_is_said_and_another_may_be_asked(
    alice: Person, media: Path, as_worker: AsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*args: object) -> int:
        raise OSError("disk")

    monkeypatch.setattr(export_module.Bundle, "write_all", break_down)
    export = ask(alice)
    assert work(as_worker) == ["retry"]
    assert row_of(export).status == "running"
    with across_tenants():
        Errand.objects.update(attempt=errands.MAX_ATTEMPTS - 1, due_at=timezone.now())
    assert work(as_worker) == ["failed"]
    assert row_of(export).status == "failed" and "our side" in row_of(export).error
    assert list((media / str(alice.tenant.pk) / "exports").iterdir()) == []
    monkeypatch.undo()
    lost = ask(alice)
    with across_tenants():
        Errand.objects.filter(ref=lost).update(failed_at=timezone.now())  # its worker was lost eight times
    again = ask(alice)
    assert row_of(lost).status == "failed"
    work(as_worker)
    assert row_of(again).status == "ready"


def test_keys_of_an_export_are_no_credentials(alice: Person, media: Path, as_worker: AsWorker) -> None:
    export = ask(alice)
    work(as_worker)
    with across_tenants():
        hashes = list(KeySecret.objects.values_list("sha256", flat=True))
        fields = {field.name for field in ApiKey._meta.concrete_fields}
    with opened(media, export) as bundle:
        header = bundle.read("keys.csv").decode().splitlines()[0].split(",")
        assert not set(hashes) & set(bundle.read("keys.jsonl").decode().split('"'))
    # A new column of keys is either named here or belongs into the export.
    assert fields - {"tenant", "user"} == set(header) - {"user"}

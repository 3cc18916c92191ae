"""Backups: everything is in them, once; what is cut off or damaged is seen; nothing good is ever lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest

from accounts.domain.media import write_atomic
from accounts.models import Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.models import Image
from qwenstudio.backup import BackupError, disk
from qwenstudio.backup.copying import walk
from qwenstudio.backup.database import load_dump, open_snapshot
from qwenstudio.backup.folder import Folder, newest_snapshot
from qwenstudio.backup.keys import Keys, missing_keys
from qwenstudio.backup.lists import Entry, order, read_list, side_by_side
from qwenstudio.backup.make import Wanted, back_up
from qwenstudio.backup.manifest import Manifest
from qwenstudio.backup.programs import find_for
from qwenstudio.backup.progress import Progress
from qwenstudio.backup.verify import verify
from qwenstudio.embedded import Services
from tests.factories import Person
from tests.qwenstudio.backup.house import KEYS, AsWorker, all_rows, contents, modes, paint, source_of, url_in


def make(root: Path, services: Services, media: Path, **wanted: Any) -> Manifest:
    return back_up(root, source=source_of(services, media), wanted=Wanted(**wanted), progress=Progress())


def listed(root: Path, manifest: Manifest) -> dict[str, Entry]:
    return {entry.path: entry for entry in read_list(root / "snapshots" / manifest.name / "media.jsonl")}


def test_everything_is_in_it(house: Path, tmp_path: Path, services: Services, alice: Person) -> None:
    write_atomic(f"{alice.tenant.pk}/logo-1.webp", b"logo")
    write_atomic(f"{alice.tenant.pk}/exports/1.zip", b"an export")
    (house / ".0123456789abcdef.tmp").write_bytes(b"under way")
    with in_tenant(alice.tenant.pk):
        Tenant.objects.filter(pk=alice.tenant.pk).update(logo=f"{alice.tenant.pk}/logo-1.webp")
    manifest = make(tmp_path / "b", services, house)

    # The administrator, whom no policy holds, counts what the staff's role has dumped.
    assert manifest.rows == all_rows(services.superuser_url)
    assert manifest.rows["generation_image"] == 4 and manifest.rows["accounts_tenant"] == 2
    wanted = {path: data for path, data in contents(house).items() if "exports" not in path and "tmp" not in path}
    found = listed(tmp_path / "b", manifest)
    assert found.keys() == wanted.keys() and len(wanted) == 9
    store = tmp_path / "b" / "files"
    assert all((store / e.sha256[:2] / e.sha256).read_bytes() == wanted[path] for path, e in found.items())
    assert (manifest.media.files, manifest.media.missing, manifest.media.damaged) == (9, 0, 0)
    assert manifest.settings == {"STUDIO_URL": "http://studio.test"}
    assert manifest.checkpoints["demo"].endswith("/sleeping")
    assert (tmp_path / "b" / "snapshots" / manifest.name / "models.toml").is_file()
    assert newest_snapshot(tmp_path / "b") == manifest
    assert modes(tmp_path / "b") == {("folder", 0o700), ("file", 0o600)}
    assert not (tmp_path / "b" / "keys").exists()
    everything = b"".join(contents(tmp_path / "b").values())
    assert KEYS.secret_key.encode() not in everything and KEYS.encryption_keys[0].encode() not in everything


def test_a_second_one_copies_what_is_new(
    house: Path, tmp_path: Path, services: Services, alice: Person, as_worker: AsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(tmp_path / "b", services, house)
    assert first.media.copied == 7  # the two thumbnails of alice's are one file
    new = paint(alice, as_worker, data=b"new")
    read = []
    copy = disk.copy_hashing
    monkeypatch.setattr("qwenstudio.backup.store.copy_hashing", lambda path, out: read.append(path) or copy(path, out))
    second = make(tmp_path / "b", services, house)
    assert (second.media.copied, second.media.files) == (2, 10)
    assert len(read) == 2 and all(str(new) in path.name for path in read), "known files are not even read"
    assert verify(tmp_path / "b", progress=Progress()).problems == []


def test_gone_and_damaged_files_are_noted(
    house: Path, tmp_path: Path, services: Services, alice: Person, bob: Person
) -> None:
    with in_tenant(alice.tenant.pk):
        first, second = (image.file for image in Image.objects.filter(generation__user=alice.user.pk))
    (house / first).unlink()
    (house / second).write_bytes(b"x" * (house / second).stat().st_size)
    manifest = make(tmp_path / "b", services, house)
    assert (manifest.media.missing, manifest.media.damaged) == (1, 1)
    assert set(manifest.media.names) == {f"missing: {first}", f"damaged: {second}"}


def test_an_earlier_backup_knows_the_right_bytes(
    house: Path, tmp_path: Path, services: Services, alice: Person
) -> None:
    before = listed(tmp_path / "b", make(tmp_path / "b", services, house))
    with in_tenant(alice.tenant.pk):
        first, second = (image.file for image in Image.objects.filter(generation__user=alice.user.pk))
    (house / first).unlink()
    (house / second).write_bytes(b"rotten")
    manifest = make(tmp_path / "b", services, house)
    after = listed(tmp_path / "b", manifest)
    assert (manifest.media.missing, manifest.media.copied) == (0, 0)
    assert (after[first].sha256, after[second].sha256) == (before[first].sha256, before[second].sha256)


def test_rows_that_the_role_cannot_see_stop_it(house: Path, tmp_path: Path, services: Services, owner_sql: Any) -> None:
    """`--enable-row-security` would leave them out without a word."""
    owner_sql.execute("CREATE TABLE forgotten (id int, tenant_id uuid)")
    try:
        owner_sql.execute("ALTER TABLE forgotten ENABLE ROW LEVEL SECURITY")
        owner_sql.execute("CREATE POLICY tenant ON forgotten TO studio_web USING (true)")
        with pytest.raises(BackupError, match="does not see every row of forgotten"):
            make(tmp_path / "b", services, house)
        owner_sql.execute("CREATE POLICY half ON forgotten TO studio_staff USING (id > 3)")
        with pytest.raises(BackupError, match="does not see every row of forgotten"):
            make(tmp_path / "b", services, house)
        owner_sql.execute("CREATE POLICY whole ON forgotten TO studio_staff USING (true)")
        make(tmp_path / "b", services, house)
        owner_sql.execute("CREATE POLICY less ON forgotten AS RESTRICTIVE TO studio_staff USING (id > 3)")
        with pytest.raises(BackupError, match="does not see every row of forgotten"):
            make(tmp_path / "b", services, house)
    finally:
        owner_sql.execute("DROP TABLE forgotten")
    assert len(Folder.find(tmp_path / "b").names()) == 1
    assert not list((tmp_path / "b" / "snapshots").glob("*.partial"))


def test_the_dump_is_of_one_moment(
    house: Path, tmp_path: Path, services: Services, alice: Person, as_worker: AsWorker, empty: str
) -> None:
    """Somebody draws while the rows have been counted and the dump has not begun."""

    class Busy(Progress):
        def step(self, text: str) -> None:
            if text == "dumping the database":
                paint(alice, as_worker, data=b"meanwhile")
            if text == "looking for files":
                with in_tenant(alice.tenant.pk):
                    image = Image.objects.filter(generation__user=alice.user.pk).earliest("id")
                (house / image.file).unlink()

    before = all_rows(services.superuser_url)
    root = tmp_path / "b"
    manifest = back_up(root, source=source_of(services, house), wanted=Wanted(), progress=Busy())
    assert manifest.rows == before != all_rows(services.superuser_url)
    assert manifest.media.missing == 1
    assert len(listed(root, manifest)) == 9, "8 - 1 deleted + 2 that came meanwhile, which do no harm"
    owner_url = url_in(services.urls["owner"], empty)
    load_dump(owner_url, root / "snapshots" / manifest.name / "database.dump", find_for(manifest.pg_dump))
    assert all_rows(url_in(services.superuser_url, empty)) == before


def test_keys_are_apart(house: Path, tmp_path: Path, services: Services) -> None:
    root = tmp_path / "b"
    manifest = make(root, services, house, keys=tmp_path / "stick")
    assert manifest.keys_file == str(tmp_path / "stick" / f"{manifest.name}.json")
    assert modes(tmp_path / "stick") == {("file", 0o600)}
    assert (tmp_path / "stick").stat().st_mode & 0o777 == 0o700
    again = make(root, services, house, keys=tmp_path / "stick")
    assert again.keys_file == manifest.keys_file, "the same keys are kept once"
    other = Keys("other", (), ("x", "k" * 32))
    third = back_up(
        root, source=source_of(services, house, keys=other), wanted=Wanted(keys=tmp_path / "stick"), progress=Progress()
    )
    assert third.keys_file != manifest.keys_file and len(contents(tmp_path / "stick")) == 2
    assert missing_keys(manifest.keys, KEYS) == []
    assert missing_keys(manifest.keys, Keys("new", (KEYS.secret_key,), other.encryption_keys)) == []
    assert len(missing_keys(manifest.keys, Keys("new", (), ("y",)))) == 2


def test_thinning_keeps_what_is_named(house: Path, tmp_path: Path, services: Services, alice: Person) -> None:
    root = tmp_path / "b"
    write_atomic("old", b"only in the first")
    first = make(root, services, house)
    (house / "old").unlink()
    second = make(root, services, house)
    stored = len(contents(root / "files"))
    third = make(root, services, house, keep=2)
    assert Folder.find(root).names() == [second.name, third.name]
    assert len(contents(root / "files")) == stored - 1
    assert verify(root, progress=Progress()).problems == []
    # A list that cannot be trusted names files all the same: none goes.
    write_atomic("older", b"only in the fourth")
    fourth = make(root, services, house)
    (house / "older").unlink()
    path = root / "snapshots" / fourth.name / "media.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"sha256": "', b'"sha256": "0', 1))
    stored = len(contents(root / "files"))
    with pytest.raises(BackupError, match=r"was made, but older ones were not thinned: .*media\.jsonl is damaged"):
        make(root, services, house, keep=2)
    assert len(contents(root / "files")) == stored
    assert first.name not in Folder.find(root).names()


def test_a_full_disk_leaves_the_last_good_one(
    house: Path, tmp_path: Path, services: Services, alice: Person, as_worker: AsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "b"
    good = make(root, services, house)
    paint(alice, as_worker, data=b"new")
    usage = shutil.disk_usage(root)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(BackupError, match=rf"too small for 2 new files: it needs 64\.0 MiB, 1,000 B.*{good.name}"):
            make(root, services, house)
    with monkeypatch.context() as patch:

        def full(path: Path, out: Any) -> tuple[str, int]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        patch.setattr("qwenstudio.backup.store.copy_hashing", full)
        with pytest.raises(BackupError, match=rf"is full .* The last good backup is {good.name}"):
            make(root, services, house)
    assert Folder.find(root).names() == [good.name]
    assert modes(root) == {("folder", 0o700), ("file", 0o600)} and not list(root.rglob("*.tmp"))
    assert verify(root, progress=Progress()).problems == []
    assert make(root, services, house).media.copied == 2


def test_one_at_a_time_and_only_into_its_own_folder(house: Path, tmp_path: Path, services: Services) -> None:
    root = tmp_path / "b"
    with Folder.create(root).lock(alone=True), pytest.raises(BackupError, match=rf"process {os.getpid()}"):
        make(root, services, house)
    with pytest.raises(BackupError, match="holds something"):
        make(house, services, house)
    with pytest.raises(BackupError, match="no backup folder"):
        Folder.find(tmp_path)
    make(root, services, house)


def test_a_flipped_byte_is_found(house: Path, tmp_path: Path, services: Services) -> None:
    root = tmp_path / "b"
    manifest = make(root, services, house)
    folder = root / "snapshots" / manifest.name
    for path in (folder / "database.dump", folder / "media.jsonl", folder / "models.toml", folder / "manifest.json"):
        whole = path.read_bytes()
        path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        (problem,) = verify(root, progress=Progress()).problems
        assert path.name in problem and "damaged" in problem
        path.write_bytes(whole)
    name, entry = next(iter(listed(root, manifest).items()))
    blob = root / "files" / entry.sha256[:2] / entry.sha256
    whole = blob.read_bytes()
    blob.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    (problem,) = verify(root, progress=Progress()).problems
    assert f"{manifest.name}: {name} is damaged" in problem
    # It has lost its name, so that the next backup stores a good one.
    assert make(root, services, house).media.copied == 1
    assert blob.read_bytes() == whole
    assert verify(root, progress=Progress()).problems == []


def test_a_damaged_list_does_not_stop_the_next_one(house: Path, tmp_path: Path, services: Services) -> None:
    root = tmp_path / "b"
    manifest = make(root, services, house)
    (root / "snapshots" / manifest.name / "media.jsonl").write_bytes(b"{")
    assert make(root, services, house).media.files == manifest.media.files


def test_loras_are_stored_and_checkpoints_when_asked(
    house: Path, tmp_path: Path, services: Services, admin_sql: psycopg.Connection[tuple[object, ...]]
) -> None:
    checkpoint, lora = tmp_path / "models" / "mine", tmp_path / "models" / "fast.safetensors"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model_index.json").write_text("{}")
    lora.write_bytes(b"lora")
    spec = {"family": "qwen-image", "path": str(checkpoint), "scheduler": {"shift": 1.0}}
    spec["turbo_lora"] = {"path": str(lora), "scale": 1.0}
    admin_sql.execute(
        "INSERT INTO generation_model (slug, title, pool, spec, enabled, public, position, created_at, updated_at)"
        " VALUES ('mine', 'Mine', 'x', %s, true, true, 1, now(), now())",
        [json.dumps(spec)],
    )
    root = tmp_path / "b"
    manifest = make(root, services, house)
    assert (manifest.models.files, manifest.checkpoints["mine"]) == (1, str(checkpoint))
    manifest = make(root, services, house, models=True)
    assert (manifest.models.files, manifest.models.copied) == (2, 1)
    lora.unlink()
    manifest = make(root, services, house)
    assert (manifest.models.files, manifest.models.missing) == (0, 1)
    admin_sql.execute("UPDATE generation_model SET enabled = false WHERE slug = 'mine'")
    assert make(root, services, house).models.missing == 0, "it is not on offer"


def test_lists_are_read_side_by_side(tmp_path: Path) -> None:
    for name in ("a/b", "a-b", "a.b", "a/b-c/d", "ab", "ä/x", "a/bc", "Z/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if not (tmp_path / name).exists() and name != "a/b":
            (tmp_path / name).write_bytes(name.encode())
    paths = [entry.path for entry in walk(tmp_path)]
    assert paths == sorted(paths, key=order) and len(paths) == 7
    left, right = [Entry("a"), Entry("b/c")], [Entry("b/c"), Entry("b-c")]
    assert [path for path, _ in side_by_side(left, right)] == ["a", "b/c", "b-c"]


def test_the_database_sorts_as_the_lists_do(house: Path, tmp_path: Path, services: Services, alice: Person) -> None:
    """A logo's path has a hyphen where a member's folder has a slash; with another order rows would be overlooked."""
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(logo=f"{alice.tenant.pk}-logo.webp")
    write_atomic(f"{alice.tenant.pk}-logo.webp", b"logo")
    with open_snapshot(services.urls["owner"]) as snapshot:
        paths = [entry.path for entry in snapshot.named()]
    assert paths == sorted(paths, key=order) and len(paths) == 9

"""Restoring: the same studio on an empty server, or a clear refusal and nothing changed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings

from accounts.domain.exports import request_export
from accounts.models import Export, User
from accounts.tenancy import in_tenant
from qwenstudio.backup import BackupError
from qwenstudio.backup.keys import Keys
from qwenstudio.backup.make import Wanted, back_up
from qwenstudio.backup.manifest import MANIFEST, Manifest, write_manifest
from qwenstudio.backup.progress import Progress
from qwenstudio.backup.restore import Choice, Restored, Target, restore
from qwenstudio.embedded import Services, start
from qwenstudio.management.commands.restore import known_migrations
from tests.factories import Person
from tests.qwenstudio.backup.house import (
    KEYS,
    all_rows,
    contents,
    drop_database,
    environment,
    make_database,
    modes,
    source_of,
    url_in,
)
from tests.qwenstudio.up import users_environment

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "correct horse battery"


def backup(root: Path, services: Services, media: Path, *, keys: Keys = KEYS, **wanted: Any) -> Manifest:
    return back_up(root, source=source_of(services, media, keys=keys), wanted=Wanted(**wanted), progress=Progress())


def target_of(services: Services, database: str, media: Path, **fields: Any) -> Target:
    values: dict[str, Any] = {
        "owner_url": url_in(services.urls["owner"], database),
        "media": media,
        "release": "r1",
        "known_migrations": known_migrations(),
        "keys": KEYS,
        "migrate": lambda: None,
        "rebuild": lambda: None,
    }
    return Target(**values | fields)


def into(root: Path, target: Target, **choice: Any) -> Restored:
    return restore(root, target=target, choice=Choice(**choice), progress=Progress())


def manage(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=env, capture_output=True, text=True)


def test_the_same_studio_on_an_empty_server(
    house: Path, tmp_path: Path, services: Services, empty: str, alice: Person, mallory: Person
) -> None:
    """By the commands, as an operator types them, and then by HTTP."""
    alice.user.set_password(PASSWORD)
    alice.user.save()
    alice.client.force_login(User.objects.get(pk=alice.user.pk))
    with in_tenant(alice.tenant.pk):
        export = request_export(by=alice.caller)
        Export.objects.filter(pk=export.pk).update(status="ready", file=f"{alice.tenant.pk}/exports/{export.pk}.zip")
    keys = Keys(settings.SECRET_KEY, (), tuple(settings.STUDIO_ENCRYPTION_KEYS))
    here = environment(services, "studio", media=house, var=tmp_path / "var", keys=keys)
    root = tmp_path / "backups"
    done = manage("backup", str(root), "--keep", "3", "--with-keys", env=here)
    assert done.returncode == 0, done.stderr
    assert "8 pictures and other files" in done.stdout and done.stderr == ""
    listing = manage("backup", str(root), "--list", env=here)
    assert listing.returncode == 0 and "8 files" in listing.stdout, listing.stderr
    verified = manage("backup", "--verify", str(root), env=here)
    assert verified.returncode == 0 and "1 backups, 7 files" in verified.stdout, verified.stderr
    noted = json.loads((tmp_path / "var" / "backup.json").read_text())
    assert noted["succeeded_at"] and noted["verified_at"] and not (noted["error"] or noted["damage"])
    assert (tmp_path / "var" / "backup.json").stat().st_mode & 0o777 == 0o644, "the studio's account reads it"
    before = all_rows(services.superuser_url)

    there = environment(services, empty, media=tmp_path / "new media", var=tmp_path / "var2", keys=keys)
    done = manage("restore", str(root), env=there)
    assert done.returncode == 0, done.stderr
    assert "8 files written" in done.stdout and "1 exports and zips have expired" in done.stdout
    superuser = url_in(services.superuser_url, empty)
    assert all_rows(superuser) == before
    for table, rows in before.items():
        assert [table, f"{rows:,}", f"{rows:,}"] in [line.split() for line in done.stdout.splitlines()]
    assert contents(tmp_path / "new media") == contents(house)
    assert modes(tmp_path / "new media") == {("folder", 0o700), ("file", 0o600)}
    with psycopg.connect(superuser) as admin:
        assert admin.execute("SELECT status, file FROM accounts_export").fetchall() == [("expired", "")]
        assert admin.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE '%restore%'").fetchall() == []
        owners = admin.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
            " UNION SELECT DISTINCT relforcerowsecurity::text FROM pg_class WHERE relname = 'generation_image'"
        ).fetchall()
        assert sorted(owners) == [("studio_owner",), ("true",)]
    # Roles see what they saw: web nothing without a scope.
    with psycopg.connect(url_in(services.urls["web"], empty)) as web, pytest.raises(psycopg.Error, match="no tenant"):
        web.execute("SELECT * FROM generation_image")
    with psycopg.connect(url_in(services.urls["owner"], empty)) as owner:
        assert owner.execute("SELECT count(*) FROM generation_image").fetchone() == (0,)

    session = alice.client.cookies["studio_session"].value
    line = [sys.executable, "-m", "tests.qwenstudio.backup.probe", alice.user.email, PASSWORD, alice.secret, session]
    probe = subprocess.run(line, cwd=ROOT, env=there, capture_output=True, text=True)
    assert probe.returncode == 0, probe.stderr
    assert json.loads(probe.stdout.splitlines()[-1]) == {
        "signed_in": 200,
        "old_session": 200,
        "key": 200,
        "pictures": ["alice's0", "alice's1", "bob's0"],
        "foreign": 401,
    }
    # The copy can be migrated, written to, and backed up itself; what it stores is all there already.
    assert manage("migrate", "--check", env=there).returncode == 0
    done = manage("backup", str(root), "--json", env=there)
    assert json.loads(done.stdout)["media"]["copied"] == 0, done.stderr

    # Twice is refused, and changes nothing.
    used = all_rows(superuser)
    done = manage("restore", str(root), env=there)
    assert done.returncode == 1 and "the database is not empty" in done.stderr
    assert all_rows(superuser) == used


def test_a_freshly_migrated_server_counts_as_empty(house: Path, tmp_path: Path, services: Services, empty: str) -> None:
    backup(tmp_path / "b", services, house)
    there = environment(services, empty, media=tmp_path / "m", var=tmp_path / "v")
    assert manage("migrate", "--verbosity", "0", env=there).returncode == 0
    assert manage("loadmodels", env=there).returncode == 0
    found = into(tmp_path / "b", target_of(services, empty, tmp_path / "m"))
    assert all_rows(url_in(services.superuser_url, empty)) == found.manifest.rows
    assert not found.differing and len(found.rows) > 30


def test_nginx_reads_what_was_restored_where_it_reads_the_folder(
    house: Path, tmp_path: Path, services: Services, empty: str
) -> None:
    """As the installer makes it: the folder hands its group on."""
    backup(tmp_path / "b", services, house)
    media = tmp_path / "new media"
    media.mkdir()
    if os.geteuid() == 0:
        os.chown(media, 1234, 2345)
    media.chmod(0o2750)
    into(tmp_path / "b", target_of(services, empty, media))
    below = [path.stat() for path in media.rglob("*")]
    assert {(stat.S_ISDIR(found.st_mode), stat.S_IMODE(found.st_mode)) for found in below} == {
        (True, 0o2750),
        (False, 0o640),
    }
    if os.geteuid() == 0:
        assert {(found.st_uid, found.st_gid) for found in below} == {(1234, 2345)}
    (media / "foreign").write_text("mine")
    again = into(tmp_path / "b", target_of(services, empty, media), set_aside=True)
    assert again.placed.written and stat.S_IMODE(media.stat().st_mode) == 0o2750
    assert {stat.S_IMODE(path.stat().st_mode) for path in media.rglob("*") if path.is_file()} == {0o640}


def test_lanes_are_this_machine_s_after_a_restore(
    house: Path, tmp_path: Path, services: Services, empty: str, owner_sql: Any
) -> None:
    """The backup's green served there; here everybody is led to blue, whose release the next release command notes."""
    owner_sql.execute("UPDATE generation_lane SET state = 'stopped'")
    owner_sql.execute("UPDATE generation_lane SET state = 'serving' WHERE name = 'green'")
    keys = Keys(settings.SECRET_KEY, (), tuple(settings.STUDIO_ENCRYPTION_KEYS))
    root = tmp_path / "b"
    try:
        backup(root, services, house, keys=keys)
    finally:
        owner_sql.execute("UPDATE generation_lane SET state = 'stopped'")
        owner_sql.execute("UPDATE generation_lane SET state = 'serving' WHERE name = 'blue'")
    there = environment(services, empty, media=tmp_path / "media", var=tmp_path / "var", keys=keys)
    done = manage("restore", str(root), env=there)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(url_in(services.superuser_url, empty)) as admin:
        rows = admin.execute("SELECT name, state, release_id FROM generation_lane ORDER BY name").fetchall()
    assert rows == [("blue", "serving", None), ("green", "stopped", None)]


def test_what_is_there_is_kept_aside(house: Path, tmp_path: Path, services: Services, empty: str) -> None:
    backup(tmp_path / "b", services, house)
    target = target_of(services, empty, tmp_path / "m")
    into(tmp_path / "b", target)
    (tmp_path / "m" / "other.png").write_bytes(b"only here")
    before = contents(tmp_path / "m")
    owner_url = target.owner_url
    with psycopg.connect(owner_url, autocommit=True) as owner:
        owner.execute("UPDATE accounts_user SET name = 'somebody here'")
    with pytest.raises(BackupError, match="the database is not empty"):
        into(tmp_path / "b", target)
    found = into(tmp_path / "b", target, set_aside=True)
    (aside,) = (path for path in tmp_path.iterdir() if path.name.startswith("m.before-"))
    assert contents(aside) == before
    with psycopg.connect(url_in(services.superuser_url, empty)) as admin:
        row = admin.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'before_restore%'").fetchone()
        assert row is not None
        names = admin.execute(f"SELECT DISTINCT name FROM {row[0]}.accounts_user").fetchall()
        assert names == [("somebody here",)]
        assert admin.execute("SELECT count(*) FROM public.accounts_user WHERE name = 'somebody here'").fetchone() == (
            0,
        )
    assert any(str(aside) in note for note in found.notes) and any(row[0] in note for note in found.notes)
    # And once more: the copy that lies aside is no hindrance, nor part of a backup.
    assert into(tmp_path / "b", target, set_aside=True).differing == []


def test_foreign_pictures_and_running_processes_stop_it(
    house: Path, tmp_path: Path, services: Services, empty: str
) -> None:
    backup(tmp_path / "b", services, house)
    target = target_of(services, empty, tmp_path / "m")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine.png").write_bytes(b"mine")
    with pytest.raises(BackupError, match=r"holds files that are not of this backup \(mine\.png\)"):
        into(tmp_path / "b", target)
    (tmp_path / "m" / "mine.png").unlink()
    with (
        psycopg.connect(url_in(services.urls["worker"], empty)),
        pytest.raises(BackupError, match=r"1 × studio_worker.*stop them first"),
    ):
        into(tmp_path / "b", target)
    same = next(iter(contents(house)))
    (tmp_path / "m" / same).parent.mkdir(parents=True)
    (tmp_path / "m" / same).write_bytes(b"!" * len(contents(house)[same]))
    with pytest.raises(BackupError, match="is not what the backup has"):
        into(tmp_path / "b", target)
    assert all_rows(url_in(services.superuser_url, empty)) == {}


@pytest.mark.parametrize("what", ["database.dump", "media.jsonl", "manifest.json"])
def test_a_flipped_byte_is_refused(house: Path, tmp_path: Path, services: Services, empty: str, what: str) -> None:
    manifest = backup(tmp_path / "b", services, house)
    path = tmp_path / "b" / "snapshots" / manifest.name / what
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(BackupError, match="damaged"):
        into(tmp_path / "b", target_of(services, empty, tmp_path / "m"))
    assert all_rows(url_in(services.superuser_url, empty)) == {}
    assert not (tmp_path / "m").exists()


def test_a_damaged_picture_is_named_and_never_restored(
    house: Path, tmp_path: Path, services: Services, empty: str
) -> None:
    backup(tmp_path / "b", services, house)
    blobs = sorted(path for path in (tmp_path / "b" / "files").rglob("*") if path.is_file())
    damaged, gone = blobs[0], blobs[1]
    lost = {damaged.read_bytes(), gone.read_bytes()}
    damaged.write_bytes(b"!" * damaged.stat().st_size)
    gone.unlink()
    names = {path for path, data in contents(house).items() if data in lost}
    target = target_of(services, empty, tmp_path / "m")
    with pytest.raises(BackupError, match=rf"{len(names)} files of the backup are damaged or gone") as refused:
        into(tmp_path / "b", target)
    assert all(name in str(refused.value) for name in names)
    assert all_rows(url_in(services.superuser_url, empty)) == {}
    found = into(tmp_path / "b", target, without_damaged=True)
    assert set(found.placed.left_out) == names
    wanted = {path: data for path, data in contents(house).items() if path not in names}
    assert contents(tmp_path / "m") == wanted
    assert found.placed.there == len(wanted), "the first run had written them"


def test_other_keys_are_told(house: Path, tmp_path: Path, services: Services, empty: str) -> None:
    backup(tmp_path / "b", services, house)
    target = target_of(services, empty, tmp_path / "m", keys=Keys("other", (), KEYS.encryption_keys))
    with pytest.raises(BackupError, match=r"SECRET_KEY is another one.*everybody is signed out.*--with-keys"):
        into(tmp_path / "b", target)
    target = replace(target, keys=Keys(KEYS.secret_key, (), ("other",)))
    with pytest.raises(BackupError, match="1 of 1 STUDIO_ENCRYPTION_KEYS are not here: second factors"):
        into(tmp_path / "b", target)
    assert all_rows(url_in(services.superuser_url, empty)) == {}
    found = into(tmp_path / "b", target, without_keys=True)
    assert any("second factors" in note for note in found.notes)


def test_a_newer_release_s_backup_is_refused_and_an_older_one_s_is_migrated(
    house: Path, tmp_path: Path, services: Services, empty: str
) -> None:
    manifest = backup(tmp_path / "b", services, house)
    last = [pair for pair in manifest.migrations if pair[0] == "generation"][-1]
    target = target_of(services, empty, tmp_path / "m", known_migrations=known_migrations() - {last}, release="r0")
    with pytest.raises(BackupError, match=rf"newer release \(r1\): this one \(r0\).*generation\.{last[1]}"):
        into(tmp_path / "b", target)
    # An older one: its database lacks the newest migration (here: one that only its row tells of).
    name = "older"
    drop_database(services, name)
    make_database(services, name)
    older = environment(services, name, media=tmp_path / "none", var=tmp_path / "v")
    try:
        # The clean-up of old sessions is an allauth migration that later ones do not need.
        assert manage("migrate", "--verbosity", "0", env=older).returncode == 0
        done = manage("migrate", "--verbosity", "0", "account", "0008", env=older)
        assert done.returncode == 0, done.stderr
        source = source_of(services, tmp_path / "none", owner_url=older["DATABASE_OWNER_URL"])
        old = back_up(tmp_path / "old", source=source, wanted=Wanted(), progress=Progress())
    finally:
        drop_database(services, name)
    assert len(old.migrations) < len(manifest.migrations)
    there = environment(services, empty, media=tmp_path / "m", var=tmp_path / "v")
    done = manage("restore", str(tmp_path / "old"), env=there)
    assert done.returncode == 0, done.stderr
    assert manage("migrate", "--check", env=there).returncode == 0


def test_an_older_postgresql_is_refused(house: Path, tmp_path: Path, services: Services, empty: str) -> None:
    manifest = backup(tmp_path / "b", services, house)
    path = tmp_path / "b" / "snapshots" / manifest.name / MANIFEST
    path.unlink()
    write_manifest(path, replace(manifest, postgres=990_000))
    with pytest.raises(BackupError, match=r"of PostgreSQL 99, this server is \d\d"):
        into(tmp_path / "b", target_of(services, empty, tmp_path / "m"))


def test_paths_that_lead_out_are_refused(house: Path, tmp_path: Path, services: Services, empty: str) -> None:
    """Somebody has written the list anew, hash and seal included."""
    from qwenstudio.backup.lists import Entry, line_of
    from qwenstudio.backup.make import part_of

    manifest = backup(tmp_path / "b", services, house)
    folder = tmp_path / "b" / "snapshots" / manifest.name
    for path in ("../out.png", "/tmp/out.png", "a/../../out.png"):
        (folder / "media.jsonl").write_bytes(line_of(Entry(path, 1, 1, "0" * 64)))
        media = replace(manifest.media, list=part_of(folder / "media.jsonl"), files=1)
        write_manifest(folder / MANIFEST, replace(manifest, media=media))
        with pytest.raises(BackupError, match="leads out"):
            into(tmp_path / "b", target_of(services, empty, tmp_path / "m"))
    assert not (tmp_path / "out.png").exists()


def test_a_failed_load_puts_back_what_was_there(
    house: Path, tmp_path: Path, services: Services, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(tmp_path / "b", services, house)
    target = target_of(services, empty, tmp_path / "m")
    into(tmp_path / "b", target)
    before = all_rows(url_in(services.superuser_url, empty))

    def fail(*_: Any) -> None:
        raise BackupError("pg_restore failed: on purpose")

    monkeypatch.setattr("qwenstudio.backup.database.load_dump", fail)
    with pytest.raises(BackupError, match="on purpose"):
        into(tmp_path / "b", target, set_aside=True)
    assert all_rows(url_in(services.superuser_url, empty)) == before
    with psycopg.connect(url_in(services.superuser_url, empty)) as admin:
        assert admin.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE '%restore%'").fetchall() == []


def test_models_go_back_only_when_asked_and_over_nothing(
    house: Path, tmp_path: Path, services: Services, empty: str, admin_sql: psycopg.Connection[tuple[object, ...]]
) -> None:
    lora = tmp_path / "models" / "fast.safetensors"
    lora.parent.mkdir()
    lora.write_bytes(b"lora")
    spec = {"family": "qwen-image", "path": "x/y", "scheduler": {"shift": 1.0}, "turbo_lora": {"path": str(lora)}}
    admin_sql.execute("UPDATE generation_model SET spec = %s", [json.dumps(spec)])
    backup(tmp_path / "b", services, house)
    shutil.rmtree(lora.parent)
    target = target_of(services, empty, tmp_path / "m")
    found = into(tmp_path / "b", target)
    assert not lora.exists() and any("1 files of models" in note for note in found.notes)
    found = into(tmp_path / "b", target, set_aside=True, models=True)
    assert lora.read_bytes() == b"lora" and lora.stat().st_mode & 0o777 == 0o644
    lora.write_bytes(b"mine")
    found = into(tmp_path / "b", target, set_aside=True, models=True)
    assert lora.read_bytes() == b"mine" and f"{lora}: another file is there, it stays" in found.notes


@pytest.mark.timeout(300)
def test_into_an_own_postgresql_that_is_made_for_it(
    house: Path, tmp_path: Path, services: Services, alice: Person
) -> None:
    """`STUDIO_VAR=new manage.py restore DIR`, and `make run` would go on there."""
    keys = Keys(settings.SECRET_KEY, (), tuple(settings.STUDIO_ENCRYPTION_KEYS))
    root = tmp_path / "b"
    manifest = backup(root, services, house, keys=keys)
    env = users_environment() | {"STUDIO_VAR": str(tmp_path / "var")}
    done = manage("restore", str(root), env=env)
    assert done.returncode == 1 and "has no keys" in done.stderr and not (tmp_path / "var" / "postgres").exists()
    stick = tmp_path / "stick"
    back_up(root, source=source_of(services, house, keys=keys), wanted=Wanted(keys=stick), progress=Progress())
    (file,) = stick.iterdir()
    done = manage("restore", str(root), "--snapshot", manifest.name, "--keys", str(file), env=env)
    assert done.returncode == 0, done.stderr + done.stdout
    assert contents(tmp_path / "var" / "media") == contents(house)
    again = start(tmp_path / "var", log=lambda text: None, valkey=False, durable=False, tie=True)
    try:
        assert again.environment()["SECRET_KEY"] == keys.secret_key
        assert all_rows(again.superuser_url) == manifest.rows
    finally:
        again.stop()


@pytest.mark.timeout(300)
def test_a_rehearsal_says_whether_a_backup_is_good_and_leaves_nothing(
    house: Path, tmp_path: Path, services: Services, alice: Person
) -> None:
    """Beside the working studio, which it does not touch."""
    keys = Keys(settings.SECRET_KEY, (), tuple(settings.STUDIO_ENCRYPTION_KEYS))
    root, place = tmp_path / "b", tmp_path / "place"
    place.mkdir()
    manifest = backup(root, services, house, keys=keys)
    before = contents(house)
    env = dict(os.environ)
    done = manage("rehearse", str(root), "--place", str(place), env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "went well" in done.stdout and f"Restored {manifest.name}" in done.stdout
    assert not list(place.iterdir()) and contents(house) == before
    assert all_rows(services.superuser_url) == manifest.rows

    done = manage("rehearse", str(root), "--place", str(place), env=env | {"SECRET_KEY": "another" * 8})
    assert done.returncode == 1 and "does not have the backup's keys" in done.stderr
    (path,) = root.glob("snapshots/*/database.dump")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    done = manage("rehearse", str(root), "--place", str(place), env=env)
    assert done.returncode == 1 and "the rehearsal failed" in done.stderr
    assert not list(place.iterdir())

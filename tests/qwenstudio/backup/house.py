"""A studio with people, pictures and keys, and empty servers beside it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import sql

from accounts.domain.media import write_atomic
from generation.domain.finish import finish_slice
from qwenstudio.backup.keys import Keys
from qwenstudio.backup.make import Source
from qwenstudio.embedded import Services
from qwenstudio.embedded.postgres import ROLES_SQL
from tests.factories import Person
from tests.generation.domain.desk import claim, draw, submit

AsWorker = Callable[[], AbstractContextManager[None]]
KEYS = Keys("s" * 50, (), ("k" * 32,))


def paint(person: Person, as_worker: AsWorker, *, data: bytes, n: int = 1) -> UUID:
    """A generation whose pictures are `data` and a number, with rows that know their hashes."""
    identity = submit(person.caller, n=n)
    with as_worker():
        taken = claim()
        assert taken is not None
        (row,) = taken.rows
        images = []
        for image in draw(row):
            picture, thumbnail = data + b"%d" % image.index, b"small " + data
            write_atomic(image.file, picture)
            write_atomic(image.thumbnail, thumbnail)
            digest = sha256(picture).hexdigest()
            images.append(dataclasses.replace(image, sha256=digest, bytes=len(picture), thumbnail_bytes=len(thumbnail)))
        assert finish_slice(row=row, images=images, run_ms=10.0) == "finished"
    return identity


def source_of(services: Services, media: Path, *, keys: Keys = KEYS, owner_url: str = "") -> Source:
    """The studio of the tests as `back_up` takes it."""
    return Source(
        owner_url=owner_url or services.urls["owner"],
        media=media,
        catalog=Path("deploy/models.toml").absolute(),
        release="r1",
        settings={"STUDIO_URL": "http://studio.test"},
        keys=keys,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def modes(folder: Path) -> set[tuple[str, int]]:
    """What kinds of modes files and folders below it have."""
    return {
        ("folder" if path.is_dir() else "file", path.stat().st_mode & 0o777)
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


def make_database(services: Services, name: str) -> None:
    """An empty database with the studio's roles."""
    with psycopg.connect(services.superuser_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with psycopg.connect(url_in(services.superuser_url, name), autocommit=True) as admin:
        admin.execute(ROLES_SQL.read_bytes())


def drop_database(services: Services, name: str) -> None:
    with psycopg.connect(services.superuser_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def url_in(url: str, database: str) -> str:
    """The same server and role, another database."""
    return f"{url.rpartition('/')[0]}/{database}"


def all_rows(url: str) -> dict[str, int]:
    """Every table's rows as the administrator sees them, whom no policy holds."""
    with psycopg.connect(url) as admin:
        tables = admin.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        ).fetchall()
        return {name: _count(admin, name) for (name,) in tables}


def _count(admin: psycopg.Connection[tuple[object, ...]], table: str) -> int:
    row = admin.execute(sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(table))).fetchone()
    assert row is not None and isinstance(row[0], int)
    return row[0]


def environment(services: Services, database: str, *, media: Path, var: Path, keys: Keys = KEYS) -> dict[str, str]:
    """A process's variables for another database and folder."""
    foreign = ("DATABASE_", "REDIS_", "STUDIO_", "SECRET_KEY", "DJANGO_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return clean | {
        "DATABASE_URL": url_in(services.urls["web"], database),
        "DATABASE_OWNER_URL": url_in(services.urls["owner"], database),
        "DATABASE_WORKER_URL": url_in(services.urls["worker"], database),
        "SECRET_KEY": keys.secret_key,
        "STUDIO_ENCRYPTION_KEYS": " ".join(keys.encryption_keys),
        "STUDIO_MEDIA": str(media),
        "STUDIO_VAR": str(var),
        "STUDIO_RELEASE": "r1",
    }

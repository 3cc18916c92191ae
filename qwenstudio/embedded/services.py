"""Both servers together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from qwenstudio.embedded import postgres as pg
from qwenstudio.embedded import valkey as vk
from qwenstudio.embedded.files import make_private_folder
from qwenstudio.embedded.process import Log, Server
from qwenstudio.embedded.secrets import Secrets, load_secrets


@dataclass
class Services:
    """What runs, and how to reach it."""

    secrets: Secrets
    urls: dict[str, str] = field(default_factory=dict)
    """Database URLs by role: owner, web, worker. Empty when PostgreSQL was not asked for."""
    superuser_url: str = ""
    """The database administrator's URL: tests and backups only."""
    redis_url: str = ""
    database: pg.Postgres | None = None
    cache: vk.Valkey | None = None

    @property
    def postgres(self) -> Server | None:
        """PostgreSQL's process, the newest one."""
        return self.database.server if self.database else None

    @property
    def valkey(self) -> Server | None:
        """Valkey's process, the newest one."""
        return self.cache.server if self.cache else None

    @property
    def ours(self) -> list[pg.Postgres | vk.Valkey]:
        """Those that we started or adopted: what dies of them is ours to start again."""
        return [part for part in (self.database, self.cache) if part is not None]

    def environment(self) -> dict[str, str]:
        """The variables by which the studio's processes find these servers and their keys."""
        names = {"web": "DATABASE_URL", "owner": "DATABASE_OWNER_URL", "worker": "DATABASE_WORKER_URL"}
        found = {names[role]: url for role, url in self.urls.items()}
        if self.redis_url:
            found["REDIS_URL"] = self.redis_url
        return found | {
            "SECRET_KEY": self.secrets.secret_key,
            "STUDIO_ENCRYPTION_KEYS": self.secrets.encryption_key,
        }

    def stop(self) -> None:
        """Stop both, PostgreSQL after a last checkpoint, Valkey after its last write."""
        running = [(self.valkey, vk.STOP_TIMEOUT_S), (self.postgres, pg.STOP_TIMEOUT_S)]
        for server, _ in running:
            if server is not None:
                server.ask_to_stop()
        for server, timeout_s in running:
            if server is not None:
                server.wait(timeout_s=timeout_s)
        self.database = self.cache = None


def start(
    var: Path,
    *,
    log: Log,
    postgres: bool = True,
    valkey: bool = True,
    durable: bool = True,
    tie: bool = False,
) -> Services:
    """Start (or adopt) the embedded servers of one state folder and wait until both answer.

    `durable=False` trades safety against a crash for speed (tests). `tie=True` ends the servers with this process,
    however it ends; otherwise they survive a kill and are adopted by the next start.

    Raises `EmbeddedError`, which says what is missing or wrong; whatever was started by then is stopped again.
    """
    var = make_private_folder(var.absolute())
    secrets = load_secrets(var)
    database = pg.Postgres(var, secrets=secrets, log=log, durable=durable, tie=tie) if postgres else None
    cache = vk.Valkey(var, secrets=secrets, log=log, durable=durable, tie=tie) if valkey else None
    services = Services(secrets, database=database, cache=cache)
    try:
        for part in services.ours:  # both boot at the same time
            part.begin()
        for part in services.ours:
            part.finish()
    except BaseException:
        services.stop()
        raise
    if database:
        services.urls, services.superuser_url = database.urls, database.superuser_url
    if cache:
        services.redis_url = cache.url
    return services

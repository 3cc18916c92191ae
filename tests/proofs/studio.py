"""A whole studio of a proof's own: servers, tables, two tenants, and the front."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qwenstudio.embedded import Services, start
from tests.database import begin_migrations


@dataclass(frozen=True)
class OwnStudio:
    """How to reach it: one tenant works by key, a person of another one visits by session."""

    url: str
    worker_secret: str
    visitor_cookie: str
    superuser_url: str
    redis_url: str
    services: Services


@contextmanager
def own_database(folder: Path, *, process: str = "web") -> Iterator[Services]:
    """Servers of a proof's own with the tables in them, and Django set up as this process's; the folder goes with them.

    Whatever names another studio is taken out of the environment.
    """
    services = start(folder / "var", log=lambda text: None, tie=True)
    try:
        for name in [name for name in os.environ if name.startswith(("STUDIO_", "DATABASE_", "REDIS_URL", "SECRET_"))]:
            del os.environ[name]
        os.environ.update(services.environment())
        os.environ.update(
            STUDIO_VAR=str(folder / "var"),
            STUDIO_MEDIA=str(folder / "media"),
            STUDIO_PROCESS=process,
            DJANGO_SETTINGS_MODULE="qwenstudio.settings",
        )
        output, _ = (migrations := begin_migrations()).communicate()
        if migrations.returncode:
            raise SystemExit(f"migrate failed:\n{output}")
        import django  # the environment is complete now

        django.setup()
        yield services
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_studio(folder: Path) -> Iterator[OwnStudio]:
    """Start everything but workers; the folder is removed afterwards."""
    with own_database(folder) as services:
        from tests.qwenstudio.fronts import running_front

        secret, cookie = make_people()
        with running_front(folder) as front:
            yield OwnStudio(
                url=front.url,
                worker_secret=secret,
                visitor_cookie=cookie,
                superuser_url=services.superuser_url,
                redis_url=services.redis_url,
                services=services,
            )


def make_people() -> tuple[str, str]:
    """A key of one tenant and a session of another one."""
    from django.db import connections
    from django.test import Client

    from tests.chaos.rig import offer_sleeping_model
    from tests.factories import make_key, make_plan, make_tenant

    offer_sleeping_model()
    plan = make_plan(requests_per_minute=100_000, tenant_requests_per_minute=100_000, queue_length=10_000)
    tenant, owner = make_tenant("Working", plan=plan)
    _, secret = make_key(tenant, owner)
    _, visitor = make_tenant("Visiting", plan=plan)
    client = Client()
    client.force_login(visitor)
    cookie = client.cookies["studio_session"].value
    connections.close_all()
    connections["default"].close_pool()  # ours would be counted among the web's
    return secret, cookie

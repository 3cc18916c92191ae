"""Real PostgreSQL and Valkey for every test, started once in a temporary `STUDIO_VAR`.

STUDIO_POSTGRES_PROGRAMS=/usr/lib/postgresql/15/bin and STUDIO_REDIS_PROGRAM=/usr/bin/redis-server run all of them on a
distribution's servers instead of those of the wheels.

Fixtures: `services` (both servers), `db` / `transactional_db` / `@pytest.mark.django_db` (the migrated database under
the web role, real commits, emptied after each test), `owner_sql` (psycopg as the tables' owner), `admin_sql` (psycopg
as the administrator: the only one that sees every tenant's rows), `redis` and `redis_url` (Valkey, flushed after each
test), `media` (the folder of pictures, emptied after each test). `tests/factories.py` adds Alice, Bob and Mallory.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis as redis_client
from hypothesis import HealthCheck
from hypothesis import settings as examples

from qwenstudio.embedded import Services, start
from qwenstudio.embedded.postgres import OWN_PROGRAMS as POSTGRES_PROGRAMS
from qwenstudio.embedded.valkey import OWN_PROGRAM as REDIS_PROGRAM
from tests.database import TestDatabase, begin_migrations
from tests.midnight import wait_for_midnight
from tests.needs import skip_missing
from tests.order import begin_with_long_files

ROOT = Path(__file__).resolve().parent.parent
# These run on torch alone: no server, no Django.
WITHOUT_SERVICES = (ROOT / "tests" / "engine", ROOT / "tests" / "qwenstudio" / "test_layers.py")

# The same examples every time, and no machine is too slow for them.
examples.register_profile(
    "suite", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
examples.load_profile("suite")

# Hundreds of processes are started here: each would compile the whole studio again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_services = pytest.StashKey[Services]()
_migrations = pytest.StashKey[subprocess.Popen[str]]()
_var = pytest.StashKey[Path]()


def needs_services(config: pytest.Config) -> bool:
    """Whether anything beyond the engine's own tests was asked for."""
    if config.option.collectonly or config.option.help or config.option.version or only_hands_out(config):
        return False
    asked = [(config.invocation_params.dir / word.split("::")[0]).resolve() for word in config.args]
    return any(not any(path.is_relative_to(pure) for pure in WITHOUT_SERVICES) for path in asked)


def only_hands_out(config: pytest.Config) -> bool:
    """Whether this process runs no test itself: with `-n 2` it hands files to two others, each with its own servers."""
    return bool(getattr(config.option, "numprocesses", None)) and not hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers and hand their addresses to Django before its settings are read."""
    if not needs_services(config):
        config.pluginmanager.set_blocked("tests.factories")
        if config.option.collectonly:
            prepare_django()
        return
    var = Path(tempfile.mkdtemp(prefix="qwenstudio-tests-"))
    config.stash[_var] = var
    (var / "static").mkdir()  # as `up` makes it; WhiteNoise warns without
    services = start(var, log=lambda text: None, durable=False, tie=True)
    config.stash[_services] = services
    # Nothing of the developer's own studio may reach a test.
    for name in [name for name in os.environ if name.startswith(("STUDIO_", "DATABASE_", "REDIS_URL", "SECRET_KEY"))]:
        if name not in (POSTGRES_PROGRAMS, REDIS_PROGRAM):
            del os.environ[name]
    os.environ.update(services.environment())
    os.environ.update(STUDIO_VAR=str(var), STUDIO_MEDIA=str(var / "media"), STUDIO_PROCESS="web")
    config.stash[_migrations] = begin_migrations()
    prepare_django()
    if importlib.util.find_spec("tests.factories"):
        config.pluginmanager.import_plugin("tests.factories")


def prepare_django() -> None:
    """Load settings and models."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "qwenstudio.settings"
    # Tests' own threads share this process's pool and may end with a connection in hand; servers keep the real size.
    os.environ["STUDIO_DB_POOL"] = "30"
    import django  # only now: its settings read the environment that was just written

    django.setup()
    del os.environ["STUDIO_DB_POOL"]
    from django.conf import settings

    from tests.whitenoises import read_static_files_once

    read_static_files_once()
    settings.REDIS_TIMEOUT_S = 5.0  # a busy machine may keep Valkey for a second, and then nobody is asked for five


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers and remove their folder."""
    if (services := config.stash.get(_services, None)) is not None:
        if (migrations := config.stash.get(_migrations, None)) is not None and migrations.poll() is None:
            migrations.kill()
            migrations.wait()
        services.stop()
    if (var := config.stash.get(_var, None)) is not None:
        shutil.rmtree(var, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first."""
    begin_with_long_files(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a program that this machine lacks (with STRICT=1 that is a failure); run through no midnight."""
    skip_missing(item)
    wait_for_midnight(item)


@pytest.fixture(autouse=True)
def _no_language_left_over() -> None:
    """The test client leaves the language of its last request behind: no test is to depend on the one before it."""
    from django.conf import settings  # only now: the engine's tests and the layers' run without a Django
    from django.utils import translation

    if settings.configured:
        translation.deactivate()


@pytest.fixture(autouse=True)
def _no_failed_valkey_left_over() -> None:
    """A process that has met a dead Valkey asks none for a while: no test is to inherit that."""
    from django.conf import settings

    if settings.configured:
        from accounts.valkey import breaker, redis_client

        breaker.reset()
        redis_client.cache_clear()


@pytest.fixture(scope="session")
def services(pytestconfig: pytest.Config) -> Services:
    """The running servers."""
    return pytestconfig.stash[_services]


@pytest.fixture(scope="session")
def test_database(pytestconfig: pytest.Config, services: Services) -> Iterator[TestDatabase]:
    """The migrated database, seen by its administrator."""
    output, _ = (migrations := pytestconfig.stash[_migrations]).communicate()
    if migrations.returncode != 0:
        pytest.exit(f"manage.py migrate failed:\n{output}", returncode=3)
    database = TestDatabase(services.superuser_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def django_db_setup(test_database: TestDatabase) -> None:
    """Instead of pytest-django's: our database is migrated by the owner's role, in its own process."""


@pytest.fixture
def _django_db_helper(
    django_db_setup: None, django_db_blocker: object, test_database: TestDatabase, services: Services
) -> Iterator[None]:
    """Instead of pytest-django's: real commits under the web role, everything deleted afterwards."""
    from django.core.cache import cache
    from django.db import connections

    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        yield
        connections.close_all()
    cache.clear()
    test_database.clean()
    with redis_client.Redis.from_url(services.redis_url) as client:
        client.flushdb()


@pytest.fixture
def db(_django_db_helper: None) -> None:
    """The database, with real commits."""


@pytest.fixture
def transactional_db(_django_db_helper: None) -> None:
    """The same as `db` here."""


@pytest.fixture
def owner_sql(db: None, services: Services) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection as the tables' owner, who is under row-level security like everybody (autocommit)."""
    with psycopg.connect(services.urls["owner"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def admin_sql(db: None, services: Services) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection as the server's administrator, who sees every row (autocommit)."""
    with psycopg.connect(services.superuser_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def redis_url(services: Services) -> str:
    """The address of Valkey, with its password."""
    return services.redis_url


@pytest.fixture
def redis(redis_url: str) -> Iterator[redis_client.Redis]:
    """A client of Valkey, which is empty before and after."""
    with redis_client.Redis.from_url(redis_url) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def media() -> Iterator[Path]:
    """`STUDIO_MEDIA`, empty before and after."""
    from django.conf import settings

    folder = Path(settings.STUDIO_MEDIA)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)

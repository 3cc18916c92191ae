"""The production guard: one table of what a studio that others can reach must not be.

The table drives the start of every process, `manage.py check --deploy`, `manage.py doctor`, the page
`docs/operations.md` and the tests. A rule says what it refuses and how to mend it; its `find` yields one end of a
sentence for each fault that it sees, which never holds a secret.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import ProgrammingError

from qwenstudio.checks import REMEDY
from qwenstudio.databases import VARIABLES
from qwenstudio.guard import probes
from qwenstudio.guard.facts import Facts
from qwenstudio.guard.strength import LEAST_KEY, LEAST_PASSWORD, weakness

Find = Callable[[Facts], Iterator[str]]
NO_SERVERS = ("qwenstudio.outbox.Outbox", "django.core.mail.backends.console.EmailBackend")


@dataclass(frozen=True, slots=True)
class Rule:
    """`pages`: only processes that answer requests need it. `asks`: it asks a server, so no start waits for it."""

    id: str
    refuses: str
    cure: str
    find: Find
    level: Literal["error", "warning"] = "error"
    pages: bool = False
    asks: bool = False


def find_debug(facts: Facts) -> Iterator[str]:
    """Error pages that show code and values to whoever meets them."""
    if facts.debug:
        yield "DEBUG is on."


def find_weak_signing(facts: Facts) -> Iterator[str]:
    """Whoever guesses it signs in as anybody."""
    if fault := weakness(facts.secret_key, least=LEAST_KEY):
        yield f"SECRET_KEY {fault}."
    for number, secret in enumerate(facts.secret_fallbacks, 1):
        if fault := weakness(secret, least=LEAST_KEY):
            yield f"SECRET_KEY_FALLBACKS: number {number} {fault}."


def find_weak_encryption(facts: Facts) -> Iterator[str]:
    """What must be used again lies in the database under these."""
    if not facts.encryption_keys:
        yield "STUDIO_ENCRYPTION_KEYS is empty."
    for number, secret in enumerate(facts.encryption_keys, 1):
        if fault := weakness(secret, least=LEAST_KEY):
            yield f"STUDIO_ENCRYPTION_KEYS: number {number} {fault}."


def find_weak_database_passwords(facts: Facts) -> Iterator[str]:
    """One that is named; without one, the server decides (a socket's peer, `.pgpass`, or `trust`, which has a rule)."""
    for role, url in facts.database_urls.items():
        try:
            parts = conninfo_to_dict(url)
        except ProgrammingError:
            continue  # the settings have refused it already
        password, user = str(parts.get("password") or ""), str(parts.get("user") or "")
        if password and (fault := weakness(password, least=LEAST_PASSWORD, other_than=user)):
            yield f"The password in {VARIABLES[role]} {fault}."


def find_open_database(facts: Facts) -> Iterator[str]:
    """`trust` over the network: every account of the machine is every role."""
    for role, url in facts.database_urls.items():
        if url and _by_network(url) and probes.lets_in_without_password(url):
            yield f"The database lets the role of {VARIABLES[role]} in without a password."


def find_strong_role(facts: Facts) -> Iterator[str]:
    """Row-level security holds neither superusers nor who may bypass it."""
    for role, url in facts.database_urls.items():
        if url and (fault := probes.role_fault(url, web=role == "web")):
            yield f"{VARIABLES[role]}: {fault}"


def find_weak_redis_password(facts: Facts) -> Iterator[str]:
    """Redis tells nobody how often a password was tried."""
    user, password = _redis_sign_in(facts.redis_url)
    if password and (fault := weakness(password, least=LEAST_PASSWORD, other_than=user)):
        yield f"The password in REDIS_URL {fault}."


def find_redis_without_password(facts: Facts) -> Iterator[str]:
    """Whoever can write to it can stop the queue and read what is on its way."""
    if not facts.redis_url or _redis_sign_in(facts.redis_url)[1]:
        return
    parts = urlsplit(facts.redis_url)
    if parts.scheme != "unix":
        yield "REDIS_URL is no Unix socket and has no password."
    elif reason := openness(Path(unquote(parts.path))):
        yield f"REDIS_URL has no password, and its socket {parts.path} {reason}."


def _redis_sign_in(url: str) -> tuple[str, str]:
    """User and password, as redis-py reads them: in front of the host, or as parameters."""
    parts = urlsplit(url)
    values = dict(parse_qsl(parts.query))
    return values.get("username", unquote(parts.username or "")), values.get("password", unquote(parts.password or ""))


def find_open_redis(facts: Facts) -> Iterator[str]:
    """A password in our URL says nothing of who else gets in."""
    if facts.redis_url and urlsplit(facts.redis_url).scheme != "unix" and probes.redis_is_open(facts.redis_url):
        yield "Redis answers who shows no password."


def find_any_host(facts: Facts) -> Iterator[str]:
    """Links and redirects could be made to lead elsewhere."""
    for host in facts.hosts:
        if host in ("*", "."):
            yield f"ALLOWED_HOSTS holds {host}: every host name is answered."


def find_open_media(facts: Facts) -> Iterator[str]:
    """Pictures are their tenant's alone, on the machine too."""
    if reason := openness(facts.media):
        yield f"{facts.media} {reason}."


def find_open_secrets(facts: Facts) -> Iterator[str]:
    """Files with secrets are the studio's account's alone."""
    for path in facts.secret_files:
        if reason := openness(path):
            yield f"{path} {reason}."


def find_downloads(facts: Facts) -> Iterator[str]:
    """What is served should be what staff have put there."""
    if facts.downloads:
        yield "HF_HUB_OFFLINE is 0: workers download models by themselves."


def find_plain_origins(facts: Facts) -> Iterator[str]:
    """Cookies, keys and one-time links would travel readable."""
    if not facts.url.startswith("https://"):
        yield f"STUDIO_URL is {facts.url}."
    for origin in facts.origins:
        if not origin.startswith("https://") and origin != facts.url:
            yield f"CSRF_TRUSTED_ORIGINS holds {origin}."


def find_no_proxies(facts: Facts) -> Iterator[str]:
    """Behind nginx everybody seems to come from one address: limits of one would hit all."""
    if not facts.proxies:
        yield "STUDIO_TRUSTED_PROXIES is empty: everybody seems to come from nginx's own address."


def find_any_proxy(facts: Facts) -> Iterator[str]:
    """Whoever may say where a request comes from can come from anywhere."""
    for network in facts.proxies:
        if network.prefixlen == 0:
            yield f"STUDIO_TRUSTED_PROXIES holds {network}: anybody may name any address as their own."


def find_no_mail_server(facts: Facts) -> Iterator[str]:
    """Nobody can verify an address, set a new password or be warned."""
    if facts.mail_backend in NO_SERVERS:
        yield "EMAIL_URL names no mail server: e-mails stay in a folder or in the log."


def openness(path: Path) -> str:
    """Why other accounts of this machine can reach a file or folder; empty where they cannot, or it is not there."""
    try:
        mode = path.stat().st_mode
        # Whoever may not walk through a folder on the way reaches nothing behind it.
        closed = any(not folder.stat().st_mode & stat.S_IXOTH for folder in path.absolute().resolve().parents)
    except OSError:
        return ""
    if closed or not mode & stat.S_IRWXO:
        return ""
    return f"is open to every account of this machine (mode {stat.S_IMODE(mode):04o})"


def _by_network(url: str) -> bool:
    try:
        host = str(conninfo_to_dict(url).get("host") or "")
    except ProgrammingError:
        return False
    return bool(host) and not host.startswith(("/", "@"))


RANDOM = "openssl rand -hex 32"
RULES = (
    Rule("studio.E101", "`DEBUG`", "Unset DEBUG.", find_debug),
    Rule(
        "studio.E102",
        f"a `SECRET_KEY` (or fallback) that is missing, well known, or shorter than {LEAST_KEY} characters",
        f"Set it to the output of: {RANDOM}",
        find_weak_signing,
    ),
    Rule(
        "studio.E103",
        f"encryption keys that are missing, well known, or shorter than {LEAST_KEY} characters",
        f"Put a new one in front ({RANDOM}), then: manage.py reencrypt",
        find_weak_encryption,
    ),
    Rule(
        "studio.E104",
        f"a database password that is well known, the user's name, or shorter than {LEAST_PASSWORD} characters",
        f"Give the role another (psql: \\password) and put it into its URL: {RANDOM}",
        find_weak_database_passwords,
    ),
    Rule(
        "studio.E105",
        "a database that lets a role in without a password over the network (`trust`)",
        "Put scram-sha-256 in place of trust in pg_hba.conf and reload PostgreSQL.",
        find_open_database,
        asks=True,
    ),
    Rule(
        "studio.E106",
        "a database role that is a superuser, bypasses row-level security, or sees all tenants as the web's",
        REMEDY,
        find_strong_role,
        asks=True,
    ),
    Rule(
        "studio.E107",
        f"a Redis password that is well known or shorter than {LEAST_PASSWORD} characters",
        f"Set requirepass in its configuration and REDIS_URL to the output of: {RANDOM}",
        find_weak_redis_password,
    ),
    Rule(
        "studio.E108",
        "a `REDIS_URL` without a password, but by a Unix socket that is closed to other accounts",
        "Set requirepass in its configuration and the password in REDIS_URL, or use unix:///run/….sock with mode 0660.",
        find_redis_without_password,
    ),
    Rule(
        "studio.E109",
        "a Redis that answers who shows no password",
        "Set requirepass in its configuration (and no user with nopass), then restart it.",
        find_open_redis,
        asks=True,
    ),
    Rule(
        "studio.E110",
        "`ALLOWED_HOSTS=*`",
        "Name the host of STUDIO_URL, or unset it: that host and loopback are its default.",
        find_any_host,
        pages=True,
    ),
    Rule(
        "studio.E111",
        "a media folder that every account of the machine can reach",
        "chmod o-rwx it; nginx gets in by the studio's group.",
        find_open_media,
    ),
    Rule(
        "studio.E112",
        "secrets in files that every account of the machine can reach",
        "chmod o-rwx it.",
        find_open_secrets,
    ),
    Rule(
        "studio.E113",
        "downloads from the hub (`HF_HUB_OFFLINE=0`)",
        "Unset HF_HUB_OFFLINE; download models by hand, look at them, then name their folder.",
        find_downloads,
    ),
    Rule(
        "studio.E114",
        "`http://` in `STUDIO_URL` or in the origins that forms may come from",
        "Set STUDIO_URL to the https:// address that people use.",
        find_plain_origins,
    ),
    Rule(
        "studio.E115",
        "no trusted proxy",
        "Set STUDIO_TRUSTED_PROXIES to nginx's address: 127.0.0.1 on one machine.",
        find_no_proxies,
        pages=True,
    ),
    Rule(
        "studio.E116",
        "trusted proxies that are everybody (`0.0.0.0/0`, `::/0`)",
        "Set STUDIO_TRUSTED_PROXIES to the proxies' own addresses.",
        find_any_proxy,
        pages=True,
    ),
    Rule(
        "studio.W117",
        "e-mail that goes to a folder or to the log (warning)",
        "Set EMAIL_URL to a mail server: smtp://user:password@host:587",
        find_no_mail_server,
        level="warning",
    ),
)

"""The database URLs of the studio's three roles, as the environment names them."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from qwenstudio.env import Env, EnvError

VARIABLES = {"web": "DATABASE_URL", "owner": "DATABASE_OWNER_URL", "worker": "DATABASE_WORKER_URL"}
_FORM = "postgresql://user:password@host:port/NAME"
_URL = re.compile(r"(?P<scheme>\w+://)(?:(?P<user>[^:@/?]*)(?::(?P<password>[^@/?]*))?@)?(?P<rest>.*)", re.DOTALL)
_SIGNS_IN = re.compile(r"[?&](user|password)=")


def role_of(process: str) -> str:
    """The database role of a `STUDIO_PROCESS`: web, owner or worker."""
    return {"owner": "owner", "worker": "worker", "errands": "worker", "ticker": "worker"}.get(process, "web")


def read_urls(env: Env) -> tuple[dict[str, str], dict[str, str]]:
    """A URL per role, and for each role whose URL nobody named (nor `DATABASE_URL` implies) what to set.

    Such a role's URL still names server and role, so that `doctor` can try it.
    """
    web = env.secret(VARIABLES["web"])
    urls, missing = {"web": web}, {}
    for role in ("owner", "worker"):
        urls[role] = env.secret(VARIABLES[role])
        if web and not urls[role]:
            urls[role] = sign_in_as(role, web)
            if not says_who_without_password(web):
                missing[role] = (
                    f"{VARIABLES[role]} is not set: set it to the same database for the role studio_{role}. It follows "
                    "from DATABASE_URL only where that is postgresql://studio_web@… without a password."
                )
    return urls, missing


def sign_in_as(role: str, url: str) -> str:
    """The same URL for another role, without the password, which is not that role's."""
    return _URL.sub(rf"\g<scheme>studio_{role}@\g<rest>", url, count=1)


def says_who_without_password(url: str) -> bool:
    """Whether it signs in studio_web by its name alone (peer, trust or `.pgpass`)."""
    found = _URL.match(url)
    return bool(found and found["user"] == "studio_web" and not found["password"] and not _SIGNS_IN.search(url))


def database_from_url(name: str, url: str) -> dict[str, Any]:
    """A URL as libpq reads it (sockets and parameters too) as Django's dict; raises `EnvError` with the variable."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in ("postgres", "postgresql"):
        raise EnvError(f"{name} must start with postgresql://, not {scheme if separator else 'nothing'}")
    try:
        found: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its text may hold the password
        raise EnvError(f"{name} is no URL of a database: {_FORM}, special characters as %XX") from None
    if not found.get("dbname"):
        raise EnvError(f"{name} names no database: {_FORM}")
    port = str(found.pop("port", ""))
    if not all(word.isdigit() for word in port.split(",") if word):
        raise EnvError(f"{name} has a port that is no number")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": found.pop("dbname"),
        "USER": found.pop("user", ""),
        "PASSWORD": found.pop("password", ""),
        "HOST": found.pop("host", ""),
        "PORT": port,
        "OPTIONS": found,
    }

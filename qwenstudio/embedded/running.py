"""How a command typed beside `make run` finds the servers that it started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qwenstudio.embedded.account import STATE as POSTGRES_STATE
from qwenstudio.embedded.files import read_json
from qwenstudio.embedded.ports import find_process
from qwenstudio.embedded.postgres import urls_of
from qwenstudio.embedded.secrets import FILE, load_secrets
from qwenstudio.embedded.services import Services
from qwenstudio.embedded.valkey import STATE as VALKEY_STATE
from qwenstudio.embedded.valkey import own_program, url_of


def find_services(var: Path) -> Services | None:
    """The embedded servers of `var`, if PostgreSQL runs; nothing is started, adopted or written.

    Only processes that are ours for sure are told: a password must not go to whatever took over an old port.
    """
    var = var.absolute()
    if not (var / FILE).exists():
        return None
    secrets = load_secrets(var)
    recorded = read_json(var / POSTGRES_STATE).get("home")
    data = Path(recorded) / "data" if recorded else var / "postgres"
    postmaster = _numbers(data / "postmaster.pid", lines=(0, 3))
    if postmaster is None or find_process(postmaster[0], program="postgres", mark=data) is None:
        return None
    found = Services(secrets, urls=urls_of(secrets, postmaster[1]))
    valkey = _numbers(var / "valkey" / "valkey.pid", lines=(0,))
    config = var / "valkey" / "valkey.conf"
    if valkey is not None and find_process(valkey[0], program=own_program(), mark=config) is not None:
        found.redis_url = url_of(secrets, int(read_json(var / VALKEY_STATE).get("port", 0)))
    return found


def _numbers(path: Path, *, lines: Sequence[int]) -> list[int] | None:
    """What stands in these lines of a pid file; None where there is none, or another account's, or half of one."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [int(text[line]) for line in lines]
    except (OSError, IndexError, ValueError):
        return None

"""The random secrets of one copy of the studio, made at its first start."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from qwenstudio.embedded.errors import EmbeddedError
from qwenstudio.embedded.files import write_json

FILE = "secrets.json"


@dataclass(frozen=True)
class Secrets:
    """Passwords of the database roles and of Valkey, Django's secret key, the first encryption key."""

    postgres: str
    owner: str
    web: str
    worker: str
    valkey: str
    secret_key: str
    encryption_key: str


def make_secrets() -> Secrets:
    """Fresh ones: 192 bits or more each; the encryption key is 32 bytes in URL-safe base64."""
    passwords = {name: secrets.token_urlsafe(24) for name in ("postgres", "owner", "web", "worker", "valkey")}
    return Secrets(
        **passwords,
        secret_key=secrets.token_urlsafe(48),
        encryption_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
    )


def load_secrets(var: Path) -> Secrets:
    """Those of `var`, made and written (0600) at the first call.

    Raises `EmbeddedError` when the file is damaged: new passwords would lock us out of the data they belong to.
    """
    path = var / FILE
    if not path.exists():
        if (var / "postgres" / "PG_VERSION").exists():
            raise EmbeddedError(
                f"{path} is missing, but a database that needs its passwords exists in {var / 'postgres'}. "
                f"Put the file back, or move {var} away to begin anew."
            )
        made = make_secrets()
        write_json(path, asdict(made))
        return made
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = Secrets(**{field.name: str(content[field.name]) for field in fields(Secrets)})
    except (ValueError, KeyError, TypeError) as error:
        raise EmbeddedError(f"{path} is damaged ({error!r}): put a good copy back") from error
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return found

"""The studio's keys: never in a snapshot, which only knows how to recognise them.

Kept apart because of what they open. A backup without them has pictures, prompts and hashes; with them whoever holds it
can sign in as anybody (`SECRET_KEY` signs sessions and links) and read second factors and mails that wait
(`STUDIO_ENCRYPTION_KEYS`). The other way round the backup is worth less without them, so they must be kept somewhere.
"""

from __future__ import annotations

import hmac
import json
import os
from dataclasses import asdict, dataclass
from hashlib import scrypt
from pathlib import Path
from typing import Any

from qwenstudio.backup.disk import make_folder, write_object
from qwenstudio.backup.errors import BackupError


@dataclass(frozen=True)
class Keys:
    """The keys of one studio; newest first where there are several."""

    secret_key: str
    secret_key_fallbacks: tuple[str, ...]
    encryption_keys: tuple[str, ...]


def fingerprints(keys: Keys) -> dict[str, Any]:
    """By which `missing_keys` recognises them; slow to guess from, because somebody may have chosen a short one."""
    salt = os.urandom(16)
    return {
        "salt": salt.hex(),
        "secret_key": _fingerprint(keys.secret_key, salt),
        "encryption_keys": [_fingerprint(key, salt) for key in keys.encryption_keys],
    }


def missing_keys(known: dict[str, Any], keys: Keys) -> list[str]:
    """What a studio with `keys` could not open or would not believe, one sentence each; empty where all fits."""
    salt = bytes.fromhex(known["salt"])
    signs = [_fingerprint(key, salt) for key in (keys.secret_key, *keys.secret_key_fallbacks)]
    opens = {_fingerprint(key, salt) for key in keys.encryption_keys}
    found = []
    if not any(hmac.compare_digest(known["secret_key"], one) for one in signs):
        found.append(
            "SECRET_KEY is another one (and not among SECRET_KEY_FALLBACKS): everybody is signed out, links that were "
            "mailed are spent, receipts of pictures count as nobody's"
        )
    if lacking := [one for one in known["encryption_keys"] if one not in opens]:
        found.append(
            f"{len(lacking)} of {len(known['encryption_keys'])} STUDIO_ENCRYPTION_KEYS are not here: second factors "
            "and e-mails that wait cannot be read, so people with a second factor cannot sign in"
        )
    return found


def write_keys(folder: Path, name: str, keys: Keys) -> str:
    """Put the keys into a file of their own (0600, in a folder for us alone); the name of the one that has them."""
    try:
        make_folder(folder)
        folder.chmod(0o700)
        for file in sorted(folder.glob("*.json"), reverse=True):
            if read_keys(file) == keys:
                file.chmod(0o600)
                return file.name
        write_object(folder / f"{name}.json", asdict(keys))
    except OSError as error:
        raise BackupError(f"the keys could not be written to {folder}: {error.strerror}") from error
    return f"{name}.json"


def read_keys(file: Path) -> Keys:
    """What `write_keys` has written; raises `BackupError`."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Keys(
            str(content["secret_key"]), tuple(content["secret_key_fallbacks"]), tuple(content["encryption_keys"])
        )
    except OSError as error:
        raise BackupError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{file} is no file of keys: {error!r}") from error


def _fingerprint(key: str, salt: bytes) -> str:
    return scrypt(key.encode(), salt=salt, n=2**14, r=8, p=1, dklen=16).hex()

"""Changing the secrets of an installation while it runs: `studio rotate`.

Each secret is one file of `/etc/qwenstudio/secrets`. Whatever is cut off is typed again and goes on: a new password
lies in `<name>.new` before any server hears of it, and takes the old one's place when the server has it.
"""

from __future__ import annotations

from qwenstudio.rotation.errors import RotationError
from qwenstudio.rotation.files import Secrets
from qwenstudio.rotation.steps import SECRETS, Rotation

__all__ = ["SECRETS", "Rotation", "RotationError", "Secrets"]

"""What stops a backup or a restore."""

from __future__ import annotations


class BackupError(Exception):
    """The text is for the operator: what is wrong, where things stand, what to do."""

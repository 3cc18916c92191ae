"""Backup and restore of a whole studio (`docs/backup.md`): database, pictures, models; settings without secrets.

A backup folder holds snapshots, each with a dump of the database and a list of files, and one store of files under
their SHA-256, which all snapshots share: a file once stored is never copied again. `folder.py` has the layout.
"""

from __future__ import annotations

from qwenstudio.backup.errors import BackupError

__all__ = ["BackupError"]

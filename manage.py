#!/usr/bin/env python
"""QwenStudio's command line; without arguments it lists the commands."""

from __future__ import annotations

import os
import sys

# The database role follows from what a process is for: only these change tables, only those may see all tenants.
OWNER_COMMANDS = {"migrate", "makemigrations", "sqlmigrate", "showmigrations", "flush", "dbshell"}
WORKER_COMMANDS = {"gpuworker": "worker", "errandworker": "errands", "ticker": "ticker", "sweep": "ticker"}


def process_of(command: str) -> str:
    """The `STUDIO_PROCESS` of a sub-command."""
    if command in OWNER_COMMANDS:
        return "owner"
    return WORKER_COMMANDS.get(command, "web")


def main() -> None:
    """Run one command of Django's or ours."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qwenstudio.settings")
    os.environ.setdefault("STUDIO_PROCESS", process_of(sys.argv[1] if len(sys.argv) > 1 else ""))
    from django.core.management import execute_from_command_line  # after the environment is set

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()

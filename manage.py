#!/usr/bin/env python
"""QwenStudio's command line; without arguments it lists the commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The database role follows from what a process is for: only these change tables, only those may see all tenants.
OWNER_COMMANDS = {
    "migrate",
    "makemigrations",
    "sqlmigrate",
    "showmigrations",
    "flush",
    "dbshell",
    "backup",
    "restore",
    "rehearse",
}
SERVERS = {"gpuworker", "errandworker", "ticker"}  # they run until they are stopped, and serve other people
REFUSED = 3  # somebody must mend something first: supervisors try again less often
WORKER_COMMANDS = {
    "gpuworker": "worker",
    "errandworker": "errands",
    "ticker": "ticker",
    "sweep": "ticker",
    "rebuild": "ticker",
    "reencrypt": "ticker",
    "release": "worker",
    "rotate": "worker",
    "metrics": "worker",
}


def process_of(command: str) -> str:
    """The `STUDIO_PROCESS` of a sub-command."""
    if command in OWNER_COMMANDS:
        return "owner"
    return WORKER_COMMANDS.get(command, "web")


def join_running_studio() -> None:
    """Beside a running `make run`, let this command work on its database and Valkey, and know its address."""
    if any(os.environ.get(name) for name in ("DATABASE_URL", "DATABASE_URL_FILE")):
        return
    # Costs 0.1 s, which a child that has its URLs need not pay.
    from qwenstudio.embedded import EmbeddedError, find_services, read_settings

    var = Path(os.environ.get("STUDIO_VAR") or Path(__file__).resolve().parent / "var")
    try:
        services = find_services(var)
    except EmbeddedError as error:
        sys.exit(str(error))
    for name, value in (services.environment() | read_settings(var) if services else {}).items():
        if f"{name}_FILE" not in os.environ:
            os.environ.setdefault(name, value)


def refusal_of_settings() -> str:
    """Why, in production, a process that serves others must not start with these settings; empty where it may."""
    import django

    django.setup()
    from qwenstudio.guard import UnsafeSettings, refuse_at_start

    try:
        refuse_at_start()
    except UnsafeSettings as error:
        return str(error)
    return ""


def main() -> None:
    """Run one command of Django's or ours."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qwenstudio.settings")
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    os.environ.setdefault("STUDIO_PROCESS", process_of(command))
    if command == "gpuworker":  # one that was typed, beside those of `up`
        from qwenstudio.processes import SLEEPING_THREADS

        for name, value in SLEEPING_THREADS.items():
            os.environ.setdefault(name, value)
    if command not in ("", "up"):
        join_running_studio()
    # After the environment is set.
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        if command in SERVERS and (refusal := refusal_of_settings()):
            print(refusal, file=sys.stderr)
            sys.exit(REFUSED)
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, OperationalError) as error:
        # What a setting lacks is one sentence, not a page of our own lines. A database that fails is another matter.
        if "--traceback" in sys.argv or type(error).__name__ not in ("ImproperlyConfigured", "NoDatabase"):
            raise
        sys.exit(str(error))


if __name__ == "__main__":
    main()

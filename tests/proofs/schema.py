"""`python -m tests.proofs.schema`: a release's tests pass on the schema of the release that follows it.

While blue and green run over one database, blue works on green's schema. So the tests of the last release (the newest
tag before this commit, checked out beside) run on a database with this checkout's migrations. Before there is such a
tag, this checkout plays the last release, and the one that follows it is a copy with one more migration of each kind
that `release start` lets pass: it must call them harmless, and the tests must not notice them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.proofs.record import ROOT, write_record

TESTS = (
    "tests/accounts/domain",
    "tests/generation/domain",
    "tests/generation/api",
    "tests/generation/web",
    "tests/generation/releases/test_handover.py",
    "tests/generation/worker/test_process.py",
)
PROVES = ("generation/releases/migrations.py", "generation/migrations", "accounts/migrations", "tests/proofs/schema.py")
# One of each kind that expands (docs/releases.md).
EXPANDING = '''"""Planted: what the next release might add."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("{app}", "{last}")]
    operations = [
        migrations.CreateModel("Planted", [("id", models.BigAutoField(primary_key=True))]),
        migrations.AddField("{model}", "planted_note", models.TextField(null=True)),
        migrations.AddField("{model}", "planted_count", models.IntegerField(db_default=0)),
        migrations.AddIndex("{model}", models.Index(fields=["planted_note"], name="planted_{app}")),
        {longer}
    ]
'''
PLACES = {
    "generation": ("Generation", 'migrations.AlterField("model", "title", models.CharField(max_length=400)),'),
    "accounts": ("Tenant", 'migrations.AlterField("tenant", "name", models.CharField(max_length=400)),'),
}


def last_release(root: Path = ROOT) -> str:
    """The newest tag before this commit; empty where there is none."""
    line = ["git", "-C", str(root), "describe", "--tags", "--abbrev=0", "HEAD^"]
    return subprocess.run(line, capture_output=True, text=True).stdout.strip()


@contextmanager
def two_releases(folder: Path) -> Iterator[tuple[Path, Path, str]]:
    """The folders of the release that runs and of the one that follows, and how they came about."""
    if tag := last_release():
        old = folder / "old"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(old), tag], check=True)
        try:
            yield old, ROOT, f"tests of {tag} on this checkout's schema"
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(old)], check=True)
    else:
        yield ROOT, add_migrations(folder / "new"), "this checkout's tests on a schema with planted migrations"


def add_migrations(folder: Path) -> Path:
    """A copy of this checkout that has one more migration in each app."""
    shutil.copytree(
        ROOT, folder, ignore=shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", "*.safetensors", ".*_cache")
    )
    for app, (model, longer) in PLACES.items():
        where = folder / app / "migrations"
        last = max(path.stem for path in where.glob("0*.py"))
        text = EXPANDING.format(app=app, last=last, model=model.lower(), longer=longer)
        (where / "0999_planted.py").write_text(text, encoding="utf-8")
    return folder


def run_tests(old: Path, new: Path, tests: Sequence[str]) -> dict[str, Any]:
    """The old release's tests on a database that the new one has migrated; what pytest counted."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STUDIO_", "DATABASE_", "REDIS_URL", "SECRET_", "DJANGO_", "PYTEST_"))
    }
    line = [sys.executable, "-m", "pytest", "-q", "--durations=0", "--durations-min=1000", *tests]
    done = subprocess.run(
        line, cwd=old, env={**environment, "SCHEMA_FROM": str(new)}, capture_output=True, text=True, timeout=1800
    )
    counted = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    return {**counted, "exit_code": done.returncode, **({} if done.returncode == 0 else {"said": done.stdout[-3000:]})}


def judge(new: Path, services: Any) -> list[dict[str, Any]]:
    """What the new release says of its own migrations, on a database of the old one."""
    environment = {**os.environ, **services.environment(), "STUDIO_PROCESS": "owner"}
    line = [sys.executable, "manage.py", "release", "migrations"]
    done = subprocess.run(line, cwd=new, env=environment, capture_output=True, text=True, timeout=120, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return found


def is_good(counts: dict[str, Any]) -> bool:
    """Some tests ran, all passed, and nothing that was judged takes anything away."""
    result = counts["tests"]
    return bool(
        result["exit_code"] == 0
        and result.get("passed", 0) > 0
        and not any(one["contracting"] for one in counts["migrations"])
    )


def main() -> int:
    """1 when the old release's tests fail on the new schema."""
    from tests.proofs.studio import own_database

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-schema-"))
    try:
        with two_releases(folder) as (old, new, how):
            migrations = []
            if old == ROOT:
                with own_database(folder / "studio", process="owner") as services:
                    migrations = judge(new, services)
            counts = {"how": how, "migrations": migrations, "tests": run_tests(old, new, TESTS)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    good = is_good(counts)
    write_record("schema", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(counts)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

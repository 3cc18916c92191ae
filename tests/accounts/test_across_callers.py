"""`across_tenants()` is the one way past the border between tenants: whoever uses it stands here, with the reason."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CALLERS = {
    "accounts/domain/audit.py": "events of the installation belong to no tenant",
    "accounts/domain/denials.py": "a refused key that is unknown belongs to no tenant",
    "accounts/domain/errands.py": "errands of all tenants are claimed in one order; the installation's own have none",
    "accounts/domain/reseal.py": "a new key of the studio seals what all tenants have waiting",
    "qwenstudio/metrics/levels.py": "depth and age of the queue are everybody's together; counts, no rows",
    "generation/domain/erase.py": "removes a tenant's rows wherever they are, and notes it for the installation",
    "accounts/web/middleware.py": "staff in the admin manage all tenants",
}


def callers() -> set[str]:
    """The modules that name it, from the syntax trees of everything that is not a test."""
    found = set()
    for folder in ("accounts", "generation", "qwenstudio", "benchmarks"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            names = (
                node.id if isinstance(node, ast.Name) else node.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Name | ast.Attribute)
            )
            if "across_tenants" in names:
                found.add(file.relative_to(ROOT).as_posix())
    return found


def test_callers_are_the_listed_ones() -> None:
    assert callers() == CALLERS.keys()


def test_reasons_are_given() -> None:
    assert all(reason for reason in CALLERS.values())

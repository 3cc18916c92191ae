"""`docs/roles.md`, printed from the table of rights: `python -m tests.roles` writes it."""

from __future__ import annotations

import os
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "roles.md"

HEAD = """# Roles

What each role may do, and the scope that an API key needs for it. A person who is signed in has all that their role
has; a key has what its scopes and its member's role both allow, so a key ends where its member's role ends, with the
next request. Nothing else decides: pages, API and domain ask the same table, `accounts/domain/roles.py`, from which
this page is printed (`python -m tests.roles`). `tests/accounts/test_roles.py` goes through the whole of it: every
right, every role, signed in, by a key with the scope and by one without it.
"""

TAIL = """Three things hold beside the table:

- Nobody changes their own role, and a tenant keeps at least one owner: the last one can neither leave nor lose it.
- Owners are invited, made, unmade and taken out by owners only.
- Everybody may leave, signed in. Their keys are revoked, and do not come back when they join again.
"""


def print_page() -> str:
    """The whole page."""
    from accounts.domain.roles import ROLE_SCOPES, Right  # needs settings
    from accounts.enums import Role, Scope

    roles = list(Role)
    lines = [
        f"| right | {' | '.join(role.value for role in roles)} | scope of a key |",
        f"|---|{'---|' * len(roles)}---|",
    ]
    for right in Right:
        marks = ["✓" if right.is_held_by(role) else "–" for role in roles]
        lines.append(f"| {right.title} | {' | '.join(marks)} | `{right.scope.value}` |")
    scopes = ["| role | scopes that its keys may have |", "|---|---|"]
    for role in roles:
        held = [f"`{scope.value}`" for scope in Scope if scope.value in ROLE_SCOPES[role.value]]
        scopes.append(f"| {role.value} | {', '.join(held)} |")
    return "\n".join([HEAD, *lines, "", *scopes, "", TAIL])


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "qwenstudio.settings"
    os.environ.setdefault("SECRET_KEY", "roles")
    import django

    django.setup()
    PAGE.write_text(print_page(), encoding="utf-8")

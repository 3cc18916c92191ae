"""The guard's rules in `docs/operations.md`, printed from the code: `python -m tests.guardtable` writes them."""

from __future__ import annotations

import os
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operations.md"
BEGIN, END = "<!-- the guard's rules: python -m tests.guardtable -->", "<!-- end of the guard's rules -->"
_BLOCK = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


def with_table(page: str) -> str:
    """The page with the table as the code has it."""
    from qwenstudio.guard import print_table

    block = f"{BEGIN}\n\n{print_table()}\n\n{END}"
    found, count = _BLOCK.subn(lambda _: block, page)
    assert count == 1, f"{PAGE} must hold {BEGIN} … {END} once"
    return found


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "qwenstudio.settings"
    os.environ.setdefault("SECRET_KEY", "guard")
    import django

    django.setup()
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

"""Every series that `/metrics` may show, as the code declares it; `python -m tests.series` prints the table of
`docs/metrics.md`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
BEGIN, END = "<!-- series: begin -->\n", "<!-- series: end -->\n"


@dataclass(frozen=True, slots=True)
class Series:
    """One family: its name as it is printed, its type, its labels, what it says."""

    name: str
    type: str
    labels: tuple[str, ...]
    text: str

    @property
    def samples(self) -> set[str]:
        """The names that queries may use."""
        if self.type == "histogram":
            return {f"{self.name}_{end}" for end in ("bucket", "sum", "count")}
        return {self.name}


def all_series() -> list[Series]:
    """Those of every source, also of those that have nothing to say here. Needs Django, no database."""
    from django.conf import settings

    import generation.meters  # noqa: F401  (registers its own)
    from accounts.meters import FORMS, REGISTRY
    from generation.domain.levels import Levels
    from qwenstudio.metrics.levels import make_families, make_up
    from qwenstudio.metrics.machine import read_machine
    from qwenstudio.metrics.show import Rest

    errands = {"due": 0, "running": 0, "later": 0, "failed": 0, "oldest_s": 0.0}
    database = {"connections": 1, "most": 1, "tickers": 0}
    nothing = Levels(queue=[], models=[], workers=[], pools=[], errands=errands, database=database)
    before = settings.STUDIO_CERTIFICATE, settings.REDIS_URL
    settings.STUDIO_CERTIFICATE, settings.REDIS_URL = Path("/nowhere"), "redis://127.0.0.1:1/0"
    try:
        rest = Rest([read_machine, lambda: make_families(nothing)], living={}, started=0.0)
        families = [*REGISTRY.collect(), *rest.collect(), make_up(connected=True)]
    finally:
        settings.STUDIO_CERTIFICATE, settings.REDIS_URL = before
    return sorted(
        (
            Series(
                name=family.name + ("_total" if family.type == "counter" else ""),
                type=family.type,
                labels=FORMS[family.name][0] if family.name in FORMS else tuple(getattr(family, "_labelnames", ())),
                text=family.documentation,
            )
            for family in families
        ),
        key=lambda series: series.name,
    )


def find_routes() -> set[str]:
    """Every value that the label `route` may have."""
    from django.urls import URLPattern, get_resolver

    def walk(patterns: list[object]) -> set[str]:
        found: set[str] = set()
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                found |= {str(pattern.name)} if pattern.name else set()
            else:
                found |= walk(pattern.url_patterns)  # type: ignore[attr-defined]
        return found

    return walk(get_resolver().url_patterns) | {
        "admin",
        "static",
        "unknown",
        "api-images-wait",
        "api-sentiment",
        "openai-chat",
    }


def print_table() -> str:
    """The table of `docs/metrics.md`."""
    rows = ["| series | type | labels | says |", "|---|---|---|---|"]
    for series in all_series():
        labels = ", ".join(f"`{label}`" for label in series.labels) or "–"
        rows.append(f"| `{series.name}` | {series.type} | {labels} | {series.text} |")
    return "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    """The page, its table printed anew."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{print_table()}\n{END}{tail}"


def main() -> None:
    """Write the page."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qwenstudio.settings")
    os.environ.setdefault("SECRET_KEY", "only to load the code")
    import django

    django.setup()
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

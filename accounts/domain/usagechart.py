"""Usage as a picture of days: the groups that used most, each day's sums of them, and the rest together."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from accounts.domain.sql import fetch_all
from accounts.domain.usage import COLUMNS, SUMMED, SUMS, WHERE, UsageFilter, name_keys, name_members
from accounts.enums import Metric
from accounts.ids import NO_ID

SERIES = 5  # groups with a colour of their own
ROWS = 100  # of the table


@dataclass(frozen=True, slots=True)
class Sums:
    """Of each metric; the units are in the names."""

    images: int = 0
    gpu_ms: int = 0
    tokens: int = 0

    def of(self, metric: str) -> int:
        """One of them."""
        return int(getattr(self, metric))


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One member, key or model with what it used. `place` 1 used most; `name` is empty for none of them."""

    place: int
    id: str
    name: str
    sums: Sums


@dataclass(slots=True)
class UsageReport:
    """Everything that the page shows of a period."""

    days: list[date]
    by_day: dict[date, dict[int, Sums]] = field(default_factory=dict)  # day → place (0: the rest) → sums
    rows: list[GroupRow] = field(default_factory=list)
    groups: int = 0  # how many there are beyond the rows too
    total: Sums = field(default_factory=Sums)
    models: list[str] = field(default_factory=list)  # of the tenant, whenever it used them

    def day(self, day: date) -> Sums:
        """A day's sums over all groups."""
        parts = self.by_day.get(day, {}).values()
        return Sums(*(sum(part.of(name) for part in parts) for name in Sums.__slots__))


# The ledger's column of a group, and as text that is never null.
_GROUPS = {
    "": ("NULL::text", "''"),
    "member": (COLUMNS["member"], f"coalesce(c.grp, '{NO_ID}')::text"),
    "key": (COLUMNS["key"], f"coalesce(c.grp, '{NO_ID}')::text"),
    "model": (COLUMNS["model"], "c.grp"),
}
_SUMS_OF_CELLS = ", ".join(f"coalesce(sum(c.{name}), 0)::bigint AS {name}" for name in SUMMED)
# One walk through the period's entries; the rest is sums of sums. `place` 0 in a day: all that have no colour.
_REPORT_SQL = """
WITH raw AS MATERIALIZED (
  SELECT e.charged_on AS day, {column} AS grp, {picked} FROM accounts_ledgerentry e WHERE {where} GROUP BY 1, 2
),
cells AS (SELECT c.day, {group} AS grp, c.images, c.gpu_ms, c.tokens FROM raw c),
totals AS MATERIALIZED (
  SELECT t.*, row_number() OVER (ORDER BY {metric} DESC, grp) AS place FROM (
    SELECT c.grp, {sums} FROM cells c GROUP BY c.grp) t
)
SELECT 'group' AS kind, NULL::date AS day, t.grp AS name, t.place::int, t.images, t.gpu_ms, t.tokens
  FROM totals t WHERE t.place <= %(rows)s
UNION ALL
SELECT 'day', c.day, '', CASE WHEN t.place <= %(series)s THEN t.place ELSE 0 END::int, {sums}
  FROM cells c JOIN totals t ON t.grp = c.grp GROUP BY 2, 4
UNION ALL
SELECT 'all', NULL, '', (SELECT count(*) FROM totals)::int, {sums} FROM cells c
"""
# From one name to the next by the index accounts_ledger_models, without reading what lies between.
_MODELS_SQL = """
WITH RECURSIVE found AS (
  SELECT min(label) AS label FROM accounts_ledgerentry
   WHERE tenant_id = %(tenant)s AND kind = 'reserve' AND metric <> 'gpu_ms'
  UNION ALL
  SELECT (SELECT min(e.label) FROM accounts_ledgerentry e
           WHERE e.tenant_id = %(tenant)s AND e.kind = 'reserve' AND e.metric <> 'gpu_ms' AND e.label > f.label)
    FROM found f WHERE f.label IS NOT NULL
)
SELECT label FROM found WHERE label <> ''
"""


def report_usage(wanted: UsageFilter, *, by: str, metric: str) -> UsageReport:
    """Usage by day, and by member, key or model where `by` names one of them; ordered by a metric.

    Two or three statements, however long the ledger.
    """
    column, group = _GROUPS[by]
    sql = _REPORT_SQL.format(
        column=column, group=group, picked=SUMS, where=WHERE, metric=Metric(metric).value, sums=_SUMS_OF_CELLS
    )
    rows = fetch_all(sql, rows=ROWS, series=SERIES, **wanted.parameters())
    report = UsageReport(days=wanted.days)
    names = _names(by, [row["name"] for row in rows if row["kind"] == "group"])
    for row in rows:
        sums = Sums(images=row["images"], gpu_ms=row["gpu_ms"], tokens=row["tokens"])
        match row["kind"]:
            case "group":
                report.rows.append(GroupRow(row["place"], row["name"], names.get(row["name"], ""), sums))
            case "day":
                report.by_day.setdefault(row["day"], {})[row["place"]] = sums
            case "all":
                report.groups, report.total = row["place"], sums
    report.rows.sort(key=lambda found: found.place)
    report.models = [row["label"] for row in fetch_all(_MODELS_SQL, tenant=wanted.tenant)]
    return report


def _names(by: str, ids: list[str]) -> dict[str, Any]:
    if by == "model":
        return {name: name for name in ids}
    if by not in ("member", "key"):
        return {}
    known = [UUID(text) for text in ids if UUID(text) != NO_ID]
    found = name_members(known) if by == "member" else name_keys(known)
    return {str(id): name for id, name in found.items()}

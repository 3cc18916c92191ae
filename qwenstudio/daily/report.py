"""The report of one day: as values, and as plain text for people and e-mails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.conf import settings

from qwenstudio.backup.outcome import read_outcome
from qwenstudio.daily.accesslog import Log
from qwenstudio.daily.stored import TOP, Stored
from qwenstudio.doctor.finding import GIB
from qwenstudio.doctor.room import find_folders, room_of
from qwenstudio.proxy import ProxyError
from qwenstudio.proxy.certificates import find_certificate
from qwenstudio.units.layout import Layout

NEEDS_LOG = "needs the access log: --log FILE"


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine at this moment (not on the day): certificates' days, bytes free by folder, hours since a backup."""

    certificates: Mapping[str, float]
    disks: Mapping[str, int]
    backup_age_h: float | None


def look_at_machine() -> Machine:
    """What the doctor looks at too."""
    try:
        found = find_certificate(Layout.here())
    except ProxyError:
        found = None
    certificates = {found[0]: round(found[1].days_left, 1)} if found else {}
    disks = {title: free for title, path in find_folders().items() if (free := room_of(path)) is not None}
    age_s = read_outcome(settings.STUDIO_VAR, backups=Layout.here().backups).age_s
    return Machine(certificates=certificates, disks=disks, backup_age_h=None if age_s is None else age_s / 3600)


def make_report(day: date, stored: Stored, log: Log | None, machine: Machine) -> dict[str, Any]:
    """Everything, ready for JSON; what needs the log and has none is null."""
    return {
        "day": day.isoformat(),
        "requests": {"total": log.requests, "statuses": dict(sorted(log.statuses.items()))} if log else None,
        "refused": _refused(log, stored.prefixes) if log else None,
        "refused_noted": list(stored.refused),
        "slowest_routes": log.slowest(TOP) if log else None,
        "generations": dict(stored.pictures),
        "failed": list(stored.failed),
        "failures": list(stored.reasons),
        "latency": dict(stored.latency),
        "tenants": list(stored.tenants),
        "gpu": list(stored.gpu),
        "errands": dict(stored.errands),
        "sign_ins": dict(stored.sign_ins),
        "certificates": dict(machine.certificates),
        "disks_free": dict(machine.disks),
        "backup_age_h": None if machine.backup_age_h is None else round(machine.backup_age_h, 1),
    }


def _refused(log: Log, prefixes: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"code": code, "key": prefixes.get(key, "(deleted)") if key else "", "count": count}
        for (code, key), count in log.refused.most_common(TOP)
    ]


def print_report(report: Mapping[str, Any]) -> str:
    """Plain text, at most 100 characters wide."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    made, late = report["generations"], report["latency"]
    yield f"QwenStudio on {report['day']} (UTC)"
    yield from _requests(report)
    yield _line(
        "pictures asked for",
        f"{made['accepted']} by {made['tenants']} organisations: {made['succeeded']} drawn, {made['failed']} failed, "
        f"{made['canceled']} cancelled, {made['open']} open",
    )
    yield _line("until drawn, median", _against(late["p50_ms"], late["p50_ms_before"], late["days_before"]))
    yield _line("until drawn, 95 %", _against(late["p95_ms"], late["p95_ms_before"], late["days_before"]))
    yield from _table("failed, by code and key", report["failed"], _by_key)
    yield from _table(
        "failures by reason",
        report["failures"],
        lambda row: f"{row['reason']}: {row['tries']} tries of {row['generations']} pictures",
    )
    yield from _table(
        "GPU time by organisation",
        report["tenants"],
        lambda row: f"{row['name']}: {row['gpu_s']:,.0f} s, {row['images']} images",
    )
    yield from _table(
        "GPU memory, last reported",
        report["gpu"],
        lambda row: (
            f"{row['name']} ({row['lane']}, {row['pool']}): {row['memory_used'] / GIB:,.1f} of "
            f"{row['memory_total'] / GIB:,.1f} GiB, {row['device']}"
        ),
    )
    errands, people = report["errands"], report["sign_ins"]
    yield _line("errands failed", f"{errands['failed']} (now in the list: {errands['failed_now']})")
    yield _line("sign-ins", f"{people['signed_in']}, and {people['refused']} refused")
    yield ""
    yield "This machine now"
    yield from _machine(report)


def _requests(report: Mapping[str, Any]) -> Iterator[str]:
    requests = report["requests"]
    if requests is None:
        yield _line("requests", NEEDS_LOG)
        yield _line("slowest routes", NEEDS_LOG)
        yield from _table("refused, noted (1 a minute)", report["refused_noted"], _by_key)
        return
    words = ", ".join(f"{count} {name}" for name, count in requests["statuses"].items())
    yield _line("requests", f"{requests['total']}" + (f": {words}" if words else ""))
    yield from _table("refused, by code and key", report["refused"], _by_key)
    yield from _table(
        "slowest routes, 95 %",
        report["slowest_routes"],
        lambda row: (
            f"{row['route']}: {row['p95_ms']:,.0f} ms, at most {row['slowest_ms']:,.0f} ms, {row['count']} requests"
            + (f", {row['errors']} errors" if row["errors"] else "")
        ),
    )


def _machine(report: Mapping[str, Any]) -> Iterator[str]:
    yield from _table(
        "certificates", list(report["certificates"].items()), lambda row: f"{row[0]}: {row[1]:.0f} days left"
    )
    yield from _table(
        "room on disks", list(report["disks_free"].items()), lambda row: f"{row[0]}: {row[1] / GIB:,.0f} GiB free"
    )
    age = report["backup_age_h"]
    yield _line("newest backup", "none" if age is None else f"{age:.0f} hours old")


def _by_key(row: Mapping[str, Any]) -> str:
    return f"{row['code'] or 'no code'}, {row['key'] + '…' if row['key'] else 'no key'}: {row['count']}"


def _against(ms: int | None, before: int | None, days: int) -> str:
    if ms is None:
        return "nothing was drawn"
    if not before:
        return f"{ms / 1000:,.1f} s (nothing drawn in the 7 days before)"
    return f"{ms / 1000:,.1f} s (mean of {days} of the 7 days before: {before / 1000:,.1f} s, {ms / before - 1:+.0%})"


def _table(title: str, rows: Sequence[Any], say: Any) -> Iterator[str]:
    """The first line carries the title; without rows it says so."""
    if not rows:
        yield _line(title, "none")
    for number, row in enumerate(rows):
        yield _line("" if number else title, say(row))


def _line(title: str, text: str) -> str:
    return f"  {title:<28}{text}"

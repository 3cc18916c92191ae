"""What a load run counted: times by action, failures by reason, refusals apart from them, pictures by their end.

Pure Python; `locustfile.py` feeds it. A refusal (429) is no failure: the studio keeps a limit that somebody has set. It
is counted with its `code`, so that a run in which limits refused half of the load is not mistaken for a good one.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

GROUPS = {
    "page": "what a browser asks for to show a page",
    "api": "calls of the API that nobody expects to wait",
    "file": "pictures and thumbnails",
    "static": "styles, scripts and icons",
    "stream": "event streams, until the first byte",
    "sign-in": "passwords, which cost time on purpose",
    "wait": "from asking to having the picture: mostly the queue",
    "held": "answers that wait for the picture because they were asked to",
}
REFUSED = "refused"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass
class Tally:
    """One run. Times count once all clients are there, failures and pictures from the first request."""

    times: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    accepted: dict[str, float] = field(default_factory=dict)
    """Generations by when they were asked for."""
    ends: dict[str, str] = field(default_factory=dict)
    """Generations by how they ended, as far as a client has seen it."""
    reopened: int = 0
    """Streams that were cut and came back, as browsers do."""
    clients: int = 0
    """How many there are to be; 0 while they still come."""
    arrived: int = 0
    is_complete: bool = False
    ended: float | None = None
    began: float = field(default_factory=time.monotonic)

    def expect(self, clients: int) -> None:
        """So many are there or at the door."""
        self.clients = clients
        self._begin_if_all_are_here()

    def arrive(self) -> None:
        """One has signed in."""
        self.arrived += 1
        self._begin_if_all_are_here()

    def _begin_if_all_are_here(self) -> None:
        """What was measured on the way up is forgotten."""
        if self.arrived == self.clients:
            self.times.clear()
            self.began = time.monotonic()
            self.is_complete = True

    def note(self, group: str, action: str, milliseconds: float, *, failure: str = "") -> None:
        """One request. Of a refusal the action ends with its code."""
        if group == REFUSED:
            self.refusals[action] += 1
            self.requests += 1
            return
        self.requests += group != "wait"  # no request of its own
        if failure:
            self.failures[f"{group} {action}: {tidy(failure)}"] += 1
        elif self.ended is None:
            self.times[group, action].append(milliseconds)

    def stop_measuring(self) -> None:
        """Time is up. Clients finish what they do; how long that takes under less and less load says nothing."""
        self.ended = self.ended or time.monotonic()

    def accept(self, generation: str, *, at: float) -> None:
        """The studio has taken a request for a picture that was sent at that moment (`time.monotonic`)."""
        self.accepted.setdefault(generation, at)

    def end(self, generation: str, status: str) -> float | None:
        """A client has seen how it ended; milliseconds since it was asked for, None for one that it knew already."""
        if generation in self.ends or generation not in self.accepted:
            return None
        self.ends[generation] = status
        return (time.monotonic() - self.accepted[generation]) * 1000

    @property
    def failed(self) -> int:
        """All failures."""
        return sum(self.failures.values())

    def summary(self, **about: Any) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        by_group: defaultdict[str, list[float]] = defaultdict(list)
        for (group, _), times in self.times.items():
            by_group[group] += times
        seconds = max((self.ended or time.monotonic()) - self.began, 1e-3)
        return {
            **about,
            "clients": self.clients,
            "all_came": self.is_complete,
            "measured_s": round(seconds, 1),
            "requests": self.requests,
            "failed": self.failed,
            "error_share": round(self.failed / self.requests, 6) if self.requests else 0.0,
            "failures": dict(self.failures.most_common()),
            "refused": sum(self.refusals.values()),
            "refusals": dict(self.refusals.most_common()),
            "pictures": {"accepted": len(self.accepted), **Counter(self.ends.values())},
            "streams_reopened": self.reopened,
            "groups": {
                group: {**figures(times), "per_s": round(len(times) / seconds, 2)}
                for group, times in ordered(by_group).items()
            },
            "actions": {f"{group} {name}": figures(times) for (group, name), times in sorted(self.times.items())},
        }


def ordered(groups: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """In the order of `GROUPS`."""
    return {name: groups[name] for name in GROUPS if name in groups}


def figures(milliseconds: Iterable[float]) -> dict[str, float]:
    """Count, p50, p95, p99 and the longest, in milliseconds (nearest rank)."""
    found = sorted(milliseconds)
    if not found:
        return {"count": 0}

    def rank(share: float) -> float:
        return round(found[max(0, math.ceil(share * len(found)) - 1)], 1)

    return {"count": len(found), "p50_ms": rank(0.5), "p95_ms": rank(0.95), "p99_ms": rank(0.99), "max_ms": rank(1)}


def tidy(reason: str) -> str:
    """A reason without what makes each one different: ids, ports, addresses in memory."""
    text = _ID.sub("…", reason)
    text = re.sub(r"0x[0-9a-f]+|(?<=:)\d{4,5}\b|fd=\d+", "…", text)
    return text[:160]


def lines_of(summary: Mapping[str, Any]) -> list[str]:
    """The summary for people."""
    found = [f"{'':<9}{'count':>8}{'per s':>9}{'p50':>9}{'p95':>9}{'p99':>9}{'longest':>9}   milliseconds"]
    for group, its in summary["groups"].items():
        values = (its["p50_ms"], its["p95_ms"], its["p99_ms"], its["max_ms"])
        cells = "".join(f"{value:>9.0f}" for value in values)
        found.append(f"{group:<9}{its['count']:>8}{its['per_s']:>9.2f}{cells}   {GROUPS[group]}")
    pictures = ", ".join(f"{count} {name}" for name, count in summary["pictures"].items())
    if not summary["all_came"]:
        found.append("The run ended before all clients were there: give it more time (--run-time)")
    found.append(f"{summary['requests']} requests, {summary['failed']} failed, {summary['refused']} refused")
    found.append(f"pictures: {pictures}; event streams that came back: {summary['streams_reopened']}")
    found += [f"  failed   {count:>6}  {reason}" for reason, count in summary["failures"].items()]
    found += [f"  refused  {count:>6}  {reason}" for reason, count in summary["refusals"].items()]
    return found

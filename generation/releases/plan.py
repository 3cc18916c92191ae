"""Side by side or hand-over: what the running workers hold, against what the other lane's would need beside them.

Measured, not declared: a worker that has loaded the same models says how much memory they take, and how long that took.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accounts.domain.sql import fetch_all, fetch_one
from generation.domain.catalog import in_lane, spec_of
from generation.domain.fairness import PASS_MS
from generation.domain.place import WORKER_SILENT_S
from generation.engine.errors import CatalogError
from generation.enums import ReleaseMode
from generation.models import Model

SPARE = 0.05  # of a GPU's memory: two processes fragment it, and the driver keeps some for each
_MIB = 1024**2

# What a lane's live workers hold. While one draws, its memory includes the pass's.
_WORKERS_SQL = f"""
SELECT id, name, pool, serves, hardware, device, memory_used, memory_total FROM generation_worker
 WHERE lane = %(lane)s AND state IN ('idle', 'busy', 'drained')
   AND seen_at > now() - interval '{WORKER_SILENT_S} seconds'
 ORDER BY name
"""  # noqa: S608  (a number of this package)
# The newest loading of each pool, in whichever lane.
_LOAD_SQL = """
SELECT max(load_ms) AS ms FROM (
  SELECT DISTINCT ON (pool) load_ms FROM generation_worker WHERE load_ms IS NOT NULL ORDER BY pool, started_at DESC) l
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The way, the sentences that say why, and how long nothing would be drawn (None: it was never measured)."""

    mode: ReleaseMode
    why: tuple[str, ...]
    load_s: float | None

    def say_pause(self) -> str:
        """What the people who wait will notice."""
        if self.mode == ReleaseMode.SIDE_BY_SIDE:
            return "no pause: both lanes draw at the same time"
        if self.load_s is None:
            return "a pause as long as the models take to load, which was not measured yet"
        return (
            f"a pause of about {self.load_s:.0f} s, the last measured loading, and the end of the pass that runs "
            f"(up to {PASS_MS // 1000} s); requests are accepted meanwhile and wait"
        )


def live_workers(lane: str) -> list[dict[str, Any]]:
    """The workers of a lane that hold models now."""
    return fetch_all(_WORKERS_SQL, lane=lane)


def find_fit(*, beside: str) -> Fit:
    """Whether a second set of workers fits beside those of the lane `beside`."""
    return judge(live_workers(beside), declared=_declared(), load_s=last_load_s(), beside=beside)


def judge(
    workers: Sequence[Mapping[str, Any]],
    *,
    declared: Mapping[str, Mapping[str, int]],
    load_s: float | None,
    beside: str,
) -> Fit:
    """The arithmetic. `declared`: pool → model → bytes that its entry names (0: it does not say)."""
    if not workers:
        nobody = f"no GPU worker of {beside} runs, so none holds memory"
        return Fit(mode=ReleaseMode.SIDE_BY_SIDE, why=(nobody,), load_s=load_s)
    devices: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for worker in workers:
        # Workers on the CPU share the machine's memory; a GPU has one worker of each lane.
        devices["cpu" if str(worker["hardware"]).startswith("cpu") else str(worker["id"])].append(worker)
    fits = True
    why: list[str] = []
    for group in devices.values():
        held = sum(worker["memory_used"] for worker in group)
        needed = held + sum(_newcomers(worker, declared) for worker in group)
        total = max(worker["memory_total"] for worker in group)
        room = total * (1 - SPARE) - held
        fits = fits and total > 0 and needed <= room
        name = group[0]["device"] or group[0]["hardware"] or "its device"
        who = ", ".join(worker["name"] for worker in group)
        said = f"{who} holds {_mib(held)} of {_mib(total)} ({name}); a second one needs {_mib(needed)}"
        why.append(f"{said}: {'it fits' if total > 0 and needed <= room else 'it does not fit'}")
    return Fit(mode=ReleaseMode.SIDE_BY_SIDE if fits else ReleaseMode.HAND_OVER, why=tuple(why), load_s=load_s)


def last_load_s() -> float | None:
    """Seconds from a worker's start to its first claim, of the pool that takes longest; pools load at once."""
    row = fetch_one(_LOAD_SQL)
    return row["ms"] / 1000 if row and row["ms"] is not None else None


def required_models(*, lane: str, beside: str) -> list[str]:
    """What `lane` must serve before it is ready: every enabled model of its own that the running one serves too.

    Where none of its workers runs, every enabled model of the lane.
    """
    enabled = list(Model.objects.filter(in_lane(lane), enabled=True).values_list("slug", flat=True))
    served = {slug for worker in live_workers(beside) for slug in _serves(worker)}
    return [slug for slug in enabled if slug in served] or enabled


def _serves(worker: Mapping[str, Any]) -> list[str]:
    found = worker["serves"]
    return list(json.loads(found) if isinstance(found, str) else found)


def _newcomers(worker: Mapping[str, Any], declared: Mapping[str, Mapping[str, int]]) -> int:
    """What models would add that the pool has got since this worker was started."""
    mine = declared.get(worker["pool"], {})
    return sum(size for slug, size in mine.items() if slug not in _serves(worker))


def _declared() -> dict[str, dict[str, int]]:
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for model in Model.objects.filter(enabled=True):
        try:
            found[model.pool][model.slug] = spec_of(model).memory_bytes
        except CatalogError:  # a broken entry is the worker's to complain of
            found[model.pool][model.slug] = 0
    return dict(found)


def _mib(size: int) -> str:
    return f"{size / _MIB:,.0f} MiB"

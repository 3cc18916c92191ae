"""What the now page says, in the reader's language: rows of the domain become short sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.enums import ErrandKind
from generation.domain.now import Now, PoolNow
from generation.domain.waits import Wait, Why
from generation.enums import LaneState, Status, WorkerState
from generation.releases.compare.words import say_verdict
from generation.staff.workers import say_memory

STATES = dict(WorkerState.choices)
ENDED = (WorkerState.STOPPED, WorkerState.FAILED)


def describe_now(now: Now) -> dict[str, Any]:
    """Everything that the template prints."""
    pools = {(pool.lane, pool.name): pool for pool in now.pools}
    return {
        "at": now.now,
        "figures": _figures(now),
        "running": [_running(row, now.now) for row in now.running],
        "running_more": max(0, now.running_total - len(now.running)),
        "waits": [_wait(wait, pools, now.now) for wait in now.waits],
        "waits_more": max(0, now.waiting_tenants - len(now.waits)),
        "lanes": [_lane(row, now.now) for row in now.lanes if row["state"] != LaneState.STOPPED],
        "pools": [_pool(pool, now.now) for pool in now.pools],
        "workers": [_worker(row, now.now) for row in now.workers],
        "failures": [_failure(row, now.now) for row in now.failures],
        "usage": [_usage(row) for row in now.usage],
        "usage_more": max(0, now.usage_total["tenants"] - len(now.usage)),
        "usage_total": {
            "images": now.usage_total["all_images"],
            "gpu": say_seconds(now.usage_total["all_gpu_ms"] / 1000),
        },
        "errands": now.errands | {"age": say_age(now.errands.get("oldest"), now.now)},  # type: ignore[operator]
        "failed_errands": [_errand(row, now.now) for row in now.failed_errands],
        "database": now.database,
        "redis_ms": now.redis_ms,
    }


def _figures(now: Now) -> list[dict[str, Any]]:
    """The line at the top: whether all is well, at one look."""
    drawing = sum(pool.drawing for pool in now.pools)
    oldest = min((pool.oldest for pool in now.pools if pool.oldest), default=None)
    failed = int(now.errands.get("failed") or 0)
    return [
        {"title": _("running"), "value": now.running_total},
        {"title": _("waiting"), "value": now.waiting, "bad": bool(now.waiting and not drawing)},
        {"title": _("oldest wait"), "value": say_age(oldest, now.now) or "–"},
        {"title": _("workers that draw"), "value": drawing, "bad": not drawing},
        {"title": _("errands failed"), "value": failed, "bad": failed > 0},
        {"title": "PostgreSQL", "value": _("%(ms).1f ms") % {"ms": now.database["ms"]}},
        {
            "title": "Valkey",
            "value": _("away") if now.redis_ms is None else _("%(ms).1f ms") % {"ms": now.redis_ms},
            "bad": now.redis_ms is None,
        },
    ]


def _running(row: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    notes = []
    if row["cancelling"]:
        notes.append(_("is being cancelled"))
    if row["expired"]:
        notes.append(_("its lease has run out"))
    if row["n"] > 1:
        notes.append(_("%(done)d of %(n)d images done") % {"done": row["done"], "n": row["n"]})
    return {
        **row,
        "url": reverse("admin:generation_generation_change", args=[row["id"]]),
        "tenant_url": reverse("admin:accounts_tenant_change", args=[row["tenant"]]),
        "age": say_age(row["started_at"], at),
        "worker_name": row["worker_name"] or "–",
        "note": ", ".join(notes),
    }


def _wait(wait: Wait, pools: Mapping[tuple[str, str], PoolNow], at: datetime) -> dict[str, Any]:
    head = wait.head
    return {
        **asdict(wait),
        "tenant_url": reverse("admin:accounts_tenant_change", args=[wait.tenant]),
        "head_url": reverse("admin:generation_generation_change", args=[head["id"]]) if head else "",
        "age": say_age(wait.oldest, at),
        "reason": say_why(wait, pools.get((wait.lane, wait.pool))),
        "stuck": wait.why not in (Why.BEHIND, Why.NEXT, Why.OWN_LIMIT),
    }


def say_why(wait: Wait, pool: PoolNow | None) -> str:
    """Why a tenant's next picture is not drawn yet."""
    if wait.why is Why.PAUSED and pool is not None:
        return _say_paused(pool)
    if wait.why is Why.OWN_LIMIT:
        return _("it draws %(n)d at once, which is its limit") % {"n": wait.slots}
    if wait.why is Why.BEHIND:
        return ngettext(
            "fair share: %(n)d other tenant goes first", "fair share: %(n)d other tenants go first", wait.behind
        ) % {"n": wait.behind}
    model = str(wait.head.get("title", ""))
    return {
        Why.SUSPENDED: _("the tenant is suspended"),
        Why.MODEL_OFF: _("%(model)s is switched off, and no worker serves it") % {"model": model},
        Why.NO_WORKER: _("no worker of this pool is running"),
        Why.DRAINED: _("every worker of this pool is drained"),
        Why.LOADING: _("the workers of this pool are still loading"),
        Why.NOT_SERVED: _("no running worker serves %(model)s") % {"model": model},
        Why.NEXT: _("it is next, as soon as a worker is free"),
    }.get(wait.why, "")


def _say_paused(pool: PoolNow) -> str:
    words = {"who": pool.paused_by, "why": pool.paused_reason or "–"}
    return _("paused by %(who)s: %(why)s") % words if pool.paused_by else _("paused: %(why)s") % words


def _pool(pool: PoolNow, at: datetime) -> dict[str, Any]:
    state = []
    if pool.paused_at:
        state.append(_say_paused(pool))
    if pool.loading:
        state.append(ngettext("%(n)d worker loads", "%(n)d workers load", pool.loading) % {"n": pool.loading})
    if pool.drained:
        state.append(ngettext("%(n)d worker drained", "%(n)d workers drained", pool.drained) % {"n": pool.drained})
    return {
        **asdict(pool),
        "state": "; ".join(state),
        "age": say_age(pool.oldest, at) or "–",
        "work": say_seconds(pool.queued_ms / 1000) if pool.queued_ms else "–",
        "paused_age": say_age(pool.paused_at, at),
        "field": f"reason-{pool.lane}-{pool.name}",
    }


def _lane(row: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    states = dict(LaneState.choices)
    return {
        **row,
        "state": str(states.get(row["state"], row["state"])),
        "bad": row["state"] == LaneState.FAILED,
        "age": say_age(row["changed_at"], at),
        "compared": say_verdict(row["verdict"]) if row["comparison"] else "",
        "compared_url": reverse("admin:generation_comparison_change", args=[row["comparison"]])
        if row["comparison"]
        else "",
        "here": row["name"] == settings.STUDIO_LANE,
        "may_switch": row["state"] != LaneState.FAILED,
    }


def _worker(row: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    asked = row["drain_requested_at"] is not None
    state = str(STATES.get(row["state"], row["state"]))
    if row["silent"] and row["state"] not in ENDED:
        state = _("silent")
    elif asked and row["state"] in (WorkerState.IDLE, WorkerState.BUSY):
        state = _("finishing, then drained")
    return {
        **row,
        "url": reverse("admin:generation_worker_change", args=[row["id"]]),
        "asked": asked,
        "kind": "silent" if row["silent"] and row["state"] not in ENDED else row["state"],
        "state": state,
        "may_drain": row["state"] not in ENDED,
        "memory": say_memory(row["memory_used"], row["memory_total"]),
        "age": say_age(row["seen_at"], at),
        "models": ", ".join(row["serves"]) or "–",
    }


def _failure(row: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    endings: dict[str, str] = {
        Status.FAILED: _("failed for good"),
        Status.SUCCEEDED: _("a later try succeeded"),
        Status.CANCELED: _("cancelled since"),
    }
    became = endings.get(row["status"] or "", _("is tried again"))
    return {
        **row,
        "url": reverse("admin:generation_generation_change", args=[row["generation"]]),
        "tenant_url": reverse("admin:accounts_tenant_change", args=[row["tenant"]]),
        "age": say_age(row["created_at"], at),
        "became": became if row["status"] else "–",
        "tries": ngettext("%(n)d try", "%(n)d tries", row["tries"]) % {"n": row["tries"]},
        "model": row["model"] or "–",
    }


def _usage(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "url": reverse("admin:accounts_tenant_change", args=[row["tenant"]]),
        "gpu": say_seconds(row["gpu_ms"] / 1000),
        "reserved": say_seconds(row["reserved_ms"] / 1000) if row["reserved_ms"] else "–",
    }


def _errand(row: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    kinds = dict(ErrandKind.choices)
    return {**row, "kind": kinds.get(row["kind"], row["kind"]), "age": say_age(row["failed_at"], at)}


def say_age(since: datetime | None, at: datetime) -> str:
    """How long something has lasted; empty where it has not begun."""
    return "" if since is None else say_seconds(max(0.0, (at - since).total_seconds()))


def say_seconds(seconds: float) -> str:
    """A length of time in its largest unit that still tells something."""
    if seconds < 10:
        return _("%(n).1f s") % {"n": seconds}
    if seconds < 100:
        return _("%(n)d s") % {"n": seconds}
    if seconds < 100 * 60:
        return _("%(n)d min") % {"n": seconds / 60}
    if seconds < 100 * 3600:
        return _("%(n)d h") % {"n": seconds / 3600}
    return _("%(n)d d") % {"n": seconds / 86400}

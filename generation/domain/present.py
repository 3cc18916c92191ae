"""A generation as the outside sees it. Pure: rows in (Django's or psycopg's dicts), JSON-able values out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from generation.domain.place import PLACE_SQL, QueuePlace, read_place
from generation.enums import Status

__all__ = [
    "GENERATION_COLUMNS",
    "GENERATION_SQL",
    "IMAGES_SQL",
    "PLACE_SQL",
    "QueuePlace",
    "present_generation",
    "present_input",
    "read_place",
    "visible_status",
]

GENERATION_COLUMNS = (
    "id", "user", "status", "task", "model_id", "prompt", "negative_prompt", "width", "height", "steps", "seed", "n",
    "params",
    "starred", "retry_of", "done", "step", "error_code", "error_message", "warnings", "estimate_ms", "cost_ms",
    "cancel_requested_at", "created_at", "started_at", "finished_at",
)  # fmt: skip

# Parameter: ids. All three statements run in a tenant's scope, whose policies see to the rest.
GENERATION_SQL = f"""
SELECT {", ".join(f'"{name}"' for name in GENERATION_COLUMNS)}
  FROM generation_generation WHERE id = ANY(%(ids)s)
"""  # noqa: S608  (column names of this module)

# Parameter: ids.
IMAGES_SQL = """
SELECT id, generation_id, index, width, height, seed, sha256, format, bytes
  FROM generation_image WHERE generation_id = ANY(%(ids)s) ORDER BY generation_id, index
"""


def present_generation(
    row: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    place: QueuePlace | None,
    *,
    progress: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The JSON of one generation.

    `row`: `GENERATION_COLUMNS`; `images`: its rows of `IMAGES_SQL`; `place`: None unless it waits; `progress`:
    {step, steps} where somebody knows it fresher than the row.
    """
    params, status = _plain(row["params"]), visible_status(row)
    api = f"{settings.STUDIO_URL}/api/v1/images/{row['id']}"
    return {
        "id": str(row["id"]),
        "status": status,
        "task": row["task"],
        "model": row["model_id"],
        "prompt": row["prompt"],
        "negative_prompt": row["negative_prompt"],
        "width": row["width"],
        "height": row["height"],
        "num_inference_steps": row["steps"],
        "true_cfg_scale": params.get("true_cfg_scale", 1.0),
        "seed": row["seed"],
        "n": row["n"],
        "loras": [{"name": use["name"], "scale": use["scale"]} for use in params.get("loras", [])],
        "inputs": [present_input(one) for one in params.get("images", [])],
        "mask": present_input(params["mask"]) if params.get("mask") else None,
        "strength": params.get("strength"),
        "grid": params.get("grid"),
        "style": params.get("style"),
        "output_format": params.get("output_format", "png"),
        "metadata": params.get("metadata", {}),
        "starred": row["starred"],
        "retry_of": str(row["retry_of"]) if row["retry_of"] else None,
        "queue": present_place(place) if status == Status.QUEUED else None,
        "progress": dict(progress) if progress else _read_progress(row),
        "images": [_present_image(image) for image in images],
        "timings": {
            "queued_ms": _milliseconds(row["created_at"], row["started_at"] or row["finished_at"]),
            "run_ms": _milliseconds(row["started_at"], row["finished_at"]),
        },
        "cost": {"gpu_ms": row["cost_ms"]},
        "error": _present_error(row, status),
        "created_at": present_time(row["created_at"]),
        "started_at": present_time(row["started_at"]),
        "finished_at": present_time(row["finished_at"]),
        "warnings": [{"code": item["code"], "detail": item["detail"]} for item in _plain(row["warnings"])],
        "urls": {"get": api, "cancel": f"{api}/cancel", "events": f"{api}/events"},
    }


def present_input(one: Mapping[str, Any]) -> dict[str, Any]:
    """A picture that generations start from, or a mask; its id may be sent again."""
    return {
        "id": str(one["id"]),
        "url": f"{settings.STUDIO_URL}/files/inputs/{one['id']}",
        "width": one["width"],
        "height": one["height"],
        "sha256": one["sha256"],
    }


def visible_status(row: Mapping[str, Any]) -> str:
    """The status that people see: between two of its turns a generation is running."""
    if row["status"] == Status.QUEUED and row["done"] > 0:
        return Status.RUNNING.value
    return str(row["status"])


def present_time(time: datetime | None) -> str | None:
    """UTC, ISO 8601, milliseconds, Z."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def present_place(place: QueuePlace | None) -> dict[str, Any] | None:
    """A place in the queue; `reason` says in words and by code what it waits for, beside its turn."""
    if place is None:
        return None
    return {
        "position": place.position,
        "eta_ms": place.eta_ms,
        "eta_range_ms": list(place.eta_range_ms) if place.eta_range_ms else None,
        "ahead": {"own": place.own, "others": place.others},
        "reason": {"code": place.reason, "detail": place.detail} if place.reason else None,
    }


def _present_image(image: Mapping[str, Any]) -> dict[str, Any]:
    url = f"{settings.STUDIO_URL}/files/{image['id']}"
    return {
        "id": str(image["id"]),
        "index": image["index"],
        "url": url,
        "thumbnail_url": f"{url}/thumbnail",
        "width": image["width"],
        "height": image["height"],
        "seed": image["seed"],
        "sha256": image["sha256"],
    }


def _present_error(row: Mapping[str, Any], status: str) -> dict[str, str] | None:
    # A row that is tried again keeps the reason of its last failure; people see it only when it has failed for good.
    if status != Status.FAILED:
        return None
    return {"code": row["error_code"], "message": row["error_message"]}


def _read_progress(row: Mapping[str, Any]) -> dict[str, int]:
    return {"step": row["steps"] if row["status"] == Status.SUCCEEDED else row["step"], "steps": row["steps"]}


def _milliseconds(start: datetime | None, end: datetime | None) -> int | None:
    if start is None or end is None:
        return None
    return max(0, round((end - start).total_seconds() * 1000))


def _plain(value: Any) -> Any:
    """JSON columns: Django's raw cursor gives text, all others values."""
    return json.loads(value) if isinstance(value, str) else value

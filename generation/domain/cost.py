"""What a picture costs: measured milliseconds per model, size, steps and hardware; the newest weigh most.

One table gives position, waiting time, cost preview, ledger amounts and the clocks' advances.
"""

from __future__ import annotations

from accounts.domain.sql import execute, fetch_one
from generation.domain.request import ResolvedRequest
from generation.engine.catalog import ModelSpec

_NEWEST_SHARE = 0.2  # of a new measurement in the average: about the last ten count

# Parameters: those of a request. Exact measurements first, the newest first; without one, any of the model's.
_FIND_SQL = """
SELECT ms, width, height, steps, guided,
       width = %(width)s AND height = %(height)s AND steps = %(steps)s AND guided = %(guided)s AS exact
  FROM generation_cost WHERE model_id = %(model)s AND task = %(task)s
 ORDER BY exact DESC, updated_at DESC LIMIT 1
"""

_RECORD_SQL = """
INSERT INTO generation_cost AS k (model_id, hardware, task, width, height, steps, guided, ms, samples, updated_at)
VALUES (%(model)s, %(hardware)s, %(task)s, %(width)s, %(height)s, %(steps)s, %(guided)s, %(ms)s, 1, now())
ON CONFLICT (model_id, hardware, task, width, height, steps, guided) DO UPDATE
   SET ms = k.ms + (excluded.ms - k.ms) * greatest(%(share)s, 1.0 / (k.samples + 1)),
       samples = least(k.samples + 1, 1000000), updated_at = now()
"""


def estimate_image_ms(request: ResolvedRequest, spec: ModelSpec) -> int:
    """GPU milliseconds of one image: as measured, else scaled from the nearest figure there is."""
    row = fetch_one(
        _FIND_SQL,
        model=request.model,
        task=request.task,
        width=request.width,
        height=request.height,
        steps=request.steps,
        guided=request.guided,
    )
    work = _work(request.width, request.height, request.steps, guided=request.guided)
    if row is None:
        default = _work(
            spec.default_width,
            spec.default_height,
            spec.default_steps,
            guided=spec.true_cfg_scale > 1 and spec.default_negative_prompt != "",
        )
        return max(1, round(spec.cost_ms * work / default))
    if row["exact"]:
        return max(1, round(float(row["ms"])))
    measured = _work(row["width"], row["height"], row["steps"], guided=row["guided"])
    return max(1, round(float(row["ms"]) * work / measured))


def record_cost(
    *, model: str, hardware: str, task: str, width: int, height: int, steps: int, guided: bool, image_ms: float
) -> None:
    """Take one measurement (milliseconds per image) into the average. Locks its row last in a transaction."""
    execute(
        _RECORD_SQL,
        model=model,
        hardware=hardware,
        task=task,
        width=width,
        height=height,
        steps=steps,
        guided=guided,
        ms=image_ms,
        share=_NEWEST_SHARE,
    )


def _work(width: int, height: int, steps: int, *, guided: bool) -> float:
    """Proportional to a picture's work: pixels times forwards. Attention grows faster; measurements soon replace it."""
    return float(width * height * steps * (2 if guided else 1))

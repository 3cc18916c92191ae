"""What a picture costs: measured milliseconds per model, size, steps and hardware; the newest weigh most.

One table gives position, waiting time, cost preview, ledger amounts and the clocks' advances.
"""

from __future__ import annotations

from accounts.domain.sql import execute, fetch_one
from generation.domain.resolve import ResolvedRequest
from generation.engine.catalog import ModelSpec

_NEWEST_SHARE = 0.2  # of a new measurement in the average: about the last ten count
_LORA_SHARE = 0.15  # what an unfused LoRA adds where nothing was measured: 12 to 30 % are published

# Parameters: those of a request. Exact measurements first, the newest first; without one, any of the model's.
_FIND_SQL = """
SELECT ms, width, height, steps, guided,
       width = %(width)s AND height = %(height)s AND steps = %(steps)s AND guided = %(guided)s AS exact
  FROM generation_cost WHERE model_id = %(model)s AND task = %(task)s
 ORDER BY exact DESC, updated_at DESC LIMIT 1
"""

# How many steps of the row `g` run (`steps_run` of the engine): one that begins from a picture leaves the first out.
STEPS_RUN = "greatest(1, ceil(round((g.steps * coalesce((g.params ->> 'strength')::float8, 1))::numeric, 6)))"

# How much longer an image of the row `g` takes with its LoRAs than without, for a statement with a cost `k`.
LORA_FACTOR = f"""(CASE WHEN coalesce(jsonb_array_length(g.params -> 'loras'), 0) = 0 THEN 1 ELSE coalesce(
  (SELECT l.factor FROM generation_loracost l WHERE l.model_id = k.model_id AND l.hardware = k.hardware
      AND l.loras = jsonb_array_length(g.params -> 'loras')),
  1 + {_LORA_SHARE} * jsonb_array_length(g.params -> 'loras')) END)"""  # noqa: S608  (a number of this module)

# Parameters: model, loras. The newest measurement, whatever the hardware.
_FIND_FACTOR_SQL = """
SELECT factor FROM generation_loracost WHERE model_id = %(model)s AND loras = %(loras)s ORDER BY updated_at DESC LIMIT 1
"""

# Beside the same image without LoRAs, where that was measured on this hardware. A slow first pass is no factor of 50.
_RECORD_FACTOR_SQL = """
INSERT INTO generation_loracost AS l (model_id, hardware, loras, factor, samples, updated_at)
SELECT k.model_id, k.hardware, %(loras)s, least(10, greatest(1, %(ms)s / k.ms)), 1, now() FROM generation_cost k
 WHERE k.model_id = %(model)s AND k.hardware = %(hardware)s AND k.task = %(task)s AND k.width = %(width)s
   AND k.height = %(height)s AND k.steps = %(steps)s AND k.guided = %(guided)s AND k.ms > 0
ON CONFLICT (model_id, hardware, loras) DO UPDATE
   SET factor = l.factor + (excluded.factor - l.factor) * greatest(%(share)s, 1.0 / (l.samples + 1)),
       samples = least(l.samples + 1, 1000000), updated_at = now()
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
    return max(1, round(_estimate_plain_ms(request, spec) * _lora_factor(request)))


def _lora_factor(request: ResolvedRequest) -> float:
    loras = len(request.params["loras"])
    if not loras:
        return 1.0
    row = fetch_one(_FIND_FACTOR_SQL, model=request.model, loras=loras)
    return 1 + _LORA_SHARE * loras if row is None else float(row["factor"])


def _estimate_plain_ms(request: ResolvedRequest, spec: ModelSpec) -> float:
    row = fetch_one(
        _FIND_SQL,
        model=request.model,
        task=request.task,
        width=request.width,
        height=request.height,
        steps=request.steps_run,
        guided=request.guided,
    )
    work = _work(request.width, request.height, request.steps_run, guided=request.guided)
    if row is None:
        default = _work(
            spec.default_width,
            spec.default_height,
            spec.default_steps,
            guided=spec.true_cfg_scale > 1 and spec.default_negative_prompt != "",
        )
        return spec.cost_ms * work / default
    if row["exact"]:
        return float(row["ms"])
    measured = _work(row["width"], row["height"], row["steps"], guided=row["guided"])
    return float(row["ms"]) * work / measured


def record_cost(
    *, model: str, hardware: str, task: str, width: int, height: int, steps: int, guided: bool, image_ms: float,
    loras: int = 0,
) -> None:  # fmt: skip
    """Take one measurement (milliseconds per image) into the average. Locks its row last in a transaction.

    With LoRAs it tells only how much longer they make an image.
    """
    execute(
        _RECORD_FACTOR_SQL if loras else _RECORD_SQL,
        **({"loras": loras} if loras else {}),
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

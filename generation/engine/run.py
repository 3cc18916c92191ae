"""One pass: schedule → run → postprocess. GPU worker only: torch at the top."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch

from generation.engine.errors import BadFrame, HookFailed, LoraRefused
from generation.engine.family import Pass, PassShape, RowConds, RowLatents
from generation.engine.guard import check_latents
from generation.engine.loader import LoadedModel
from generation.engine.memory import is_out_of_memory, name_failure
from generation.engine.outcome import Hooks, PassOutcome, RowOutcome, RowTimings
from generation.engine.request import PassRow

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Ready:
    """A row whose prompts are encoded."""

    row: PassRow
    conds: RowConds
    shape: PassShape
    encode_ms: float


@dataclass(slots=True)
class _Meter:
    """Times a group, and shares the time out among the rows that are in it (all of them since its beginning)."""

    began: float = field(default_factory=time.perf_counter)
    step_ms: list[float] = field(default_factory=list)
    _share_ms: float = 0.0
    _read_ms: float = 0.0

    def read(self, rows: int) -> RowTimings:
        """What each of `rows` rows has come to, before any of them leaves."""
        now = _since(self.began)
        self._share_ms += (now - self._read_ms) / rows
        self._read_ms = now
        return RowTimings(steps_ms=now, step_ms=tuple(self.step_ms), share_ms=self._share_ms)


@dataclass(slots=True)
class _Run:
    """What one `run_pass` knows; `ended` fills up until every row is in it."""

    model: LoadedModel
    hooks: Hooks
    ended: dict[str, RowOutcome] = field(default_factory=dict)
    halved: int = 0
    repeated: int = 0


def run_pass(model: LoadedModel, rows: Sequence[PassRow], hooks: Hooks) -> PassOutcome:
    """Draw `rows`, together where they may be, and say of each how it ended.

    Rows that agree in size, steps to run, text-length bucket and LoRAs share a forward, at most `batch_max` at a time;
    others follow one another. A row that cannot be drawn fails alone: a group that raises is repeated row by row, and
    out of memory halves it. Raises ValueError for two rows of one key, HookFailed when a hook raised; nothing else.
    """
    if len({row.key for row in rows}) != len(rows):
        raise ValueError("key is used twice in one pass")
    started = time.perf_counter()
    run = _Run(model, hooks)
    for group in _schedule(run, rows):
        _draw(run, group)
    return PassOutcome(
        rows=tuple(run.ended[row.key] for row in rows),
        dtype=model.dtype,
        hardware=model.device.key,
        run_ms=_since(started),
        halved=run.halved,
        repeated=run.repeated,
    )


# 1. Schedule


def _schedule(run: _Run, rows: Sequence[PassRow]) -> list[list[_Ready]]:
    """Encode each row alone, and group those that may share a forward."""
    _call(run.hooks.phase, "encode", {"rows": len(rows)})
    groups: dict[tuple[PassShape, int], list[_Ready]] = {}
    for row in rows:
        if (ready := _encode(run, row)) is not None:
            groups.setdefault((ready.shape, row.steps_run), []).append(ready)
    most = run.model.family.limits.batch_max
    return [group[at : at + most] for group in groups.values() for at in range(0, len(group), most)]


def _encode(run: _Run, row: PassRow) -> _Ready | None:
    started = time.perf_counter()
    family = run.model.family
    try:
        family.check(row)
        conds = family.encode(row)
        return _Ready(row, conds, family.plan(row, conds), _since(started))
    except Exception as error:  # whatever one prompt does, its neighbours are drawn
        run.ended[row.key] = RowOutcome(key=row.key, status="failed", error=name_failure(error))
        return None


# 2. Run


def _draw(run: _Run, group: list[_Ready]) -> None:
    """Draw a group; on failure halve it (out of memory) or take it row by row, down to the row that is at fault."""
    try:
        _hold_loras(run, group)
        _compile(run, group)
        _attempt(run, group)
        return
    except HookFailed:
        raise
    except LoraRefused as error:  # the rows of a group share their files: none of them can be drawn
        for ready in group:
            if ready.row.key not in run.ended:
                _end(run, ready, status="failed", error=error.with_traceback(None))
        return
    except Exception as error:
        failure: Exception = error.with_traceback(None)  # the traceback would keep the tensors alive
    out_of_memory = is_out_of_memory(failure)
    if out_of_memory and torch.cuda.is_available():
        torch.cuda.empty_cache()
    group = [ready for ready in group if ready.row.key not in run.ended]
    if len(group) == 1:
        _end(run, group[0], status="failed", error=name_failure(failure))
    elif out_of_memory:
        run.halved += 1
        _draw(run, group[: len(group) // 2])
        _draw(run, group[len(group) // 2 :])
    else:
        run.repeated += 1
        for ready in group:
            _draw(run, [ready])


def _hold_loras(run: _Run, group: list[_Ready]) -> None:
    """Have the group's LoRAs in memory. A phase of its own: a large file takes seconds, which no row is charged for."""
    stack, adapters = group[0].row.stack, run.model.family.adapters
    if not stack:
        return
    _call(run.hooks.phase, "loras", {"rows": len(group), "loras": len(stack)})
    if adapters is None:
        raise LoraRefused("this model takes no LoRA")
    adapters.hold(stack)


def _compile(run: _Run, group: list[_Ready]) -> None:
    """Where blocks are compiled, a shape's first step is drawn twice, once for nobody.

    It may need another graph, which takes seconds: no row is charged for that, no cost is learned from it, and it is a
    phase of its own, because it takes so long but once.
    """
    blocks, family = run.model.blocks, run.model.family
    if blocks is None or not blocks.on:
        return
    shape = group[0].shape
    loras = (len(shape.loras), family.adapters.layout if family.adapters else 0)
    key = (replace(shape, loras=()), len(group), loras)
    if key in blocks.seen:
        return
    _call(run.hooks.phase, "compile", {"rows": len(group), "loras": loras})
    family.step(family.begin([ready.row for ready in group], [ready.conds for ready in group]))
    blocks.seen.add(key)


def _attempt(run: _Run, group: list[_Ready]) -> None:
    """The denoising loop. Cancelled and stopped rows end here; the others in `_collect`."""
    family, hooks = run.model.family, run.hooks
    meter = _Meter()
    state = family.begin([ready.row for ready in group], [ready.conds for ready in group])
    steps = group[0].row.steps_run
    for step in range(1, steps + 1):
        if _call(hooks.stop):
            return _leave(run, group, state, meter, status="stopped", keys=set(state.keys))
        _leave(run, group, state, meter, status="cancelled", keys=_call(hooks.cancelled) & set(state.keys))
        if not state.rows:
            return None
        _call(hooks.phase, "step", {"step": step, "steps": steps, "rows": len(state.rows)})
        at = time.perf_counter()
        family.step(state)
        previews = family.preview(state)
        meter.step_ms.append(_since(at))
        _call(hooks.step, step, steps, previews)
    drawn = family.latents(state)
    return _collect(run, group, drawn, meter.read(len(drawn)))


def _leave(run: _Run, group: list[_Ready], state: Pass, meter: _Meter, *, status: Any, keys: set[str]) -> None:
    """Rows that go before the end still say what ran: whoever cancelled them pays for it."""
    if not keys:
        return
    rows = len(state.rows)
    timings = meter.read(rows)
    run.model.family.drop(state, keys)
    for ready in group:
        if ready.row.key in keys:
            _end(run, ready, status=status, timings=timings, batch_size=rows)


# 3. Postprocess


def _collect(run: _Run, group: list[_Ready], drawn: list[RowLatents], timings: RowTimings) -> None:
    by_key = {latents.key: latents for latents in drawn}
    for ready in group:
        latents = by_key.get(ready.row.key)
        if latents is None:
            continue  # cancelled on the way
        try:
            check_latents(latents.tensor)
        except BadFrame as error:
            _end(run, ready, status="failed", error=error, timings=timings, batch_size=len(drawn))
        else:
            _end(run, ready, status="drawn", latents=latents, timings=timings, batch_size=len(drawn))


def _end(run: _Run, ready: _Ready, *, timings: RowTimings | None = None, **how: Any) -> None:
    negative = ready.conds.negative
    run.ended[ready.row.key] = RowOutcome(
        key=ready.row.key,
        tokens=ready.conds.positive.tokens,
        negative_tokens=negative.tokens if negative else None,
        bucket=ready.shape.bucket,
        negative_bucket=ready.shape.negative_bucket,
        steps=ready.row.num_inference_steps,
        timings=replace(timings or RowTimings(), encode_ms=ready.encode_ms),
        **how,
    )


def _call(hook: Callable[..., _T], *args: Any) -> _T:
    """A hook's failure is the caller's, not a row's: it must not end up as a repeated pass."""
    try:
        return hook(*args)
    except Exception as error:
        raise HookFailed(f"{getattr(hook, '__name__', 'hook')} raised {type(error).__name__}: {error}") from error


def _since(started: float) -> float:
    return 1000 * (time.perf_counter() - started)

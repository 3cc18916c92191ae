"""B2 and B1's other side: seconds per picture of the engine and of diffusers' pipeline, on the same weights."""

from __future__ import annotations

import copy
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.engine.clock import forget_peak, peak_bytes, synchronize
from benchmarks.engine.floor import Recorder, time_floor
from benchmarks.engine.report import NOT_MEASURED
from generation.engine.catalog import ModelSpec
from generation.engine.files import encode_picture
from generation.engine.loader import LoadedModel
from generation.engine.nohooks import NoHooks
from generation.engine.request import PassRow
from generation.engine.run import run_pass
from generation.engine.tail import Tail, TailResult

PROMPT = "a red circle on a yellow background, number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One model twice: as the engine has it, and as diffusers has it, with the same transformer and text encoder."""

    model: LoadedModel
    pipe: Any

    @property
    def device(self) -> torch.device:
        return self.model.family.device


def keep_pipeline(pipe: Any, spec: ModelSpec) -> Any:
    """The pipeline for diffusers, before the engine takes `pipe`: it shares what the engine does not change."""
    parts = dict(pipe.components)
    changes = {key: value or None if key == "shift_terminal" else value for key, value in spec.scheduler.items()}
    parts["scheduler"] = type(pipe.scheduler).from_config(pipe.scheduler.config, **changes)
    parts["vae"] = copy.deepcopy(pipe.vae)
    encoder = copy.copy(pipe.text_encoder)  # the engine takes layers off where nobody reads them
    encoder._modules = dict(encoder._modules)
    parts["text_encoder"] = encoder
    kept = type(pipe)(**parts)
    kept.set_progress_bar_config(disable=True)
    return kept


def make_row(number: int, *, side: int, steps: int) -> PassRow:
    """A row whose prompt nobody has encoded yet; all are of one length, or diffusers would compile for each."""
    return PassRow(
        key=str(number),
        prompt=f"{PROMPT} {number:06d}",
        width=side,
        height=side,
        num_inference_steps=steps,
        seed=number,
    )


class Numbers:
    """Each row of a run gets a new one."""

    def __init__(self) -> None:
        self._last = 0

    def rows(self, count: int, *, side: int, steps: int) -> list[PassRow]:
        first, self._last = self._last, self._last + count
        return [make_row(number, side=side, steps=steps) for number in range(first + 1, first + count + 1)]


def draw_ours(bench: Bench, groups: Sequence[Sequence[PassRow]]) -> float:
    """Seconds of all pictures as the worker draws them: pass after pass, decoded and encoded beside the next one."""
    errors: list[Exception] = []

    def take(result: TailResult) -> None:
        errors.extend([result.error] if result.error else [])

    tail = Tail(bench.model)
    synchronize(bench.device)
    began = time.perf_counter()
    for group in groups:
        for row in run_pass(bench.model, group, NoHooks()).rows:
            if row.error is not None or row.latents is None:
                raise row.error or ValueError(row.status)
            tail.submit(row.latents, take)
    tail.drain()
    took = time.perf_counter() - began
    tail.close()
    if errors:
        raise errors[0]
    return took


@torch.no_grad()
def draw_theirs(bench: Bench, rows: Sequence[PassRow]) -> float:
    """Seconds of the same pictures by `pipe(...)`, each encoded as a file as ours are."""
    synchronize(bench.device)
    began = time.perf_counter()
    for row in rows:
        encode_picture(ask_pipeline(bench, row, output_type="pil")[0], fmt="png")
    return time.perf_counter() - began


def ask_pipeline(bench: Bench, row: PassRow, *, output_type: str) -> Any:
    """What `pipe(...)` answers for a row, without guidance."""
    guidance = {"guidance_scale": 0.0} if bench.model.spec.family == "z-image" else {"true_cfg_scale": 1.0}
    answer = bench.pipe(
        prompt=row.prompt, width=row.width, height=row.height, num_inference_steps=row.num_inference_steps,
        generator=torch.Generator("cpu").manual_seed(row.seed), output_type=output_type, **guidance,
    )  # fmt: skip
    return answer.images


def compare_speed(
    bench: Bench, *, side: int, steps: int, rounds: int, pictures: int, keep: Callable[[dict[str, Any]], object]
) -> None:
    """Rounds in which each way draws in turn; `keep` gets what is known after each of them.

    Where the compiler fails, the eager ways are compared, and "compiler" says why.
    """
    numbers = Numbers()
    ways: dict[str, Callable[[list[PassRow]], float]] = {
        "ours": lambda rows: draw_ours(bench, [[row] for row in rows]),
        "diffusers": lambda rows: draw_theirs(bench, rows),
    }
    seconds: dict[str, list[float]] = {}
    peak = 0
    for turn in range(rounds + 1):
        count = pictures if turn else 1  # the first round compiles, and chooses kernels
        for kind in ("eager", "compiled"):
            if kind == "compiled" and not can_compile(bench.model):
                continue
            with blocks(bench.model, compiled=kind == "compiled"):
                for way, draw in ways.items():
                    forget_peak(bench.device)
                    took = draw(numbers.rows(count, side=side, steps=steps)) / count
                    peak = max(peak, peak_bytes(bench.device)) if way == "ours" else peak
                    if turn:
                        seconds.setdefault(f"{way} {kind}", []).append(took)
        if turn:
            keep(sum_up_speed(bench.model, seconds, peak=peak))


def can_compile(model: LoadedModel) -> bool:
    """Whether there are compiled blocks, and the compiler has not failed."""
    return model.blocks is not None and not model.blocks.reason


def sum_up_speed(model: LoadedModel, seconds: dict[str, list[float]], *, peak: int) -> dict[str, Any]:
    """Medians, and medians of the ratios within a round. Ours is the compiled one where both ways could compile."""
    kind = "compiled" if can_compile(model) else "eager"
    found: dict[str, Any] = {
        "seconds_per_picture": round(statistics.median(seconds[f"ours {kind}"]), 4),
        "peak_bytes": peak,
        "seconds": {way: [round(took, 4) for took in taken] for way, taken in seconds.items()},
        "ratio_to_diffusers": {},
    }
    if model.blocks is not None and model.blocks.reason:
        found["compiler"] = model.blocks.reason
    for other in ("eager", "compiled"):
        ours, theirs = seconds[f"ours {kind}"], seconds.get(f"diffusers {other}", [])
        ratios = [their / our for our, their in zip(ours, theirs, strict=False)]
        found["ratio_to_diffusers"][other] = (
            {
                "median": round(statistics.median(ratios), 3),
                "least": round(min(ratios), 3),
                "most": round(max(ratios), 3),
            }
            if ratios and (other == "eager" or kind == "compiled")
            else NOT_MEASURED
        )
    return found


@contextmanager
def blocks(model: LoadedModel, *, compiled: bool) -> Iterator[None]:
    """Draw with or without the compiled blocks; diffusers' pipeline has the same ones."""
    if model.blocks is None:
        yield
        return
    before = model.blocks.on
    if compiled and model.blocks.reason:
        raise SystemExit(f"the compiler failed: {model.blocks.reason}")
    model.blocks.switch(compiled)
    try:
        yield
    finally:
        if not model.blocks.reason:
            model.blocks.switch(before)


@torch.no_grad()
def measure_floor(bench: Bench, *, side: int, steps: int) -> dict[str, Any]:
    """B1's floor of one picture: the text encoder, the steps and the decoder, products and attention alone."""
    family = bench.model.family
    row = make_row(0, side=side, steps=steps)
    decoder = family.decoder()
    with blocks(bench.model, compiled=False), Recorder() as recorder:
        state = family.begin([row], [family.encode(row)])
        for _ in range(steps):
            family.step(state)
        decoder.decode(family.latents(state)[0])
    return time_floor(recorder.work, device=bench.device, dtype=family.dtype)


@torch.no_grad()
def compare_pictures(bench: Bench, *, side: int, steps: int) -> dict[str, float]:
    """dB between frames of one seed: ours eager against `pipe(...)`, ours compiled against ours eager."""
    row = make_row(7, side=side, steps=steps)
    decoder = bench.model.family.decoder()

    def frame() -> torch.Tensor:
        outcome = run_pass(bench.model, [row], NoHooks()).rows[0]
        if outcome.latents is None:
            raise outcome.error or ValueError(outcome.status)
        return decoder.decode(outcome.latents).float()

    with blocks(bench.model, compiled=False):
        ours = frame()
        theirs = ask_pipeline(bench, row, output_type="pt")[0].to(ours.device).float()
    found = {"diffusers": psnr(ours, theirs)}
    if can_compile(bench.model):
        with blocks(bench.model, compiled=True):
            found["compiled"] = psnr(frame(), ours)
    return found


def psnr(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Of pictures from 0 to 1; 100 dB where they are equal."""
    error = float((ours - theirs).pow(2).mean())
    return 100.0 if error <= 1e-10 else round(-10 * float(torch.tensor(error).log10()), 1)


def compare_batches(bench: Bench, *, sides: Sequence[int], steps: int, batches: Sequence[int]) -> dict[str, Any]:
    """Seconds of a picture when 1, 2, 4 share a forward, by size; and a picture in company against it alone, in dB."""
    numbers, found = Numbers(), {}
    for side in sides:
        seconds = {}
        for batch in batches:
            draw_ours(bench, [numbers.rows(batch, side=side, steps=steps)])
            taken = [draw_ours(bench, [numbers.rows(batch, side=side, steps=steps)]) / batch for _ in range(3)]
            seconds[str(batch)] = round(statistics.median(taken), 4)
        rows = numbers.rows(max(batches), side=side, steps=steps)
        together = run_pass(bench.model, rows, NoHooks()).rows
        alone = run_pass(bench.model, rows[:1], NoHooks()).rows[0]
        if together[0].latents is None or alone.latents is None:
            raise together[0].error or alone.error or ValueError("not drawn")
        decoder = bench.model.family.decoder()
        found[str(side)] = {
            "seconds_per_picture": seconds,
            "psnr_db": psnr(decoder.decode(together[0].latents).float(), decoder.decode(alone.latents).float()),
        }
    return found


def compare_decoders(bench: Bench, exact: Any, *, side: int) -> dict[str, float] | str:
    """The VAE's single-frame twin against the VAE as the pipeline has it."""
    outcome = run_pass(bench.model, [make_row(3, side=side, steps=4)], NoHooks()).rows[0]
    if outcome.latents is None:
        raise outcome.error or ValueError(outcome.status)
    latents = dataclasses.replace(outcome.latents)
    taken: dict[str, list[float]] = {"twin": [], "exact": []}
    frames = {}
    for turn in range(4):
        for name, decoder in (("twin", bench.model.family.decoder()), ("exact", exact)):
            synchronize(bench.device)
            began = time.perf_counter()
            frames[name] = decoder.decode(latents).float()
            synchronize(bench.device)
            if turn:
                taken[name].append(time.perf_counter() - began)
    twin, whole = (statistics.median(taken[name]) for name in ("twin", "exact"))
    return {
        "twin_s": round(twin, 4),
        "exact_s": round(whole, 4),
        "ratio": round(whole / twin, 2),
        "psnr_db": psnr(frames["twin"], frames["exact"]),
    }

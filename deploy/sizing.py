#!/usr/bin/env python3
"""How many people some GPUs serve: `deploy/sizing.py --seconds 0.8 --gpus 2`; without arguments the runbook's table.

The model is a queue M/D/c: people ask at random and independently (Poisson), every picture takes the same time on one
of c GPUs, and whoever came first is drawn first. It is simulated (Kiefer and Wolfowitz: each picture goes to the GPU
that is free first), and the rate is raised until 95 of 100 pictures wait just 60 s, or the GPUs are busy for 90 % of
the time: the rest is for restarts, releases and bad days, and the wait of a fuller queue depends on luck. Python alone.
"""

from __future__ import annotations

import argparse
import heapq
import random

WAIT_S = 60.0
BUSIEST = 0.90
PER_MINUTE = 1.0
ARRIVALS = 40_000
GPUS = (1, 2, 4, 8)
MODELS = (
    ("`demo`, 256 px, 4 steps, two CPU cores for a GPU", 0.5, "measured"),
    ("Qwen-Image with a four-step LoRA, 1024 px", 0.8, "measured"),
    ("Qwen-Image, 50 steps with guidance, 1024 px", 18.5, "reckoned"),
)
"""Name, seconds of a GPU for a picture, and where that figure is from (deploy/README.md has the sums)."""


def waits(rate: float, seconds: float, gpus: int, *, count: int = ARRIVALS) -> list[float]:
    """How long each picture waits until it is begun, at `rate` pictures a second; the first tenth is left out."""
    chance = random.Random(20261126)
    free = [0.0] * gpus
    now, found = 0.0, []
    for _ in range(count):
        now += chance.expovariate(rate)
        begun = max(now, free[0])
        heapq.heapreplace(free, begun + seconds)
        found.append(begun - now)
    return found[count // 10 :]


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all stay below."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def highest_rate(seconds: float, gpus: int, *, wait_s: float = WAIT_S, count: int = ARRIVALS) -> float:
    """Pictures a second at which 95 of 100 wait at most `wait_s` and the GPUs are busy for 90 % at most."""
    low, high = 0.0, BUSIEST * gpus / seconds
    if percentile(waits(high, seconds, gpus, count=count), 0.95) <= wait_s:
        return high
    for _ in range(12):
        middle = (low + high) / 2
        if percentile(waits(middle, seconds, gpus, count=count), 0.95) <= wait_s:
            low = middle
        else:
            high = middle
    return low


def people(seconds: float, gpus: int, *, per_minute: float = PER_MINUTE, wait_s: float = WAIT_S) -> int:
    """How many who each ask for `per_minute` pictures."""
    return int(highest_rate(seconds, gpus, wait_s=wait_s) * 60 / per_minute + 1e-9)


def table() -> str:
    """The runbook's."""
    heads = ["1 GPU" if gpus == 1 else f"{gpus} GPUs" for gpus in GPUS]
    lines = [f"| model | s a picture | {' | '.join(heads)} |"]
    lines.append("|---|---|" + "---|" * len(GPUS))
    for name, seconds, source in MODELS:
        lines.append(f"| {name} | {seconds:g} ({source}) | {' | '.join(f'{people(seconds, n):,}' for n in GPUS)} |")
    return "\n".join(lines)


def main() -> None:
    """One figure, or the table."""
    parser = argparse.ArgumentParser(description="How many people some GPUs serve.")
    parser.add_argument("--seconds", type=float, help="of one GPU for a picture: admin → Now, or a receipt's")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--per-minute", type=float, default=PER_MINUTE, help="pictures that one person asks for")
    parser.add_argument("--wait", type=float, default=WAIT_S, metavar="S", help="what 95 of 100 pictures may wait")
    options = parser.parse_args()
    if options.seconds is None:
        print(table())
        return
    rate = highest_rate(options.seconds, options.gpus, wait_s=options.wait)
    busy = rate * options.seconds / options.gpus
    count = int(rate * 60 / options.per_minute + 1e-9)
    print(f"{count:,} people: {rate:.2f} pictures a second, GPUs busy for {busy:.0%} of the time")


if __name__ == "__main__":
    main()

"""B1: the time that the products and attentions of one picture take by themselves, with nothing between them.

One picture is drawn under a recorder that notes the shapes of every product, convolution and attention. Each distinct
one is then timed alone on random numbers, often in a row; the floor is their sum by how often each was there.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.engine.clock import time_calls

Work = tuple[Any, ...]  # name, then what `_prepare` needs


class Recorder(TorchDispatchMode):
    """Counts the work of everything that runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self.work: Counter[Work] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if work := _describe(name, args):
            self.work[work] += 1
        return func(*args, **(kwargs or {}))


def _describe(name: str, args: Sequence[Any]) -> Work | None:
    if name in ("mm", "bmm"):
        return (name, tuple(args[0].shape), tuple(args[1].shape))
    if name in ("addmm", "baddbmm"):
        return (name[-3:] if name == "baddbmm" else "mm", tuple(args[1].shape), tuple(args[2].shape))
    if name == "linear":
        return ("mm", (args[0].numel() // args[0].shape[-1], args[0].shape[-1]), tuple(args[1].shape[::-1]))
    if name == "convolution":
        _, stride, padding, dilation, transposed, output_padding, groups = args[2:9]
        numbers = (tuple(stride), tuple(padding), tuple(dilation), transposed, tuple(output_padding), groups)
        return (name, tuple(args[0].shape), tuple(args[1].shape), numbers)
    if "scaled_dot_product" in name and "backward" not in name:
        return ("attention", *(tuple(tensor.shape) for tensor in args[:3]))
    return None


def time_floor(
    work: Mapping[Work, int], *, device: torch.device, dtype: torch.dtype, rounds: int = 3, calls: int = 10
) -> dict[str, Any]:
    """Seconds of all of it, and by kind; TFLOP where they are told easily (products and attention)."""
    seconds: dict[str, float] = {}
    for one, count in work.items():
        call = _prepare(one, device=device, dtype=dtype)
        call()
        took = statistics.median(time_calls(call, device=device, calls=calls) for _ in range(rounds))
        seconds[one[0]] = seconds.get(one[0], 0.0) + count * took
    kinds = {name: round(value, 6) for name, value in sorted(seconds.items())}
    return {
        "seconds": sum(seconds.values()),
        "by_kind": kinds,
        "tflop": round(count_flop(work) / 1e12, 4),
        "distinct": len(work),
    }


def count_flop(work: Mapping[Work, int]) -> float:
    """Of products and attention: two for each multiplication."""
    return sum(count * _flop(one) for one, count in work.items())


def _prepare(work: Work, *, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    """The call that does this work once."""
    name, *shapes = work

    def make(shape: Sequence[int]) -> torch.Tensor:
        return torch.randn(tuple(shape), device=device, dtype=dtype)

    if name == "mm":
        left, right = make(shapes[0]), make(shapes[1])
        return lambda: torch.mm(left, right)
    if name == "bmm":
        left, right = make(shapes[0]), make(shapes[1])
        return lambda: torch.bmm(left, right)
    if name == "convolution":
        picture, weight = make(shapes[0]), make(shapes[1])
        numbers = [list(item) if isinstance(item, tuple) else item for item in shapes[2]]
        return lambda: torch.ops.aten.convolution(picture, weight, None, *numbers)
    query, key, value = map(make, shapes)
    shared = query.shape[1] != key.shape[1]  # several heads read one key
    return lambda: torch.nn.functional.scaled_dot_product_attention(query, key, value, enable_gqa=shared)


def _flop(work: Work) -> float:
    name, *shapes = work
    if name == "mm":
        return 2.0 * shapes[0][0] * shapes[0][1] * shapes[1][1]
    if name == "bmm":
        return 2.0 * shapes[0][0] * shapes[0][1] * shapes[0][2] * shapes[1][2]
    if name == "attention":
        batch, heads, length, width = shapes[0]
        return 4.0 * batch * heads * length * shapes[1][2] * width
    return 0.0

"""LoRAs for compiled blocks: a fixed number of adapters whose weights change places. GPU worker only: torch at the top.

A compiled block is a graph of the adapters that it has: another name, another rank, a layer more or a strength as a
plain number would each be another graph. So every layer of a kind (the same layer of all blocks) carries the same
slots; a LoRA of a stack lies in the slot of its place, filled up with zeros to the slots' rank, and where it has no
weights for a layer zeros lie there: nothing of whoever had the slot before. Strengths are tensors, and no tensor stands
in two places, because which inputs are the same one is part of a graph too. What makes another graph is how many LoRAs
there are, a kind of layer that no LoRA had before, and a rank over all before it; the last two stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from generation.engine.errors import LoraRefused
from generation.engine.lorafile import LoraPart

_LEAST_RANK = 16  # ranks are rounded up to a power of two: a few graphs for all files together

Pair = tuple[torch.nn.Parameter, torch.nn.Parameter]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotUse:
    """One LoRA of a stack: its hash, one strength per row, and each layer's factor (alpha ÷ its own rank)."""

    sha256: str
    strengths: Sequence[float]
    factors: Mapping[str, float]


class Slots:
    """`count` slots on the layers of one transformer. `layers`: name → (outputs, inputs) of those that may have them.

    `vectors` matches layers whose input is one vector per row. `layouts` counts what made other graphs.
    """

    def __init__(
        self, transformer: Any, *, layers: Mapping[str, tuple[int, int]], vectors: re.Pattern[str], count: int
    ) -> None:
        self._transformer = transformer
        self._layers = layers
        self._vectors = vectors
        self._names = tuple(f"slot{index}" for index in range(count))
        self._rank = 0
        self._carriers: dict[str, LoraLayer] = {}
        self._weights: dict[str, dict[str, Pair]] = {}
        self._zeros: dict[tuple[int, int], torch.Tensor] = {}
        self._empty: dict[tuple[str, str], Pair] = {}
        self.layouts = 0

    def put(self, sha256: str, parts: Mapping[str, LoraPart], tensors: Mapping[str, torch.Tensor]) -> None:
        """Take a LoRA in, without showing it."""
        self._grow(max(part.rank for part in parts.values()))
        self._carry({_kind(place) for place in parts})
        device = next(self._transformer.parameters()).device
        self._weights[sha256] = {
            place: (
                _fill(tensors[part.down].to(device), self._rank, 0),
                _fill(tensors[part.up].to(device), self._rank, 1),
            )
            for place, part in parts.items()
        }

    def bytes_of(self, sha256: str) -> int:
        """What a LoRA takes now; more once the slots have grown."""
        return sum(side.nbytes for pair in self._weights[sha256].values() for side in pair)

    def size_of(self, parts: Mapping[str, LoraPart]) -> int:
        """What a LoRA would take."""
        rank = max(self._rank, _round_rank(max(part.rank for part in parts.values())))
        return sum(sum(self._layers[place]) for place in parts) * rank * int(self._transformer.dtype.itemsize)

    def take_out(self, sha256: str) -> None:
        """Forget a LoRA. No slot shows anything afterwards."""
        self.clear()
        self._weights.pop(sha256, None)

    def clear(self) -> None:
        """Empty every slot, and switch all of them off."""
        self.show([])

    def show(self, uses: Sequence[SlotUse]) -> None:
        """Write the whole state of every layer: this stack and nothing else."""
        if len(uses) > len(self._names):
            raise LoraRefused(f"the stack has {len(uses)} LoRAs, this model has {len(self._names)} slots")
        scalings: dict[tuple[int, float, bool], torch.Tensor] = {}
        shown = list(self._names[: len(uses)])
        for place, layer in self._carriers.items():
            flat = self._vectors.fullmatch(place) is not None
            for index, name in enumerate(self._names):
                use = uses[index] if index < len(uses) else None
                pair = self._weights[use.sha256].get(place) if use else None
                down, up = pair or self._empty_pair(place, name)
                layer.lora_A[name].weight, layer.lora_B[name].weight = down, up
                if use is not None:
                    key = (index, use.factors.get(place, 0.0), flat)
                    if key not in scalings:
                        scalings[key] = self._scaling(use.strengths, factor=key[1], flat=flat)
                    layer.scaling[name] = scalings[key].detach()
            layer._disable_adapters = not shown
            layer._active_adapter = shown

    def _scaling(self, strengths: Sequence[float], *, factor: float, flat: bool) -> torch.Tensor:
        """(rows, 1) or (rows, 1, 1), FP32: a BF16 one would round .7 to .6992."""
        values = [strength * factor for strength in strengths]
        device = next(self._transformer.parameters()).device
        return torch.tensor(values, dtype=torch.float32, device=device).view((-1, 1) if flat else (-1, 1, 1))

    def _grow(self, rank: int) -> None:
        """Make the slots wide enough for `rank`; what is there is filled up with more zeros."""
        wanted = _round_rank(rank)
        if wanted <= self._rank:
            return
        self.clear()
        self._rank = wanted
        self._zeros.clear()
        self._empty.clear()
        self._weights = {
            sha256: {place: (_fill(down, wanted, 0), _fill(up, wanted, 1)) for place, (down, up) in pairs.items()}
            for sha256, pairs in self._weights.items()
        }
        self.layouts += 1
        self.clear()  # with the zeros of the new rank

    def _carry(self, kinds: set[str]) -> None:
        """Give slots to every layer of these kinds."""
        new = [name for name in self._layers if _kind(name) in kinds and name not in self._carriers]
        if not new:
            return
        for name in self._names:
            config = LoraConfig(
                r=self._rank, lora_alpha=self._rank, target_modules=new, init_lora_weights=False, inference_mode=True
            )
            inject_adapter_in_model(config, self._transformer, name, low_cpu_mem_usage=True)
            vars(self._transformer).pop("peft_config", None)  # PEFT's own list of adapters: we have one
        found = {place: layer for place, layer in self._transformer.named_modules() if isinstance(layer, LoraLayer)}
        if found.keys() != self._carriers.keys() | set(new):  # PEFT chooses by the ends of names
            raise LoraRefused(f"slots reached {len(found)} layers instead of {len(self._carriers) + len(new)}")
        self._carriers = found
        self.layouts += 1
        self.clear()

    def _empty_pair(self, place: str, name: str) -> Pair:
        """Zeros for one slot of one layer: parameters of its own over memory that all of their shape share."""
        if (place, name) not in self._empty:
            outputs, inputs = self._layers[place]
            down, up = self._zero((self._rank, inputs)), self._zero((outputs, self._rank))
            self._empty[place, name] = (
                torch.nn.Parameter(down, requires_grad=False),
                torch.nn.Parameter(up, requires_grad=False),
            )
        return self._empty[place, name]

    def _zero(self, shape: tuple[int, int]) -> torch.Tensor:
        if shape not in self._zeros:
            device = next(self._transformer.parameters()).device
            self._zeros[shape] = torch.zeros(shape, dtype=self._transformer.dtype, device=device)
        return self._zeros[shape]


def _round_rank(rank: int) -> int:
    return max(_LEAST_RANK, 1 << (rank - 1).bit_length())


def _kind(place: str) -> str:
    """The same layer of all blocks: its name without numbers of blocks (`to_out.0` is part of a name)."""
    return re.sub(r"^(\w+)\.\d+\.", r"\1.*.", place)


def _fill(tensor: torch.Tensor, rank: int, dim: int) -> torch.nn.Parameter:
    """Zeros behind the ranks that are there, (rank, inputs) or (outputs, rank)."""
    missing = rank - tensor.shape[dim]
    padding = (0, 0, 0, missing) if dim == 0 else (0, missing)
    filled = torch.nn.functional.pad(tensor.detach(), padding).contiguous()
    return torch.nn.Parameter(filled, requires_grad=False)

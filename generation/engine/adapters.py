"""User LoRAs on one transformer: PEFT adapters in a cache bounded in bytes. GPU worker only: torch at the top.

PEFT keeps which adapter is active on each layer, and changes that by itself: loading activates what it loads, deleting
the active adapter activates another one, and "disabled" outlives the next choice. So nothing here trusts what it
finds: `apply` writes the whole state of every layer, and after each load and each eviction nothing is active.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load

from generation.engine.errors import LoraRefused
from generation.engine.lorafile import LoraPart, fit_lora, read_lora
from generation.engine.lorarules import LoraRules
from generation.engine.memory import is_out_of_memory
from generation.engine.request import LoraUse
from generation.engine.slots import Slots, SlotUse

logger = logging.getLogger(__name__)

Scales = Sequence[tuple[float, ...]]  # per row, one strength for each LoRA of the stack


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """An adapter on the transformer: the factor (alpha ÷ rank) of each layer that it has, and its bytes."""

    factors: dict[str, float]
    bytes: int


class Adapters:
    """What one transformer holds. For one thread.

    `most_bytes` bounds what adapters may take on the device; the one that was used longest ago goes first. `closed`,
    where it is set, is the reason why this model takes no LoRA now.
    """

    def __init__(self, transformer: Any, *, rules: LoraRules, most_bytes: int, max_rank: int) -> None:
        self._transformer = transformer
        self._rules = rules
        self._most_bytes = most_bytes
        self._max_rank = max_rank
        self._layers = {
            name: (int(layer.out_features), int(layer.in_features))
            for name, layer in transformer.named_modules()
            if isinstance(layer, torch.nn.Linear) and rules.carries.fullmatch(name)
        }
        self._wrapped: dict[str, LoraLayer] = {}
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._applied: tuple[tuple[str, ...], tuple[tuple[float, ...], ...]] | None = None
        self._slots: Slots | None = None
        self.closed = ""

    def use_slots(self, count: int) -> None:
        """From here on LoRAs lie in slots, as compiled blocks need it (`slots.py`). Before the first one comes."""
        self._slots = Slots(self._transformer, layers=self._layers, vectors=self._rules.vectors, count=count)

    @property
    def layout(self) -> int:
        """Changes when the blocks' graphs do, the number of LoRAs in a stack apart."""
        return self._slots.layouts if self._slots else 0

    @property
    def held(self) -> tuple[str, ...]:
        """SHA-256 of what is in memory, longest unused first."""
        return tuple(self._held)

    @property
    def bytes(self) -> int:
        """What all of them take."""
        return sum(map(self._bytes_of, self._held))

    def hold(self, stack: Sequence[LoraUse]) -> None:
        """Have all files of `stack` in memory, evicting others where there is no room.

        Raises LoraRefused, naming LoRA and key, for a file that is broken, not the one it was, or made for another
        model. What it raises when memory runs out is torch's own; nothing of the file is left behind then.
        """
        if stack and self.closed:
            raise LoraRefused(self.closed)
        keep = {use.sha256 for use in stack}
        for use in stack:
            if use.sha256 in self._held:
                self._held.move_to_end(use.sha256)
            else:
                self._load(use, keep=keep)

    def apply(self, stack: Sequence[LoraUse], scales: Scales) -> None:
        """Set every layer for the next forward: exactly `stack`, with each row's own strengths, and nothing else.

        An adapter whose strengths are all 0 is left out, so that its rows equal the base bit for bit. One strength for
        all rows is a number, as PEFT itself has it; strengths that differ are a tensor with one entry for each row, in
        FP32: a BF16 one would round .7 to .6992.
        """
        self.hold(stack)
        if not self._wrapped and self._slots is None:
            return
        wanted = (tuple(use.sha256 for use in stack), tuple(scales))
        if wanted == self._applied:
            return
        self._applied = None
        strengths = {use.sha256: [row[k] for row in scales] for k, use in enumerate(stack)}
        active = {sha256: values for sha256, values in strengths.items() if any(values)}
        if self._slots is not None:
            uses = [
                SlotUse(sha256=sha256, strengths=values, factors=self._held[sha256].factors)
                for sha256, values in active.items()
            ]
            self._slots.show(uses)
            self._applied = wanted
            return
        for name, layer in self._wrapped.items():
            mine = [sha256 for sha256 in active if name in self._held[sha256].factors]
            for sha256 in mine:
                layer.scaling[_name(sha256)] = self._scaling(name, layer, active[sha256], self._held[sha256])
            _set_active(layer, [_name(sha256) for sha256 in mine])
        self._applied = wanted

    def begin(self) -> None:
        """A pass begins: whatever was set before it counts for nothing."""
        self._applied = None

    def evict(self, sha256: str) -> None:
        """Take one out of memory. Afterwards none is active."""
        self._deactivate()
        del self._held[sha256]
        self._remove(sha256)

    def _scaling(self, name: str, layer: LoraLayer, values: Sequence[float], held: _Held) -> float | torch.Tensor:
        factor = held.factors[name]
        if len(set(values)) == 1:
            return values[0] * factor
        shape = (-1, 1) if self._rules.vectors.fullmatch(name) else (-1, 1, 1)
        device = layer.get_base_layer().weight.device
        return torch.tensor([value * factor for value in values], dtype=torch.float32, device=device).view(shape)

    # Loading and taking out

    def _load(self, use: LoraUse, *, keep: set[str]) -> None:
        try:
            parts, tensors = self._read(use)
            self._make_room(self._size(parts, tensors), keep=keep)
        except LoraRefused as error:
            raise LoraRefused(f"LoRA {use.name or use.sha256[:12]}: {error}") from error
        try:
            self._inject(use.sha256, parts, tensors)
        except Exception as error:
            self._remove(use.sha256)
            others = [sha256 for sha256 in self._held if sha256 not in keep]
            if not is_out_of_memory(error) or not others:
                raise
            for sha256 in others:
                self.evict(sha256)
            self._load(use, keep=keep)

    def _read(self, use: LoraUse) -> tuple[dict[str, LoraPart], dict[str, torch.Tensor]]:
        """The parts by layer and the tensors by key, in the transformer's dtype, in main memory."""
        path = Path(use.path)
        try:
            lora = read_lora(path, values=False)
            parts = fit_lora(lora, rules=self._rules, layers=self._layers, max_rank=self._max_rank)
            data = path.read_bytes()
        except OSError as error:
            raise LoraRefused(f"its file cannot be read ({error.strerror})") from error
        if hashlib.sha256(data).hexdigest() != use.sha256:
            raise LoraRefused("its file is not the one that was checked")
        try:
            found = load(data)  # safetensors, never a pickle
        except SafetensorError as error:
            raise LoraRefused(f"its file cannot be read ({error})") from error
        wanted = {key for part in parts.values() for key in (part.down, part.up)}
        dtype = self._transformer.dtype
        tensors = {key: tensor.to(dtype) for key, tensor in found.items() if key in wanted}
        for key, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise LoraRefused(f"key {key[:120]} holds NaN or infinity")
        return parts, tensors

    def _make_room(self, size: int, *, keep: set[str]) -> None:
        kept = sum(self._bytes_of(sha256) for sha256 in self._held if sha256 in keep)
        if kept + size > self._most_bytes:
            raise LoraRefused(
                f"the stack takes {kept + size:,} bytes in memory, this worker keeps {self._most_bytes:,}"
            )
        for sha256 in [sha256 for sha256 in self._held if sha256 not in keep]:
            if self.bytes + size <= self._most_bytes:
                break
            self.evict(sha256)

    def _inject(self, sha256: str, parts: dict[str, LoraPart], tensors: dict[str, torch.Tensor]) -> None:
        self._applied = None
        if self._slots is not None:
            self._slots.put(sha256, parts, tensors)
        else:
            self._wrap(sha256, parts, tensors)
        size = self._size(parts, tensors)
        self._held[sha256] = _Held(factors={place: part.factor for place, part in parts.items()}, bytes=size)
        logger.info("LoRA %s: %d layers, %d bytes; %d held", sha256[:12], len(parts), size, len(self._held))

    def _wrap(self, sha256: str, parts: dict[str, LoraPart], tensors: dict[str, torch.Tensor]) -> None:
        name = _name(sha256)
        usual, _ = Counter(part.rank for part in parts.values()).most_common(1)[0]
        config = LoraConfig(
            r=usual, lora_alpha=usual, target_modules=list(parts), init_lora_weights=False, inference_mode=True
        )
        inject_adapter_in_model(config, self._transformer, name, low_cpu_mem_usage=True)
        vars(self._transformer).pop("peft_config", None)  # PEFT's own list of adapters: this class has one
        self._deactivate()  # loading has activated it
        reached = {place for place, layer in self._wrapped.items() if name in layer.lora_A}
        if reached != parts.keys():  # PEFT chooses by the ends of names: never more and never less than asked for
            raise LoraRefused(f"fits {len(reached)} layers where it has {len(parts)}")
        for place, part in parts.items():
            layer = self._wrapped[place]
            device = layer.get_base_layer().weight.device
            for side, key in ((layer.lora_A, part.down), (layer.lora_B, part.up)):
                side[name] = _linear(tensors[key].to(device))
            layer.r[name] = part.rank

    def _size(self, parts: dict[str, LoraPart], tensors: dict[str, torch.Tensor]) -> int:
        return self._slots.size_of(parts) if self._slots else sum(tensor.nbytes for tensor in tensors.values())

    def _bytes_of(self, sha256: str) -> int:
        return self._slots.bytes_of(sha256) if self._slots else self._held[sha256].bytes

    def _deactivate(self) -> None:
        """Nothing is active on any layer, those of a load that broke off included."""
        self._applied = None
        self._wrapped = {
            place: layer for place, layer in self._transformer.named_modules() if isinstance(layer, LoraLayer)
        }
        for layer in self._wrapped.values():
            _set_active(layer, [])

    def _remove(self, sha256: str) -> None:
        """Take an adapter out of every layer, none being active: PEFT would otherwise activate another one."""
        name = _name(sha256)
        self._deactivate()
        if self._slots is not None:
            self._slots.take_out(sha256)
        for layer in self._wrapped.values():
            if name in layer.lora_A:
                layer.delete_adapter(name)


def _set_active(layer: LoraLayer, names: list[str]) -> None:
    """Both of the switches that PEFT keeps on a layer. Its own setters also walk through all weights, for training."""
    layer._disable_adapters = not names
    layer._active_adapter = names


def _linear(weight: torch.Tensor) -> torch.nn.Linear:
    outputs, inputs = weight.shape
    linear = torch.nn.Linear(inputs, outputs, bias=False, device="meta")
    linear.weight = torch.nn.Parameter(weight.contiguous(), requires_grad=False)
    return linear


def _name(sha256: str) -> str:
    return f"lora_{sha256}"

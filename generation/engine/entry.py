"""Reading one model's entry value by value: each reader gives what the key holds, or says what is wrong. No torch."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from generation.engine.errors import CatalogError

# FlowMatchEulerDiscreteScheduler's arguments; TOML has no null: 0.0 or false switches shift_terminal off.
_SCHEDULER_KEYS: dict[str, tuple[type, ...]] = {
    "num_train_timesteps": (int,),
    "shift": (float, int),
    "use_dynamic_shifting": (bool,),
    "base_shift": (float, int),
    "max_shift": (float, int),
    "base_image_seq_len": (int,),
    "max_image_seq_len": (int,),
    "invert_sigmas": (bool,),
    "shift_terminal": (float, int, bool),
    "use_karras_sigmas": (bool,),
    "use_exponential_sigmas": (bool,),
    "use_beta_sigmas": (bool,),
    "time_shift_type": (str,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TurboLora:
    """A few-step LoRA, fused into the transformer at load: a safetensors file (`owner/name:file` on the hub)."""

    path: str
    scale: float = 1.0
    revision: str | None = None


class EntryReader:
    """Readers for the kinds of values that an entry has; a complaint is a CatalogError naming file, model and key."""

    def __init__(self, *, source_name: str, slug: str) -> None:
        self.where = f"{source_name}: model {slug}"
        self.slug = slug

    def fail(self, key: str, reason: str) -> None:
        raise CatalogError(f"{self.where}: {key}: {reason}")

    def text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            self.fail(key, f"must be text, got {value!r}")
        return str(value)

    def flag(self, key: str, value: object) -> bool:
        if not isinstance(value, bool):
            self.fail(key, f"must be true or false, got {value!r}")
        return bool(value)

    def whole(self, key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.fail(key, f"must be a whole number of at least 0, got {value!r}")
        return int(value)

    def number(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.fail(key, f"must be a finite number, got {value!r}")
        return float(value)

    def many(self, key: str, value: Any, read: Callable[[str, Any], Any]) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            self.fail(key, f"must be a list, got {value!r}")
        return tuple(read(key, item) for item in value)

    def texts(self, key: str, value: object) -> tuple[str, ...]:
        return self.many(key, value, self.text)

    def wholes(self, key: str, value: object) -> tuple[int, ...]:
        return self.many(key, value, self.whole)

    def numbers(self, key: str, value: object) -> tuple[float, ...]:
        return self.many(key, value, self.number)

    def pairs(self, key: str, value: object) -> tuple[tuple[int, ...], ...]:
        pairs = self.many(key, value, self.wholes)
        if any(len(pair) != 2 for pair in pairs):
            self.fail(key, "must be a list of [width, height]")
        return pairs

    def day(self, key: str, value: object) -> str:
        """A date of TOML, or its text; kept as text, so that the entry survives JSON."""
        if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            return value.isoformat()
        text = self.text(key, value)
        try:
            return datetime.date.fromisoformat(text).isoformat() if text else ""
        except ValueError:
            self.fail(key, f"must be a date like 2026-11-26, got {value!r}")
            raise  # not reached

    def turbo(self, key: str, value: Any) -> TurboLora:
        if not isinstance(value, Mapping) or not {"path"} <= set(value) <= {"path", "scale", "revision"}:
            self.fail(key, f"must be {{path, scale, revision}}, got {value!r}")
        scale = self.number(f"{key}.scale", value.get("scale", 1.0))
        if not -4 <= scale <= 4:
            self.fail(f"{key}.scale", f"{scale:g} is out of range, -4 to 4")
        revision = value.get("revision")
        if revision is not None:
            revision = self.text(f"{key}.revision", revision)
        return TurboLora(path=self.text(f"{key}.path", value["path"]), scale=scale, revision=revision)

    def overrides(self, key: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self.fail(key, f"must be a table, got {value!r}")
        for name, item in value.items():
            if name not in _SCHEDULER_KEYS:
                self.fail(f"{key}.{name}", f"is unknown, the keys are {', '.join(_SCHEDULER_KEYS)}")
            kinds = _SCHEDULER_KEYS[name]
            if not isinstance(item, kinds) or (isinstance(item, bool) and bool not in kinds):
                self.fail(f"{key}.{name}", f"must be {kinds[0].__name__}, got {item!r}")
        return dict(value)

"""What is known so far: kept after each part, whatever becomes of the next one."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOT_MEASURED = "not measured"


@dataclass
class Report:
    """`result` is written to `out` again and again; its "models" are the figures. `failures` name the parts."""

    result: dict[str, Any]
    out: Path
    failures: list[str] = field(default_factory=list)

    @property
    def models(self) -> dict[str, Any]:
        found: dict[str, Any] = self.result["models"]
        return found

    def save(self) -> None:
        """The file is the old one or the new one, never half of it."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        beside = self.out.with_name(f".{self.out.name}.part")
        beside.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")
        beside.replace(self.out)

    @contextmanager
    def part(self, model: str, name: str, key: str, *, at: dict[str, Any] | None = None) -> Iterator[None]:
        """Measure inside: seconds are noted, a failure stands under `key` of `at` (else of the model), all is saved."""
        found = self.models[model]
        print(f"{model}: {name}", file=sys.stderr, flush=True)
        began = time.perf_counter()
        try:
            yield
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            self.failures.append(f"{model}: {name}")
            (found if at is None else at)[key] = {"failed": f"{type(error).__name__}: {error}"[:2000]}
        found.setdefault("took_s", {})[name] = round(time.perf_counter() - began, 1)
        self.save()

"""The sleeping engine with previews, so that a browser has something to watch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from generation.engine.request import PassRow
from tests.chaos.sleeping import Sleeping


class PreviewHooks:
    """The pass's own hooks, with a small picture for every row and step."""

    def __init__(self, hooks: Any) -> None:
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hooks, name)

    def step(self, step: int, steps: int, previews: Mapping[str, bytes]) -> None:
        picture = io.BytesIO()
        Image.new("RGB", (8, 8), (40 * step, 90, 200)).save(picture, "WEBP")
        self._hooks.step(step, steps, dict.fromkeys(previews, picture.getvalue()))


class Painting(Sleeping):
    """Draws plain pictures, with previews."""

    def run(self, model: Any, rows: Sequence[PassRow], hooks: Any) -> Any:
        return super().run(model, rows, PreviewHooks(hooks))

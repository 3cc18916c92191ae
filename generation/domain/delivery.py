"""The stored pictures of a generation, as whoever sends their bytes needs them. Pure, but for the SQL's text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from generation.domain.resolve import guess_tokens

PATCH = 16  # pixels a side for which one image token stands: a latent of eight pixels, two by two of them

# Parameter: generation. Runs in a tenant's scope. The receipt has what the worker's tokenizer counted.
DELIVERY_SQL = """
SELECT i.id, i.index, i.file, i.format, i.width, i.height, g.prompt, g.negative_prompt, g.params,
       (r.body ->> 'prompt_tokens')::int AS prompt_tokens,
       (r.body ->> 'negative_prompt_tokens')::int AS negative_prompt_tokens
  FROM generation_image i
  JOIN generation_generation g ON g.tenant_id = i.tenant_id AND g.id = i.generation_id
  LEFT JOIN generation_receipt r ON r.tenant_id = i.tenant_id AND r.image_id = i.id
 WHERE i.generation_id = %(generation)s
 ORDER BY i.index
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One picture: `file` under `STUDIO_MEDIA`, and what it stands for in tokens."""

    id: UUID
    index: int
    file: str
    format: str
    width: int
    height: int
    text_tokens: int
    image_tokens: int
    input_image_tokens: int = 0  # of the pictures that it starts from

    @property
    def size(self) -> str:
        """`1024x1024`."""
        return f"{self.width}x{self.height}"


def read_delivery(row: Mapping[str, Any]) -> Delivery:
    """A row of `DELIVERY_SQL`. Where the worker has counted no tokens they are guessed from the text's length."""
    params = json.loads(row["params"]) if isinstance(row["params"], str) else row["params"]
    texts = [(row["prompt_tokens"], row["prompt"])]
    if params.get("guided"):
        texts.append((row["negative_prompt_tokens"], row["negative_prompt"]))
    return Delivery(
        id=row["id"],
        index=row["index"],
        file=row["file"],
        format=row["format"],
        width=row["width"],
        height=row["height"],
        text_tokens=sum(guess_tokens(text) if counted is None else counted for counted, text in texts),
        image_tokens=_tokens_of(row),
        input_image_tokens=sum(map(_tokens_of, params.get("images", []))),
    )


def _tokens_of(picture: Mapping[str, Any]) -> int:
    return -(-int(picture["width"]) // PATCH) * -(-int(picture["height"]) // PATCH)

"""Upstreams as staff have set them up, and which model of theirs answers for one that tenants see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from generation.chat.wire.bounds import Times
from generation.chat.wire.client import Origin, read_origin

Kind = Literal["openai", "ollama"]
KINDS: tuple[Kind, ...] = ("openai", "ollama")
MAX_CONCURRENCY = 10_000
MAX_WEIGHT = 1000
# Fields that a compatible server may not take. What one does not name among its `fields` is not sent to it.
OPTIONAL_FIELDS = frozenset(
    {
        "stream_options",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "stop",
        "reasoning_effort",
        "user",
    }
)
# What `transformers serve` (5.23) takes; it answers 422 to the others, or passes over them in silence. Its
# `frequency_penalty` becomes another kind of penalty, so that is left out too.
TRANSFORMERS_FIELDS = frozenset({"tools", "seed", "stop"})


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A server that answers chat. Raises `ValueError` for what cannot be one.

    `loading_s` replaces the bound of the first byte while a server that loads models on demand may be loading (0: it
    never does). `fields` are the optional ones it takes (`OPTIONAL_FIELDS`).
    """

    id: str
    kind: Kind
    base_url: str
    name: str = ""
    credential: str = field(default="", repr=False)
    times: Times = field(default_factory=Times)
    loading_s: float = 0.0
    concurrency: int = 8
    weight: int = 1
    fields: frozenset[str] = OPTIONAL_FIELDS
    link_local: bool = False
    health_path: str = ""  # of its own; empty: the kind's

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 1 <= self.concurrency <= MAX_CONCURRENCY:
            raise ValueError(f"concurrency must be from 1 to {MAX_CONCURRENCY}, got {self.concurrency}")
        if not 1 <= self.weight <= MAX_WEIGHT:
            raise ValueError(f"weight must be from 1 to {MAX_WEIGHT}, got {self.weight}")
        if unknown := self.fields - OPTIONAL_FIELDS:
            known = ", ".join(sorted(OPTIONAL_FIELDS))
            raise ValueError(f"unknown fields {', '.join(sorted(unknown))}; there are {known}")
        if not self.credential.isascii() or any(char in self.credential for char in "\r\n\0"):
            raise ValueError("credential must be ASCII text without line breaks")
        _ = self.origin

    @cached_property
    def origin(self) -> Origin:
        """Where it is. A base URL of the OpenAI kind may end in `/v1`, as OpenAI's clients write it."""
        found = read_origin(self.base_url, link_local=self.link_local)
        return replace(found, prefix=found.prefix.removesuffix("/v1")) if self.kind == "openai" else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One upstream, and its own name for the model. `context_tokens` is told to servers that would cut prompts."""

    upstream: Upstream
    model: str
    context_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A chat model as tenants see it. `sampling` holds values for what a request leaves open (`request.SAMPLING`)."""

    slug: str
    targets: tuple[Target, ...]
    max_tokens: int = 4096
    max_prompt_chars: int = 32_768
    sampling: Mapping[str, Any] = field(default_factory=dict)

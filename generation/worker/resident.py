"""Which models a worker has in memory, and when they change.

Where all models of a pool fit, all are loaded and stay. Where they do not, the worker follows demand: the model of the
row whose turn it is by the tenants' clocks comes in, the ones used longest ago go. Loading happens before the claim, so
nobody is charged for it; and a model that came in stays for a while, so that two tenants with two models do not make
the worker load for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generation.engine.catalog import ModelSpec

STAY_S = 60.0  # at least; and STAY_LOADS times what loading took: at most a sixth of the time is loading
STAY_LOADS = 5.0
LOOK_S = 1.0  # between two looks for demand while there is work for what is loaded
BROKEN_S = 300.0  # before a model that could not be loaded is tried again


@dataclass(slots=True)
class _Here:
    """One model in memory: since when, when it was last used, how long its loading took."""

    since: float
    used: float
    load_s: float


class Residents:
    """The plan, without the weights: what is in memory, what may come in, what must go for it. For one thread.

    `sizes`: bytes of each model that the worker serves; one that does not say takes none. `room`: bytes for all.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        *,
        room: int,
        stay_s: float = STAY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sizes = dict(sizes)
        self._room = room
        self._stay_s = stay_s
        self._clock = clock
        self._here: dict[str, _Here] = {}
        self._broken: dict[str, float] = {}
        self._wanted_since: dict[str, float] = {}
        self._looked = float("-inf")

    @property
    def here(self) -> tuple[str, ...]:
        """Slugs of what is in memory."""
        return tuple(self._here)

    @property
    def switches(self) -> bool:
        """Whether some model is not in memory."""
        return len(self._here) < len(self._sizes)

    @property
    def patience(self) -> float:
        """Seconds that a model waits at most before those in memory have had their time."""
        return max((self._stay(here) for here in self._here.values()), default=0.0)

    def first(self) -> list[str]:
        """What to load at the start: in their order, as many as fit together."""
        chosen: list[str] = []
        for slug, size in self._sizes.items():
            if size + sum(self._sizes[other] for other in chosen) <= self._room:
                chosen.append(slug)
        return chosen

    def candidates(self) -> list[str]:
        """Models that could be drawn with: those in memory, and those that are not broken."""
        now = self._clock()
        return [slug for slug in self._sizes if self._broken.get(slug, now) <= now]

    def may_look(self, *, idle: bool) -> bool:
        """Whether it is time to ask whose turn it is. `idle`: nothing could be claimed for what is in memory."""
        now = self._clock()
        if not self.switches or (not idle and now - self._looked < LOOK_S):
            return False
        self._looked = now
        return True

    def judge(self, next_model: str | None, *, idle: bool, elsewhere: bool = False) -> str | None:
        """The model to load now, or None.

        `next_model` is that of the row whose turn it is. One that is not in memory waits until what is there has had
        its time, unless that has no work (`idle`); where another worker has it (`elsewhere`), until this one has waited
        in vain for as long.
        """
        now = self._clock()
        self._wanted_since = {slug: at for slug, at in self._wanted_since.items() if slug == next_model}
        if next_model is None or next_model in self._here or next_model not in self._sizes:
            return None
        since = self._wanted_since.setdefault(next_model, now)
        if elsewhere and now - since < self.patience:
            return None
        if idle or all(
            now - self._here[slug].since >= self._stay(self._here[slug]) for slug in self.leavers(next_model)
        ):
            return next_model
        return None

    def leavers(self, slug: str) -> list[str]:
        """What must go so that `slug` fits: those used longest ago first, no more than needed."""
        free = self._room - sum(self._sizes[other] for other in self._here)
        leaving: list[str] = []
        for other in sorted(self._here, key=lambda name: self._here[name].used):
            if free >= self._sizes[slug]:
                break
            if self._sizes[other]:
                leaving.append(other)
                free += self._sizes[other]
        return leaving

    def came(self, slug: str, *, load_s: float) -> None:
        """A model was loaded."""
        now = self._clock()
        self._here[slug] = _Here(since=now, used=now, load_s=load_s)
        self._broken.pop(slug, None)
        self._wanted_since.pop(slug, None)

    def went(self, slug: str) -> None:
        """A model was thrown out."""
        del self._here[slug]

    def broke(self, slug: str) -> None:
        """A model could not be loaded: others are served, and it is tried again later."""
        self._broken[slug] = self._clock() + BROKEN_S
        self._wanted_since.pop(slug, None)

    def used(self, slug: str) -> None:
        """A pass was drawn with it."""
        self._here[slug].used = self._clock()

    def _stay(self, here: _Here) -> float:
        return max(self._stay_s, STAY_LOADS * here.load_s)


def sizes_of(specs: Sequence[ModelSpec], offloaded: Callable[[ModelSpec], bool]) -> dict[str, int]:
    """Bytes of each model on the device; one that is offloaded takes none that count."""
    return {spec.slug: 0 if offloaded(spec) else spec.memory_bytes for spec in specs}

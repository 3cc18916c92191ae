"""Which picture a case starts from: one for both sides, so that only its own step is compared."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from generation.releases.compare.side import Drawn
from generation.releases.compare.wanted import Wanted


class Side(Protocol):
    """Where pictures come from."""

    def draw(self, wanted: Wanted) -> Drawn:
        """The picture of a case, or why there is none."""

    def start_of(self, wanted: Wanted) -> bytes:
        """What a stored picture of the case was drawn from; nothing of a side that draws now."""


@dataclass(frozen=True, slots=True)
class Starts:
    """The pictures of one comparison that others start from, by case: the old side's, else the new one's."""

    new: Side
    old: Side
    known: dict[str, Drawn] = field(default_factory=dict)

    def note(self, wanted: Wanted, new: Drawn, old: Drawn) -> None:
        """What both sides have of a case."""
        self.known.setdefault(wanted.slug, new if old.error else old)

    def give(self, wanted: Wanted) -> Wanted:
        """The case with its picture, drawn now where it was not yet. A reference brings what it was drawn from."""
        if wanted.start is None or wanted.refused:
            return wanted
        picture = self.old.start_of(wanted) or self._picture_of(wanted.start.base)
        return replace(wanted, start=replace(wanted.start, picture=picture))

    def _picture_of(self, base: Wanted) -> bytes:
        if base.slug not in self.known:
            old = self.old.draw(base)
            self.known[base.slug] = self.new.draw(base) if old.error else old
        return self.known[base.slug].data

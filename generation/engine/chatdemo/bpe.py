"""Learns the merges of a byte-level BPE, stage after stage: what an earlier stage joined, every later one finds joined.

A library's trainer ranks merges by how often they occur, whole texts at once. Here the roots of words with a mood and
endings ("ed", "ful") come first, so that a word of a known family that was never met falls into parts that were.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

from transformers.convert_slow_tokenizer import bytes_to_unicode

Merge = tuple[str, str]
_BYTES = bytes_to_unicode()


def alphabet() -> list[str]:
    """The 256 first entries of the vocabulary: how byte-level BPE writes each byte."""
    return sorted(_BYTES.values())


def spell(text: str) -> tuple[str, ...]:
    """A text's bytes, as byte-level BPE writes them."""
    return tuple(_BYTES[byte] for byte in text.encode())


class Merges:
    """Merges learnt so far, in the order in which they are to be applied."""

    def __init__(self) -> None:
        self.found: list[Merge] = []

    def learn(self, pieces: Mapping[str, int], *, most: int, least: int = 1) -> None:
        """Join the commonest neighbours in these pieces of text (each with how often it occurs), at most `most` times
        and while they occur `least` times. Of equals the first in the alphabet.
        """
        words = [(list(self._apply(spell(piece))), count) for piece, count in sorted(pieces.items())]
        counts: Counter[Merge] = Counter()
        places: dict[Merge, set[int]] = defaultdict(set)
        for number, (parts, count) in enumerate(words):
            _count(parts, count, number, counts, places)
        for _ in range(most):
            if not counts:
                return
            best = min(counts, key=lambda pair: (-counts[pair], pair))
            if counts[best] < least:
                return
            self.found.append(best)
            for number in sorted(places[best]):
                parts, count = words[number]
                _count(parts, -count, number, counts, places)
                parts[:] = _join(parts, best)
                _count(parts, count, number, counts, places)

    def grow(self, beginnings: Iterable[str]) -> None:
        """Know these beginnings of words whole: letter joins letter from the left, all words' first ones first, so that
        no merge of one stands in another's way. Each must start where a word starts (a blank, a capital letter).
        """
        words = sorted({spell(beginning) for beginning in beginnings})
        for length in range(1, max(map(len, words), default=0)):
            for word in words:
                pair = "".join(word[:length]), "".join(word[length : length + 1])
                if pair[1] and pair not in self.found:
                    self.found.append(pair)

    def _apply(self, parts: Iterable[str]) -> list[str]:
        joined = list(parts)
        for merge in self.found:
            if len(joined) > 1:
                joined = _join(joined, merge)
        return joined


def _count(parts: list[str], count: int, number: int, counts: Counter[Merge], places: dict[Merge, set[int]]) -> None:
    for pair in pairwise(parts):
        counts[pair] += count
        places[pair].add(number)
        if counts[pair] <= 0:
            del counts[pair]


def _join(parts: list[str], pair: Merge) -> list[str]:
    joined: list[str] = []
    at = 0
    while at < len(parts):
        if tuple(parts[at : at + 2]) == pair:
            joined.append(parts[at] + parts[at + 1])
            at += 2
        else:
            joined.append(parts[at])
            at += 1
    return joined

"""JSON bodies, read strictly: what is ambiguous, or would mean something else to the next reader, is refused.

Each complaint names the place (`messages[0].content`) and the bound. Two readers that disagree about a repeated key or
a number too large for a double are how requests are smuggled past a gateway; so neither gets any further.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from generation.errors import BodyUnreadable

MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1
_DIGITS = 20  # hold every 64-bit number: longer ones are not even converted


class _Wrong:
    """Stands where a value cannot be taken, until the place of it is known."""

    def __init__(self, why: str) -> None:
        self.why = why


def parse_strict(body: bytes) -> Any:
    """The value in the bytes. Raises `BodyUnreadable`, which names the place and the bound."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BodyUnreadable(f"the body is not UTF-8 (byte {error.start})") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BodyUnreadable(f"malformed JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise BodyUnreadable(f"the body is nested deeper than {MAX_DEPTH} levels") from None
    # Without an escape no text can hold a NUL (bare ones are malformed) or a lone surrogate (those are not UTF-8).
    _check(value, None, depth=0, escapes="\\u" in text)
    return value


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        return _Wrong(f"the field {twice[:60]!r} occurs twice")
    return found


def _constant(word: str) -> Any:
    return _Wrong(f"{word} is no JSON number")


def _float(text: str) -> Any:
    value = float(text)
    if math.isfinite(value) and abs(value) <= MAX_INTEGER:
        return value
    return _Wrong(f"the number {text[:40]} is too large, max {MAX_INTEGER}")


def _integer(text: str) -> Any:
    if len(text) <= _DIGITS and -MAX_INTEGER - 1 <= (value := int(text)) <= MAX_INTEGER:
        return value
    return _Wrong(f"the number {text[:40]} does not fit into 64 bits, max {MAX_INTEGER}")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer)

# A place is a chain of names and indexes, written out only where something is wrong: a long name with many children
# would otherwise be copied for each of them.
_Place = tuple["_Place", "str | int"] | None


def _check(value: Any, place: _Place, *, depth: int, escapes: bool) -> None:
    if isinstance(value, str):
        if escapes:
            _check_text(value, place)
    elif isinstance(value, dict):
        _check_depth(place, depth)
        for name, child in value.items():
            if escapes:
                _check_text(name, (place, name))
            _check(child, (place, name), depth=depth + 1, escapes=escapes)
    elif isinstance(value, list):
        _check_depth(place, depth)
        for index, child in enumerate(value):
            _check(child, (place, index), depth=depth + 1, escapes=escapes)
    elif isinstance(value, _Wrong):
        raise _complaint(place, value.why)


def _check_depth(place: _Place, depth: int) -> None:
    if depth == MAX_DEPTH:
        raise _complaint(place, f"the body is nested deeper than {MAX_DEPTH} levels")


def _check_text(text: str, place: _Place) -> None:
    if "\x00" in text:
        raise _complaint(place, "text must not hold NUL characters")
    # json.loads joins surrogate pairs, so one that is left stands alone and cannot be written as UTF-8.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _complaint(place, "text must not hold lone surrogates") from None


def _complaint(place: _Place, why: str) -> BodyUnreadable:
    where, field = "", None
    while place is not None:
        place, step = place
        field = str(step)
        where = f"[{step}]{where}" if isinstance(step, int) else f".{step[:60]}{where}"
        where = where[:200]
    message = f"{where.lstrip('.')}: {why}" if where else why
    return BodyUnreadable(printable(message), field=printable(field)[:60] if field else None)


def printable(text: str) -> str:
    """A text of the client's as it may stand in an answer."""
    return text[:300].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")

"""Long lists in pages, by key set: the cursor says after which row to go on, so a page costs the same at any depth."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
from django.db.models import Model, Q, QuerySet

from accounts.errors import InvalidField

T = TypeVar("T")
M = TypeVar("M", bound=Model)

DEFAULT_LIMIT = 30
MAX_LIMIT = 100
MAX_OFFSET = timedelta(hours=15)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list; `next` and `previous` are cursors, `None` at the ends."""

    results: list[T]
    next: str | None
    previous: str | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list ordered by time and id, newest first; `back` reads towards newer rows."""

    time: datetime
    id: UUID
    back: bool = False

    def encode(self) -> str:
        """Opaque text for an address."""
        return pack_cursor([self.time, self.id, int(self.back)])


def pack_cursor(values: Sequence[object]) -> str:
    """The values of a place in a list as opaque text."""
    return base64.urlsafe_b64encode(orjson.dumps(values)).rstrip(b"=").decode()


def unpack_cursor(text: str, read: Callable[[list[Any]], T]) -> T:
    """What `read` makes of the values; raises `InvalidField` where they, or the text, are none of ours."""
    try:
        return read(orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise InvalidField("cursor is not one of ours; take it from next or previous", field="cursor") from None


def decode_cursor(text: str) -> Cursor:
    """The cursor in a query parameter; raises `InvalidField` for one that we did not make."""
    return unpack_cursor(text, _read_cursor)


def _read_cursor(values: list[Any]) -> Cursor:
    time, found, back = values
    cursor = Cursor(time=datetime.fromisoformat(time), id=UUID(found), back=back == 1)
    if not time_is_plain(cursor.time):
        raise ValueError
    return cursor


def time_is_plain(time: datetime) -> bool:
    """Whether a time has a zone as zones are, in whole minutes: PostgreSQL reads few of the others that Python does."""
    offset = time.utcoffset()
    return offset is not None and abs(offset) <= MAX_OFFSET and not offset % timedelta(minutes=1)


def parse_limit(text: str | None) -> int:
    """The `limit` of a query, 1 to 100; raises `InvalidField`."""
    if not text:
        return DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit() or len(text) > 4 or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidField(f"limit must be a whole number from 1 to {MAX_LIMIT}", field="limit")
    return int(text)


def parse_flag(name: str, text: str | None) -> bool | None:
    """A yes or no of a query, `None` where it was left out; raises `InvalidField`."""
    if not text:
        return None
    if text not in ("true", "false"):
        raise InvalidField(f"{name} must be true or false", field=name)
    return text == "true"


def read_page(
    rows: QuerySet[M, Any],
    *,
    cursor: str | None,
    limit: int,
    time: str = "created_at",
    weigh: Callable[[Any], int] | None = None,
    most: int = 0,
) -> Page[Any]:
    """One page of rows, newest first by (`time`, `id`), as the query set gives them (models or dicts).

    With `weigh` a page ends before its rows together weigh more than `most`; one row it always has.
    """
    place = decode_cursor(cursor) if cursor else None
    back = place is not None and place.back
    if place is not None:
        side = "gt" if back else "lt"
        after = Q(**{f"{time}__{side}": place.time}) | Q(**{time: place.time, f"id__{side}": place.id})
        # The same once more as one comparison: by it an index begins at the place instead of at the end of the list.
        rows = rows.filter(after, **{f"{time}__{side}e": place.time})
    order = (time, "id") if back else (f"-{time}", "-id")
    found: list[Any] = list(rows.order_by(*order)[: limit + 1])
    length = _count_fitting(found[:limit], weigh, most) if weigh else limit
    more = len(found) > length
    found = found[:length]
    if back:
        found.reverse()
    newer, older = (more, True) if back else (place is not None, more)
    return Page(
        results=found,
        next=_cursor_of(found[-1], time=time, back=False) if found and older else None,
        previous=_cursor_of(found[0], time=time, back=True) if found and newer else None,
    )


def _count_fitting(rows: list[Any], weigh: Callable[[Any], int], most: int) -> int:
    sums = accumulate(weigh(row) for row in rows)
    return max(1, sum(weight <= most for weight in sums))


def _cursor_of(row: Any, *, time: str, back: bool) -> str:
    if isinstance(row, dict):
        return Cursor(time=row[time], id=row["id"], back=back).encode()
    return Cursor(time=getattr(row, time), id=row.id, back=back).encode()

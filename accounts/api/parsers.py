"""JSON bodies, read strictly: what is ambiguous or would break the database is refused before any code sees it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from typing import IO, Any, NoReturn

from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser, MultiPartParser

MAX_DEPTH = 16
MAX_INTEGER = 2**63 - 1  # PostgreSQL's bigint


class BodyTooLarge(APIException):
    """More bytes than the route takes."""

    status_code = 413
    problem_code = "body_too_large"


class MalformedJSON(ParseError):
    """Not the JSON we take; the message says where."""

    problem_code = "malformed_json"


class StrictJSONParser(BaseParser):
    """UTF-8 JSON of bounded depth, without duplicate keys, NaN, NUL, lone surrogates or numbers beyond 64 bits.

    The view's `max_body_bytes` replaces the default cap. `request.body_sha256` is set to the hash of the bytes, by
    which an `Idempotency-Key` is compared.
    """

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        context = parser_context or {}
        cap = getattr(context.get("view"), "max_body_bytes", settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        body = _read(stream, cap=cap, announced=_content_length(context))
        if context.get("request") is not None:
            context["request"].body_sha256 = sha256(body).hexdigest()
        return parse_json(body)


class BoundedMultiPartParser(MultiPartParser):
    """`multipart/form-data` of at most the view's `max_body_bytes`, or the default cap."""

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Raises `BodyTooLarge` before a byte is read: the server in front has not read them either."""
        context = parser_context or {}
        cap = getattr(context.get("view"), "max_body_bytes", settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        if (announced := _content_length(context)) > cap:
            raise BodyTooLarge(f"the body has {announced} bytes, max {cap}")
        return super().parse(stream, media_type, parser_context)


def parse_json(body: bytes) -> Any:
    """The value in the bytes; raises `MalformedJSON` with the reason. (The async door reads its bodies with it too.)"""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJSON(f"the body is not UTF-8 (byte {error.start})") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        raise MalformedJSON(f"malformed JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise MalformedJSON(f"the body is nested deeper than {MAX_DEPTH} levels") from None
    _check(value, depth=0)
    return value


def _read(stream: IO[bytes], *, cap: int, announced: int) -> bytes:
    if announced > cap:
        raise BodyTooLarge(f"the body has {announced} bytes, max {cap}")
    body = stream.read(cap + 1)
    if len(body) > cap:
        raise BodyTooLarge(f"the body has more than {cap} bytes")
    return body


def _content_length(context: Mapping[str, Any]) -> int:
    request = context.get("request")
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0) if request is not None else 0
    except ValueError:
        raise MalformedJSON("Content-Length is no number") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise MalformedJSON(f"the field {twice[:60]!r} occurs twice")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise MalformedJSON(f"{word} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    # PostgreSQL gives 1e300 back as an integer of 301 digits, which no answer of ours can hold.
    if not (math.isfinite(value) and abs(value) <= MAX_INTEGER):
        raise MalformedJSON(f"the number {text[:40]} is too large")
    return value


def _integer(text: str) -> int:
    # Twenty characters hold every 64-bit number: longer ones are not even converted.
    if len(text) > 20 or not -MAX_INTEGER - 1 <= (value := int(text)) <= MAX_INTEGER:
        raise MalformedJSON(f"the number {text[:40]} does not fit into 64 bits")
    return value


def _check(value: Any, *, depth: int) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict | list):
        if depth == MAX_DEPTH:
            raise MalformedJSON(f"the body is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            for name in value:
                _check_text(name)
        for child in value.values() if isinstance(value, dict) else value:
            _check(child, depth=depth + 1)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise MalformedJSON("text must not hold NUL characters")
    # json.loads joins surrogate pairs, so one that is left stands alone and cannot be written as UTF-8.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedJSON("text must not hold lone surrogates") from None

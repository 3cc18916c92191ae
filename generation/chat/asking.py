"""Questions to an upstream besides chat: is it well, and which models has it. For staff's pages and `doctor`."""

from __future__ import annotations

from dataclasses import replace

from generation.chat.targets import Upstream
from generation.chat.upstreams import DIALECTS
from generation.chat.upstreams.dialect import AnswerError, headers_of
from generation.chat.wire.bounds import Times
from generation.chat.wire.client import Client
from generation.chat.wire.errors import WireError

LIST_BYTES = 1_048_576
TIMES = Times(connect=2, first_byte=5, idle=5, total=10)


class NotWell(Exception):
    """What is wrong with an upstream, in words for staff."""


async def check_health(upstream: Upstream, client: Client | None = None) -> None:
    """Ask its own health check. Raises `NotWell`."""
    await _get(upstream, DIALECTS[upstream.kind].health_path(upstream), client)


async def list_models(upstream: Upstream, client: Client | None = None) -> list[str]:
    """The names of the models it has, as a `Target` takes them. Raises `NotWell`."""
    dialect = DIALECTS[upstream.kind]
    try:
        return dialect.read_models(await _get(upstream, dialect.models_path, client))
    except AnswerError as error:
        raise NotWell(str(error)) from None


async def _get(upstream: Upstream, path: str, client: Client | None) -> bytes:
    own = client or Client()
    times = replace(TIMES, connect=min(TIMES.connect, upstream.times.connect))
    try:
        response = await own.send(upstream.origin, "GET", path, headers=headers_of(upstream), times=times)
        try:
            if response.head.status != 200:
                raise NotWell(f"{path} answers {response.head.status}")
            return await response.read_all(most=LIST_BYTES)
        finally:
            response.close()
    except WireError as error:
        raise NotWell(str(error)) from None
    finally:
        if client is None:
            own.close()

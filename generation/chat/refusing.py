"""What a client is told where an upstream refuses a request: no addresses, paths or credential of ours."""

from __future__ import annotations

import logging
import re

from generation.chat.leases import RETRY_S, AttemptFailed
from generation.chat.targets import Target
from generation.chat.upstreams import DIALECTS
from generation.chat.wire.client import Response
from generation.chat.wire.errors import BrokenOff, WireError
from generation.errors import ChatRefused, ChatUnavailable

log = logging.getLogger(__name__)

ERROR_BYTES = 65_536
ERROR_CHARS = 300
_REQUESTS_FAULT = frozenset({400, 413, 422})
# Where something is: URLs, paths, addresses and hosts with a port.
_PLACE = re.compile(
    r"\w{1,20}://[^\s,;]+|(?<![\w/])~?/(?:[\w.-]+/)+[\w.-]*|\b[A-Za-z]:\\[^\s,;]+"
    r"|\b(?:\d{1,3}\.){3}\d{1,3}\b(?::\d+)?|(?<![\w:])\[?(?=[0-9a-fA-F:]*::)[0-9a-fA-F:]+(?!\w)\]?(?::\d+)?"
    r"|(?<![\w.-])(?:localhost|[A-Za-z][\w-]*(?:\.[\w-]+)+):\d{2,5}\b"
)


async def check_status(response: Response, target: Target, *, model: str, field: str) -> None:
    """Whether an upstream answers at all; only 5xx (and what is no answer) is its failure.

    `model` is ours, `field` the one of the client's request that an upstream refuses. Raises `BrokenOff`,
    `ChatRefused`, and `AttemptFailed` for our credential, path and rate: staff must know, the client cannot help it.
    """
    status, upstream = response.head.status, target.upstream
    if status == 200:
        return
    if status >= 500 or status < 400:
        raise BrokenOff(f"status {status}")
    try:
        said = DIALECTS[upstream.kind].read_error(await response.read_all(most=ERROR_BYTES))
    except WireError:  # the status says enough
        said = ""
    if status in _REQUESTS_FAULT:
        raise ChatRefused(shown_error(said, target.model, model, upstream.credential), field=field)
    log.log(
        logging.WARNING if status == 429 else logging.ERROR,
        "upstream %s answers %d",
        upstream.name or upstream.id,
        status,
    )
    raise AttemptFailed(ChatUnavailable("the server of this model does not take requests", retry_after_s=RETRY_S * 2))


def shown_error(said: str, theirs: str, ours: str, credential: str = "") -> str:
    """An upstream's message as a client may see it: one line, our name of the model, no addresses, paths or secret."""
    if credential:  # some tell the headers that they got
        said = said.replace(credential, "…")
    words = " ".join(said[: ERROR_CHARS * 2].split()).replace(theirs, ours)
    words = _PLACE.sub("…", words)[:ERROR_CHARS]
    return f"the model's server refuses this request: {words}" if words else "the model's server refuses this request"

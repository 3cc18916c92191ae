"""What a chat model's own sampling may be: the same bounds as in a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from accounts.errors import StudioError
from generation.chat.reader import read_chat
from generation.chat.request import SAMPLING


def check_sampling(sampling: Mapping[str, Any]) -> None:
    """Raises `ValueError` that names what a request could not say either."""
    if unknown := sorted(sampling.keys() - set(SAMPLING)):
        raise ValueError(f"{unknown[0]} is no sampling; there are {', '.join(SAMPLING)}")
    body = {"model": "x", "messages": [{"role": "user", "content": "x"}], **sampling}
    try:
        read_chat(orjson.dumps(body), max_prompt_chars=None)
    except (StudioError, TypeError) as error:
        raise ValueError(str(error)) from None

"""OpenAI's answers and events, from stored pictures. Pure: values in, JSON-able values out.

The base64 of a picture is not in them: whoever sends one puts it in piece by piece (`with_picture`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from generation.api.openai.fields import AnswerForm
from generation.domain.delivery import Delivery
from generation.domain.links import make_link


def usage_of(pictures: Sequence[Delivery]) -> dict[str, Any]:
    """What was read and drawn, in tokens: the prompt and what it starts from once, and each picture's latents."""
    text = pictures[0].text_tokens if pictures else 0
    read = pictures[0].input_image_tokens if pictures else 0
    images = sum(picture.image_tokens for picture in pictures)
    return {
        "input_tokens": text + read,
        "input_tokens_details": {"image_tokens": read, "text_tokens": text},
        "output_tokens": images,
        "output_tokens_details": {"image_tokens": images, "text_tokens": 0},
        "total_tokens": text + read + images,
    }


def images_response(
    pictures: Sequence[Delivery], form: AnswerForm, *, tenant: UUID, finished_at: str
) -> dict[str, Any]:
    """The whole answer; of pictures that are sent themselves `data` has empty objects."""
    first = pictures[0]
    by_url = form.response_format == "url"
    return {
        "created": int(datetime.fromisoformat(finished_at).timestamp()),
        "background": "opaque",
        "data": [{"url": make_link(tenant=tenant, image=picture.id)} if by_url else {} for picture in pictures],
        "output_format": first.format,
        "size": first.size,
        "usage": usage_of(pictures),
        **_identifier(form),
    }


def completed_event(picture: Delivery, form: AnswerForm) -> dict[str, Any]:
    """One finished picture of a stream."""
    return {
        "type": f"{form.event}.completed",
        "created_at": int(time.time()),
        "background": "opaque",
        "output_format": picture.format,
        "quality": "auto",
        "size": picture.size,
        "usage": _short_usage(picture),
        **_identifier(form),
    }


def partial_event(form: AnswerForm, *, index: int, output_format: str, size: str) -> dict[str, Any]:
    """A picture on its way."""
    return {
        "type": f"{form.event}.partial_image",
        "created_at": int(time.time()),
        "background": "opaque",
        "output_format": output_format,
        "partial_image_index": index,
        "quality": "auto",
        "size": size,
    }


def with_picture(fields: dict[str, Any]) -> tuple[bytes, bytes]:
    """The JSON of an object with one more field, `b64_json`: what stands before its text, and what after."""
    whole = orjson.dumps(fields)
    return whole[:-1] + (b',"b64_json":"' if fields else b'"b64_json":"'), b'"}'


def _short_usage(picture: Delivery) -> dict[str, Any]:
    usage = usage_of([picture])
    del usage["output_tokens_details"]  # no field of the event's
    return usage


def _identifier(form: AnswerForm) -> dict[str, str]:
    return {"safety_identifier": form.safety_identifier} if form.safety_identifier else {}

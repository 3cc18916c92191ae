"""The two forms of OpenAI's answer to a request for pictures: one JSON at the end, or a stream of events."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import orjson

from accounts.api.bodies import JSON_TYPE, refusal_body, status_of
from accounts.domain.media import media_path
from accounts.errors import StudioError
from accounts.meters import count_refusal
from generation.api.openai.answers import completed_event, images_response, partial_event, with_picture
from generation.api.openai.fields import AnswerForm
from generation.domain.delivery import Delivery
from qwenstudio.door.bridge import STALL_S, ClientGone
from qwenstudio.door.bus import Event
from qwenstudio.door.http import Headers, Request, Send, send_problem, send_refusal
from qwenstudio.door.imagebytes import base64_length, enlarge_preview, read_base64, steps_of_partials
from qwenstudio.door.truth import Truth

log = logging.getLogger(__name__)

# A failed picture was tried as often as that may help.
NO_RETRY = (b"x-should-retry", b"false")


def status_of_failure(code: str) -> int:
    """What the model cannot draw is the request's fault, everything else ours."""
    return 400 if code == "refused" else 500


class WholeAnswer:
    """One JSON, when everything is there. `headers` are those of Django's answer that hold for this one too.

    `code` is that of the refusal, where it came to one.
    """

    code = ""
    sends_early = False  # what is there before the rest

    def __init__(self, send: Send, request: Request, form: AnswerForm, *, headers: Headers) -> None:
        self._send = send
        self._request = request
        self._form = form
        self._headers = headers
        # A refusal has all others of its own.
        self._limits = [(name, value) for name, value in headers if name.startswith(b"x-ratelimit-")]

    async def begin(self, truth: Truth) -> None:
        """What is drawn: told before anything else, and again."""

    async def preview(self, event: Event) -> None:
        """A picture as it is now, or how far it is: of no use here."""

    async def keep_alive(self) -> None:
        """Nothing can be said before the end."""

    async def done(self, tenant: UUID, pictures: Sequence[Delivery], truth: Truth | None) -> None:
        """Some pictures are stored; with `truth` it is all of them, and they are sent."""
        if truth is None:
            return
        body = images_response(pictures, self._form, tenant=tenant, finished_at=str(truth.body["finished_at"]))
        files = [] if self._form.response_format == "url" else [media_path(picture.file) for picture in pictures]
        sizes = await asyncio.to_thread(lambda: [file.stat().st_size for file in files])
        frame = _frame_of(body, pictures=len(files))
        length = sum(map(len, frame)) + sum(map(base64_length, sizes))
        await self._start(JSON_TYPE, (b"content-length", str(length).encode()))
        for part, file in zip(frame, [*files, None], strict=True):
            await self._write(part)
            if file is not None:
                async for piece in read_base64(file):
                    await self._write(piece)
        await self._write(b"", more=False)

    async def refuse(self, error: StudioError) -> None:
        """The refusal, with its status: there will be no pictures for this caller."""
        self.code = error.code
        await send_refusal(self._send, self._request, error, headers=self._limits)

    async def fail(self, code: str, message: str) -> None:
        """There will be no pictures at all: an error with the code of the failure."""
        self.code = code
        headers = [NO_RETRY, *self._limits]
        status = status_of_failure(code)
        await send_problem(self._send, self._request, status, code=code, detail=message, headers=headers)

    async def _start(self, media_type: str, *more: tuple[bytes, bytes]) -> None:
        headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store"), *more, *self._headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _write(self, content: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(STALL_S):
                await self._send({"type": "http.response.body", "body": content, "more_body": more})
        except TimeoutError:
            log.info("pictures not sent to their end: the client took nothing for %d s", STALL_S)
            raise ClientGone from None


class StreamedAnswer(WholeAnswer):
    """Server-sent events, each picture as soon as it is there.

    The answer begins with the first of them, or with the first keep-alive: until then whatever refuses the request is
    an answer with its own status, afterwards it is an event that ends the stream.
    """

    sends_early = True
    _is_open = False

    def __init__(self, send: Send, request: Request, form: AnswerForm, *, headers: Headers) -> None:
        super().__init__(send, request, form, headers=headers)
        self._drawn: dict[str, Any] = {}
        self._completed: set[int] = set()
        self._seen: Counter[int] = Counter()  # previews of each picture so far: one is made at each step
        self._partials: Counter[int] = Counter()  # and those that were sent

    async def begin(self, truth: Truth) -> None:
        """Size and steps, by which previews are chosen and enlarged."""
        self._drawn = truth.body

    async def preview(self, event: Event) -> None:
        """Send it on where one is due."""
        if event.kind != "preview" or not self._form.partial_images or not self._drawn:
            return
        index, width, height = int(event.data.get("index", 0)), self._drawn["width"], self._drawn["height"]
        self._seen[index] += 1
        due = steps_of_partials(self._drawn["num_inference_steps"], self._form.partial_images)
        sent = self._partials[index]
        if index in self._completed or sent >= len(due) or self._seen[index] < due[sent]:
            return
        fmt = self._drawn["output_format"]
        content = await enlarge_preview(str(event.data.get("data", "")), fmt=fmt, width=width, height=height)
        if content:
            self._partials[index] += 1
            size = f"{width}x{height}"
            await self._tell(partial_event(self._form, index=sent, output_format=fmt, size=size), _one(content))

    async def done(self, tenant: UUID, pictures: Sequence[Delivery], truth: Truth | None) -> None:
        """Send those that were not sent yet."""
        for picture in pictures:
            if picture.index not in self._completed:
                self._completed.add(picture.index)
                await self._tell(completed_event(picture, self._form), read_base64(media_path(picture.file)))
        if truth is not None:
            await self._write(b"", more=False)

    async def keep_alive(self) -> None:
        """A comment, which proxies see and clients pass over."""
        await self._open()
        await self._write(b": keep-alive\n\n")

    async def refuse(self, error: StudioError) -> None:
        """With its status, or as the last event."""
        if not self._is_open:
            await super().refuse(error)
            return
        status = status_of(error, self._request.path)
        await self._end_with(status, error.code, error.message)

    async def fail(self, code: str, message: str) -> None:
        """Likewise."""
        if not self._is_open:
            await super().fail(code, message)
            return
        await self._end_with(status_of_failure(code), code, message)

    async def _end_with(self, status: int, code: str, message: str) -> None:
        count_refusal(code)
        self.code = code
        body, _ = refusal_body(status, code, message, path=self._request.path)
        await self._write(b"event: error\ndata: " + orjson.dumps({"type": "error", **body}) + b"\n\n", more=False)

    async def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            await self._start("text/event-stream; charset=utf-8", (b"x-accel-buffering", b"no"))

    async def _tell(self, fields: dict[str, Any], content: AsyncIterator[bytes]) -> None:
        """One event, with the picture's base64 in it."""
        first = await anext(content, b"")  # a file that is gone is told before a part of the event is sent
        await self._open()
        before, after = with_picture(fields)
        await self._write(f"event: {fields['type']}\ndata: ".encode() + before + first)
        async for piece in content:
            await self._write(piece)
        await self._write(after + b"\n\n")


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _frame_of(body: dict[str, Any], *, pictures: int) -> list[bytes]:
    """The answer's JSON in the parts between which the pictures' base64 belongs; one part where there is none."""
    if not pictures:
        return [orjson.dumps(body)]
    before, after = orjson.dumps({**body, "data": []}).split(b'"data":[]')
    start, end = with_picture({})
    between = end + b"," + start
    return [before + b'"data":[' + start, *[between] * (pictures - 1), end + b"]" + after]

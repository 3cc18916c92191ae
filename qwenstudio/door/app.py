"""One request through the door: host check, request id, route, problem answers, one log line."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from psycopg import OperationalError

from accounts.errors import StudioError, Unavailable
from accounts.ids import read_id
from accounts.logcontext import bind_log
from accounts.meters import count_request
from generation.chat.books import Books
from qwenstudio.door.answering import Answering
from qwenstudio.door.books import TableBooks
from qwenstudio.door.bridge import BodyTooSlow, Bridge, ClientGone, send_too_slow
from qwenstudio.door.callers import Callers
from qwenstudio.door.chat import PATH as CHAT
from qwenstudio.door.chat import answer_chat, make_chat
from qwenstudio.door.database import Database
from qwenstudio.door.health import PATHS, answer_health
from qwenstudio.door.http import Message, Receive, Request, Scope, Send, read_request, send_problem, send_refusal
from qwenstudio.door.hub import Hub
from qwenstudio.door.openings import Openings
from qwenstudio.door.pictures import PATHS as PICTURE_PATHS
from qwenstudio.door.pictures import submit_picture
from qwenstudio.door.sentiment import PATH as SENTIMENT
from qwenstudio.door.sentiment import answer_sentiment
from qwenstudio.door.streams import stream_caller, stream_generation
from qwenstudio.door.talk import stream_conversation
from qwenstudio.door.wait import asks_to_wait, submit_waiting

log = logging.getLogger(__name__)
access_log = logging.getLogger("qwenstudio.access")

SUBMIT = "/api/v1/images"
CALLER_EVENTS = "/api/v1/events"
GENERATION_EVENTS = re.compile(r"/api/v1/images/([^/]+)/events")
CONVERSATION_EVENTS = re.compile(r"/api/v1/conversations/([^/]+)/events")


@dataclass(frozen=True, slots=True)
class House:
    """What the handlers of the door share."""

    pages: Bridge
    database: Database
    callers: Callers
    hub: Hub
    openings: Openings
    answering: Answering


class Door:
    """Everything that waits. Use it alone behind nginx, or inside `Front`."""

    def __init__(self, *, pages: Bridge, books: Books | None = None) -> None:
        database = Database()
        self.chat = make_chat(TableBooks() if books is None else books)
        self.house = House(
            pages=pages,
            database=database,
            callers=Callers(database),
            hub=Hub(database, redis_url=settings.REDIS_URL),
            openings=Openings(),
            answering=Answering(self.chat),
        )

    def takes(self, scope: Scope) -> bool:
        """Whether a request is the door's: an event stream, or a submit that waits."""
        path = scope["path"]
        if path in PICTURE_PATHS or path in (CHAT, SENTIMENT):
            return True
        if path == SUBMIT:
            return scope["method"] == "POST" and asks_to_wait(scope)
        events = (GENERATION_EVENTS, CONVERSATION_EVENTS)
        return path == CALLER_EVENTS or any(pattern.fullmatch(path) for pattern in events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens in it."""
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        if scope["path"] in PATHS:  # behind nginx nobody else would answer them on our port
            await answer_health(scope, send)
            return
        request = read_request(scope)
        started = time.perf_counter()

        def begin(status: int) -> None:
            seconds = time.perf_counter() - started
            count_request(route=route_of(request.path), method=request.method, status=status, seconds=seconds)

        watched = Watched(send, begin=begin)
        with bind_log(request_id=request.id, client_request_id=request.client_request_id or None):
            await self._answer(request, scope, receive, watched)
            fields = {
                "method": request.method,
                "path": request.path,
                "status": watched.status,
                "ms": round((time.perf_counter() - started) * 1000, 1),
                "bytes": watched.bytes,
                "door": True,  # a submit that waits has a line of Django's too, without the waiting
                **({"code": watched.code} if watched.code else {}),
            }
            access_log.info("%(method)s %(path)s %(status)s", fields, extra=fields)

    async def _answer(self, request: Request, scope: Scope, receive: Receive, send: Watched) -> None:
        """Route, and turn whatever is raised into a problem; after the first byte only the log can be told."""
        try:
            check_host(request)
            await self._route(request, scope, receive, send)
        except StudioError as error:
            send.code = error.code
            await send_refusal(send, request, error)
        except ClientGone:
            log.debug("the client left before its request was complete")
        except BodyTooSlow:
            await send_too_slow(send, request)
        except OperationalError as error:
            log.error("no database: %s", type(error).__name__)
            if not send.status:
                await send_refusal(
                    send, request, Unavailable("the database does not answer; try again", retry_after_s=5)
                )
        except Exception:
            log.exception("unexpected error in the door")
            if not send.status:
                await send_problem(send, request, 500, code="internal", detail="this is our mistake; it was logged")

    async def _route(self, request: Request, scope: Scope, receive: Receive, send: Watched) -> None:
        if request.path == SUBMIT:
            await submit_waiting(self.house, request, scope, receive, send)
            return
        if request.path in PICTURE_PATHS:  # whatever else than POST is refused by Django
            send.code = await submit_picture(self.house, request, scope, receive, send)
            return
        if request.path == CHAT:
            send.code = await answer_chat(self.house, self.chat, request, scope, receive, send)
            return
        if request.path == SENTIMENT:
            send.code = await answer_sentiment(self.house, self.chat, request, scope, receive, send)
            return
        if request.method != "GET":
            await send_problem(
                send, request, 405, code="method_not_allowed", detail="only GET", headers=[(b"allow", b"GET")]
            )
            return
        if request.path == CALLER_EVENTS:
            await stream_caller(self.house, request, receive, send)
            return
        if found := CONVERSATION_EVENTS.fullmatch(request.path):
            await stream_conversation(self.house, request, read_id(found[1]), receive, send)
            return
        found = GENERATION_EVENTS.fullmatch(request.path)
        await stream_generation(self.house, request, read_id(found[1] if found else ""), receive, send)

    async def live(self, receive: Receive, send: Send) -> None:
        """The server's start and stop."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def start(self) -> None:
        """Open the pool, begin to read and poll."""
        await self.house.database.open()
        await self.chat.books.open()
        self.house.hub.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            call_before_signal(asyncio.get_running_loop(), number, self.house.hub.begin_close)

    async def stop(self) -> None:
        """End streams and waiters, close what is open."""
        await self.house.hub.stop()
        await self.house.answering.close()
        await self.chat.close()
        await self.house.database.close()
        self.house.pages.close()


class Watched:
    """`send`, remembering what the log line tells; `begin` hears of the answer's status when it begins."""

    def __init__(self, send: Send, *, begin: Callable[[int], None]) -> None:
        self._send = send
        self._begin = begin
        self.status = 0
        self.bytes = 0
        self.code = ""  # of a refusal

    async def __call__(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._begin(self.status)
        self.bytes += len(message.get("body", b""))
        await self._send(message)


def route_of(path: str) -> str:
    """The name under which a request of the door is counted: the URLconf's, and one of its own for waiting submits."""
    if path in PICTURE_PATHS:
        return PICTURE_PATHS[path]
    if path == CHAT:
        return "openai-chat"
    if CONVERSATION_EVENTS.fullmatch(path):
        return "api-conversation-events"
    if path == SENTIMENT:
        return "api-sentiment"
    return "api-images-wait" if path == SUBMIT else "api-events" if path == CALLER_EVENTS else "api-image-events"


class UnknownHost(StudioError):
    """A Host header that is not ours."""

    code = "unknown_host"


def check_host(request: Request) -> None:
    """Raise `UnknownHost` for a Host header that `ALLOWED_HOSTS` does not hold."""
    allowed = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed:
        allowed = [".localhost", "127.0.0.1", "[::1]"]
    host, _ = split_domain_port(request.headers.get("host", ""))
    if not (host and validate_host(host, allowed)):
        raise UnknownHost("this host name is not one of this studio's; its operators set ALLOWED_HOSTS")


def call_before_signal(loop: asyncio.AbstractEventLoop, number: int, call: Callable[[], Any]) -> None:
    """Run `call` before the server's own handler of a signal.

    Granian waits for open connections before it tells the application to stop; an event stream would never end. The
    loop offers no way to read a handler but this attribute; without it the server's own time-out ends the streams.
    """
    handle = getattr(loop, "_signal_handlers", {}).get(number)
    if handle is None:
        return

    def run_both() -> None:
        call()
        handle._run()

    loop.add_signal_handler(number, run_both)

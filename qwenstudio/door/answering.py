"""Answers of conversations while they are written: each by exactly one process, whoever looks at it and however often.

The row says whose it is (claim, lease, fence: `generation/books/answers.py`). The writer reads its upstream to the end,
and stores what has come every second; it ends sooner where the member wishes, where nobody has looked for a minute, and
where somebody else has the row. Guard, rates, tokens and relay are those of `POST /v1/chat/completions`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg import Error as DatabaseError

from accounts.domain.callers import Caller
from accounts.errors import InvalidRequest, StudioError, Unavailable
from accounts.logcontext import bind_log
from generation.books.answers import (
    CLAIM_SQL,
    END_SQL,
    KEPT_TURNS,
    LEASE_S,
    MAX_ANSWER_CHARS,
    SAID_SQL,
    STORE_SQL,
    Claimed,
    Ending,
    read_claimed,
    read_said,
    request_of,
)
from generation.books.calls import clean
from generation.books.shown import show_row
from generation.chat.deltas import Delta, Usage
from generation.domain.searchtext import fold
from generation.enums import MessageStatus
from generation.errors import AnswerLost
from qwenstudio.door.callers import Credential
from qwenstudio.door.chat import Chat, conduct
from qwenstudio.door.chatguard import Plan
from qwenstudio.door.chatwatch import CLOSING_S

if TYPE_CHECKING:
    from qwenstudio.door.app import House

log = logging.getLogger(__name__)

STORE_EVERY_S = 1.0
UNWATCHED_S = 60.0
END_TRIES = 5  # to write an end, a second apart


class Live:
    """An answer that this process writes. `text` and `reasoning` only grow; `shown` is its end, as the API has it."""

    def __init__(self, house: House, chat: Chat, claimed: Claimed, *, credential: Credential, caller: Caller) -> None:
        self._house = house
        self._chat = chat
        self._credential = credential
        self._caller = caller
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._watchers = 0
        self._left_at = time.monotonic()
        self._stored = (claimed.text, claimed.reasoning)
        self._stopped_for: str | None = None  # why it was ended from outside
        self.claimed = claimed
        self.text = claimed.text
        self.reasoning = claimed.reasoning
        self.ending = Ending(status=MessageStatus.BROKEN)
        self.writing_since = 0.0  # nobody is waited for: who looks is told by a stream of their own
        self.shown: dict[str, Any] | None = None
        self._is_ending = False  # from here on nothing stops it
        self.is_over = False

    # ---- for those who look

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody looks, as long as the block runs."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
            self._left_at = time.monotonic()

    @property
    def news(self) -> asyncio.Event:
        """What is set at the next news. Take it before you look, and wait for it after."""
        return self._news

    # ---- the sender's side (`qwenstudio/door/chat.py`)

    async def begin(self) -> None:
        """The upstream has begun."""

    async def add(self, deltas: Sequence[Delta]) -> None:
        """Some steps more."""
        for delta in deltas:
            self.text += clean(delta.text)
            self.reasoning += clean(delta.reasoning)
            if delta.finish is not None:
                self.ending.finish = delta.finish
        if len(self.text) + len(self.reasoning) > MAX_ANSWER_CHARS:
            self.text, self.reasoning = self.text[:MAX_ANSWER_CHARS], self.reasoning[:MAX_ANSWER_CHARS]
            self.stop("length")
        self._tell()

    async def keep_alive(self) -> None:
        """Whoever looks is told by their own streams."""

    async def end(self, usage: Usage) -> None:
        """It is whole."""
        self.ending.status = MessageStatus.DONE
        self.ending.finish = self.ending.finish or "stop"
        self.ending.tokens_in, self.ending.tokens_out = usage.prompt, usage.completion

    async def refuse(self, error: StudioError) -> None:
        """There is none, or no more of it."""
        if self.ending.status == MessageStatus.DONE:  # it came in the moment in which the answer was whole
            return
        begun = bool(self.text or self.reasoning)
        self.ending.status = MessageStatus.BROKEN if begun else MessageStatus.FAILED
        self.ending.code, self.ending.detail = error.code, error.message[:500]

    # ---- its life

    def start(self) -> asyncio.Task[None]:
        """Write it, in a task of its own: whoever looks may go."""
        self._task = asyncio.create_task(self._run(), name=f"answer {self.claimed.id}")
        return self._task

    def stop(self, why: str) -> None:
        """End it where it is. What for: `stopped`, `unwatched`, `length`, `lost` (it is no longer ours)."""
        if self._stopped_for is None and not self._is_ending and self._task is not None:
            self._stopped_for = why
            self._task.cancel()

    async def _run(self) -> None:
        with bind_log(tenant=self._caller.tenant, member=self._caller.user, key=self._caller.key):
            keeping = asyncio.create_task(self._keep())
            try:
                await self._write()
            except asyncio.CancelledError:
                self._note_stop()
            except DatabaseError as error:
                log.error("no database: %s", type(error).__name__)
                await self.refuse(Unavailable("the database does not answer; try again", retry_after_s=5))
            except Exception:
                log.exception("an answer could not be written")
                await self.refuse(AnswerLost())
            finally:
                self._is_ending = True
                keeping.cancel()
            await self._finish()

    async def _write(self) -> None:
        if not self.claimed.may_begin:
            if self.claimed.stop:
                self.ending.status, self.ending.finish = MessageStatus.STOPPED, "stopped"
            else:
                await self.refuse(AnswerLost())
                self.ending.status = MessageStatus.BROKEN
            return
        began = time.monotonic()
        try:
            plan = await self._plan()
        except StudioError as error:
            await self.refuse(error)
            return
        try:
            await conduct(self._house, self._chat, plan, lambda: self, credential=self._credential)
        finally:
            self.ending.total_ms = round((time.monotonic() - began) * 1000)
            if self.ending.tokens_out is None and plan.record.first_byte_ms is not None:
                self.ending.tokens_in, self.ending.tokens_out = plan.record.tokens_in, plan.record.tokens_out

    async def _plan(self) -> Plan:
        """What the guard lets through of what was said. Raises what refuses it."""
        claimed, books = self.claimed, self._chat.books
        most = (await books.find_offer(self._caller, claimed.model)).max_prompt_chars
        rows = await self._house.database.fetch_all(
            SAID_SQL,
            tenant=claimed.tenant,
            conversation=claimed.conversation,
            place=claimed.place,
            chars=most - len(claimed.system),
            most=KEPT_TURNS,
        )
        said = read_said(rows, system=claimed.system)
        if not any(message.role == "user" for message in said.messages):
            why = f"prompt too long, max {most} chars"
            raise InvalidRequest(why, field="messages", fields={"messages": [why]})
        self.ending.left_out = said.left_out
        return await self._chat.guard(self._caller).admit(request_of(claimed, said))

    def _note_stop(self) -> None:
        """Why the task was cancelled; by nobody of ours, where the process ends."""
        if self.ending.status == MessageStatus.DONE:  # the wish came after its last word
            return
        if self._stopped_for is None:
            self.ending.status = MessageStatus.BROKEN
            self.ending.code, self.ending.detail = AnswerLost.code, AnswerLost().message
            return
        whole = self._stopped_for == "length"
        self.ending.status = MessageStatus.DONE if whole else MessageStatus.STOPPED
        self.ending.finish = self._stopped_for

    async def _keep(self) -> None:
        """Every second: store what has come, hold the lease, look whether it is to end."""
        while True:
            await asyncio.sleep(STORE_EVERY_S)
            try:
                await self._store()
            except DatabaseError as error:
                log.warning("an answer could not be stored yet: %s", type(error).__name__)
            except Exception:  # the next second tries again; without a lease somebody else takes over
                log.exception("an answer could not be stored")

    async def _store(self) -> None:
        now = (self.text, self.reasoning)
        text, reasoning = (new if new != old else None for new, old in zip(now, self._stored, strict=True))
        row = await self._house.database.fetch_one(
            STORE_SQL,
            tenant=self.claimed.tenant,
            id=self.claimed.id,
            fence=self.claimed.fence,
            lease_s=LEASE_S,
            text=text,
            reasoning=reasoning,
        )
        if row is None:
            self.stop("lost")
            return
        self._stored = now
        if row["stop"]:
            self.stop("stopped")
        elif not self._watchers and min(time.monotonic() - self._left_at, row["unwatched_s"]) >= UNWATCHED_S:
            self.stop("unwatched")

    async def _finish(self) -> None:
        """Write the end. A database that is away is asked a few times; then the sweep ends it."""
        values = {
            **asdict(self.ending),
            "status": self.ending.status.value,
            "text": self.text,
            "reasoning": self.reasoning,
            "folded": await asyncio.to_thread(fold, self.text),
        }
        claimed = self.claimed
        for _ in range(END_TRIES):
            try:
                row = await self._house.database.fetch_one(
                    END_SQL, tenant=claimed.tenant, id=claimed.id, fence=claimed.fence, **values
                )
            except DatabaseError as error:
                log.warning("the end of an answer could not be written yet: %s", type(error).__name__)
                await asyncio.sleep(STORE_EVERY_S)
                continue
            self.shown = None if row is None else show_row(row)
            break
        self.is_over = True
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class Answering:
    """The answers that this process writes."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._live: dict[UUID, Live] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, answer: UUID) -> Live | None:
        """One of them."""
        return self._live.get(answer)

    async def begin(self, house: House, answer: UUID, *, credential: Credential, caller: Caller) -> Live | None:
        """Claim an answer that waits, or whose writer has died, and write it; None where somebody was faster."""
        row = await house.database.fetch_one(CLAIM_SQL, tenant=caller.tenant, id=answer, lease_s=LEASE_S)
        if row is None:
            return None
        claimed = read_claimed(row, tenant=caller.tenant)
        live = self._live[answer] = Live(house, self._chat, claimed, credential=credential, caller=caller)
        task = live.start()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._forget(live))
        return live

    async def close(self) -> None:
        """Wait for those under way; they know that the process ends (`chatwatch.py`), and are cut off after that."""
        if not self._tasks:
            return
        await asyncio.wait(list(self._tasks), timeout=CLOSING_S + STORE_EVERY_S)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=STORE_EVERY_S)

    def _forget(self, live: Live) -> None:
        if self._live.get(live.claimed.id) is live:
            del self._live[live.claimed.id]

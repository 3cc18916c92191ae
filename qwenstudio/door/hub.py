"""Who is told about which generation: bounded mailboxes, filled by the bus and by one poll of PostgreSQL every 2 s."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from psycopg import Error as DatabaseError

from accounts.errors import RateLimited
from generation.domain.notices import Notices
from qwenstudio.door.bus import FLEETING, NOTICE, Bus, Event, end_task
from qwenstudio.door.database import Database
from qwenstudio.door.truth import State

log = logging.getLogger(__name__)

POLL_S = 2.0
WAITING = 64  # events in one mailbox; beyond it previews go first, then progress, a change of state never
MAILBOXES_PER_TENANT = 1000
NOBODY = UUID(int=0)  # the generation of an event about none


class Mailbox:
    """What one stream or waiter has not read yet.

    `seen` is what its owner has told its client about each generation; the poll compares with it.
    """

    def __init__(self, *, tenant: UUID, generation: UUID | None = None, user: UUID | None = None) -> None:
        self.tenant = tenant
        self.generation = generation
        self.user = user
        self.seen: dict[UUID, State] = {}
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()

    def put(self, event: Event) -> None:
        """Add an event; never blocks, whatever the reader does."""
        if len(self._events) >= WAITING and not self._make_room(event):
            return
        self._events.append(event)
        self._arrived.set()

    async def get(self, seconds: float) -> Event | None:
        """The next event, or None after the time (or when the hub closes)."""
        if not self._events:
            self._arrived.clear()
            try:
                async with asyncio.timeout(max(seconds, 0)):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        return self._events.popleft() if self._events else None

    def close(self) -> None:
        """Wake the reader for the last time."""
        self._arrived.set()

    def _make_room(self, event: Event) -> bool:
        """Drop what is worth least; False when that is the new event itself."""
        for kind in reversed(FLEETING):
            found = next((old for old in self._events if old.kind == kind), None)
            if found is not None:
                self._events.remove(found)
                return True
        if event.kind in FLEETING:
            return False
        # Only changes wait. Their reader asks PostgreSQL what is true now, so one per generation is enough.
        older = next((old for old in self._events if old.generation == event.generation), None)
        if older is not None:
            self._events.remove(older)
        return True


class Hub:
    """The mailboxes of this process."""

    def __init__(self, database: Database, *, redis_url: str) -> None:
        self.bus = Bus(redis_url, deliver=self.deliver)
        self._database = database
        self._of_generation: defaultdict[UUID, set[Mailbox]] = defaultdict(set)
        self._of_tenant: defaultdict[UUID, set[Mailbox]] = defaultdict(set)
        self._count: defaultdict[UUID, int] = defaultdict(int)
        self._task: asyncio.Task[None] | None = None
        self._notices: Notices | None = None
        self.is_closing = False

    def start(self) -> None:
        """Begin to read and to poll."""
        self.bus.start()
        self._task = asyncio.create_task(self._poll_forever(), name="poll")

    def begin_close(self) -> None:
        """Let every stream and waiter end."""
        self.is_closing = True
        for mailbox in self._all():
            mailbox.close()

    async def stop(self) -> None:
        """End every stream and waiter, then reader and poll."""
        self.begin_close()
        if self._task:
            await end_task(self._task)
        await self.bus.stop()

    @contextmanager
    def open(self, mailbox: Mailbox) -> Iterator[Mailbox]:
        """Deliver into the mailbox while the block runs. Raises `RateLimited` when the tenant has too many."""
        if self._count[mailbox.tenant] >= MAILBOXES_PER_TENANT:
            raise RateLimited(
                f"too many open streams, at most {MAILBOXES_PER_TENANT} per organisation: close some", retry_after_s=5
            )
        group, key = (
            (self._of_generation, mailbox.generation) if mailbox.generation else (self._of_tenant, mailbox.tenant)
        )
        self._count[mailbox.tenant] += 1
        group[key].add(mailbox)
        try:
            yield mailbox
        finally:
            group[key].discard(mailbox)
            if not group[key]:
                del group[key]
            self._count[mailbox.tenant] -= 1
            if not self._count[mailbox.tenant]:
                del self._count[mailbox.tenant]

    def deliver(self, event: Event) -> None:
        """Hand an event to whom it concerns; the tenant is compared each time, ids alone prove nothing."""
        for group in (self._of_generation.get(event.generation), self._of_tenant.get(event.tenant)):
            for mailbox in group or ():
                if mailbox.tenant == event.tenant:
                    mailbox.put(event)

    async def _poll_forever(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.poll()
                await self.poll_notices()
            except (DatabaseError, OSError) as error:
                log.warning("the poll failed: %s", type(error).__name__)
            except Exception:  # a bug of ours in one round must not leave every waiter alone for good
                log.exception("the poll failed")

    async def poll(self) -> None:
        """Ask PostgreSQL for the states of what is watched, one statement per tenant, and tell who saw another one."""
        by_tenant: defaultdict[UUID, list[Mailbox]] = defaultdict(list)
        for mailbox in self._all():
            by_tenant[mailbox.tenant].append(mailbox)
        for tenant, mailboxes in by_tenant.items():
            ids = {generation for box in mailboxes for generation in (box.generation, *box.seen) if generation}
            users = {box.user for box in mailboxes if box.generation is None and box.user}
            states = await self._database.read_states(tenant=tenant, generations=ids, users=users)
            for mailbox in mailboxes:
                self._compare(mailbox, states)

    async def poll_notices(self) -> None:
        """Tell the streams of people's work when staff pause a pool, or workers come and go. One small statement."""
        streams = [mailbox for group in self._of_tenant.values() for mailbox in group]
        if not streams:
            self._notices = None  # who opens a page reads them there
            return
        before, self._notices = self._notices, await self._database.read_notices()
        if before is None or before == self._notices:
            return
        for mailbox in streams:
            mailbox.put(Event(id="", tenant=mailbox.tenant, generation=NOBODY, kind=NOTICE, data={}))

    def _compare(self, mailbox: Mailbox, states: dict[UUID, State]) -> None:
        wanted = [mailbox.generation] if mailbox.generation else [
            *mailbox.seen, *(id for id, state in states.items() if state.user == mailbox.user and state.is_active)
        ]  # fmt: skip
        for generation in dict.fromkeys(wanted):
            state = states.get(generation)
            if state is None:
                kind = "gone"
            elif state != mailbox.seen.get(generation):
                kind = state.status
            else:
                continue
            mailbox.put(Event(id="", tenant=mailbox.tenant, generation=generation, kind=kind, data={}))

    def _all(self) -> list[Mailbox]:
        groups = [*self._of_generation.values(), *self._of_tenant.values()]
        return [mailbox for group in groups for mailbox in group]

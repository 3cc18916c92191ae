"""Whether an upstream is asked at all: one that fails rests, and one request at a time finds out if it is back.

Closed: everybody asks. Five failures in a row, or one first byte that did not come in time, open it: nobody asks for
`rest_s`, and each refusal tells when it may be tried. Then one request is the probe; its first byte closes the breaker,
its failure opens it anew. A probe that nobody hears of again holds its place for its own bound only.

All processes share the state in Valkey. A process believes what it read for `VIEW_S`, so a quiet breaker costs no round
trip; while Valkey is away each process keeps its own.

Keys: `qs:chat:breaker:<upstream>`, a hash of failures, open_until, probe_until (milliseconds of Valkey's clock) and
probe (the token of the one that may ask); it ends `KEPT_MS` after the last change.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from generation.chat.wire.valkey import Script, Scripts, ValkeyAway

log = logging.getLogger(__name__)
T = TypeVar("T")

KEY = "qs:chat:breaker:"
KEPT_MS = 600_000
VIEW_S = 0.25
REST_S = 5.0  # after a failure nobody here asks Valkey for so long

CLOSED, OPEN, PROBE = 0, 1, 2

_NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
_GET = "local function get(name) return tonumber(redis.call('HGET', KEYS[1], name) or '0') end\n"

# KEYS[1]: the breaker. ARGV: a token, the milliseconds that its probe may take.
# Returns the state (0 closed, 1 open, 2: the caller is the probe) and failures (closed) or milliseconds left (open).
ADMIT = Script(f"""{_NOW}{_GET}
local open_until, probe_until = get('open_until'), get('probe_until')
if open_until == 0 then return {{0, get('failures')}} end
if now < open_until then return {{1, open_until - now}} end
if now < probe_until then return {{1, probe_until - now}} end
redis.call('HSET', KEYS[1], 'probe', ARGV[1], 'probe_until', now + ARGV[2])
redis.call('PEXPIRE', KEYS[1], {KEPT_MS})
return {{2, 0}}
""")

# KEYS[1]: the breaker. ARGV: the token of a probe or nothing, how many failures open it, its rest in milliseconds,
# 1 to open it at once. Returns whether it is open.
FAIL = Script(f"""{_NOW}{_GET}
redis.call('PEXPIRE', KEYS[1], {KEPT_MS})
if get('open_until') > 0 then
  if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'probe') == ARGV[1] then
    redis.call('HSET', KEYS[1], 'open_until', now + ARGV[3], 'probe', '', 'probe_until', 0)
  end
  return 1
end
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('PEXPIRE', KEYS[1], {KEPT_MS})
if ARGV[4] == '1' or failures >= tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'open_until', now + ARGV[3], 'probe', '', 'probe_until', 0)
  return 1
end
return 0
""")

# KEYS[1]: the breaker. ARGV: the token of a probe or nothing. What was asked before it opened does not close it.
SUCCEED = Script(f"""{_GET}
if get('open_until') == 0 or (ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'probe') == ARGV[1]) then
  redis.call('DEL', KEYS[1])
end
return 0
""")

# KEYS[1]: the breaker. ARGV: the token of a probe that ended without a verdict; the next one may be it.
RELEASE = Script("""
if redis.call('HGET', KEYS[1], 'probe') == ARGV[1] then redis.call('HSET', KEYS[1], 'probe', '', 'probe_until', 0) end
return 0
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a breaker opens, and for how long."""

    failures: int = 5
    rest_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to ask an upstream once; with a `probe` everybody else waits for what comes of it."""

    upstream: str
    probe: str = ""


class BreakerOpen(Exception):
    """The upstream rests."""

    def __init__(self, left_s: float) -> None:
        super().__init__(f"for {left_s:.1f} s more")
        self.left_s = left_s


class State(Protocol):
    """Where breakers are kept. Each call is one step that nobody can come between."""

    async def admit(self, upstream: str, *, token: str, probe_s: float) -> tuple[int, float]:
        """The state, and failures so far (closed) or the seconds left (open)."""
        ...

    async def fail(self, upstream: str, *, token: str, at_once: bool) -> bool:
        """Note a failure; whether the breaker is open."""
        ...

    async def succeed(self, upstream: str, *, token: str) -> None:
        """Note a success."""
        ...

    async def release(self, upstream: str, *, token: str) -> None:
        """Give a probe's place back."""
        ...


class SharedState:
    """In Valkey, for all processes."""

    def __init__(self, scripts: Scripts, rules: Rules) -> None:
        self._rules = rules
        self._scripts = scripts

    async def admit(self, upstream: str, *, token: str, probe_s: float) -> tuple[int, float]:
        """As `State` says."""
        state, number = await self._scripts.run(ADMIT, [KEY + upstream], [token, int(probe_s * 1000)])
        return state, number / 1000 if state == OPEN else number

    async def fail(self, upstream: str, *, token: str, at_once: bool) -> bool:
        """As `State` says."""
        args: list[str | int] = [token, self._rules.failures, int(self._rules.rest_s * 1000), int(at_once)]
        return bool((await self._scripts.run(FAIL, [KEY + upstream], args))[0])

    async def succeed(self, upstream: str, *, token: str) -> None:
        """As `State` says."""
        await self._scripts.run(SUCCEED, [KEY + upstream], [token])

    async def release(self, upstream: str, *, token: str) -> None:
        """As `State` says."""
        await self._scripts.run(RELEASE, [KEY + upstream], [token])


@dataclass(slots=True)
class _Local:
    failures: int = 0
    open_until: float = 0.0
    probe: str = ""
    probe_until: float = 0.0


class LocalState:
    """In this process alone, by the same rules."""

    def __init__(self, rules: Rules, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._clock = clock
        self._found: dict[str, _Local] = {}

    async def admit(self, upstream: str, *, token: str, probe_s: float) -> tuple[int, float]:
        """As `State` says."""
        found, now = self._found.get(upstream) or _Local(), self._clock()
        if not found.open_until:
            return CLOSED, found.failures
        until = max(found.open_until, found.probe_until)
        if now < until:
            return OPEN, until - now
        found.probe, found.probe_until = token, now + probe_s
        return PROBE, 0

    async def fail(self, upstream: str, *, token: str, at_once: bool) -> bool:
        """As `State` says."""
        found = self._found.setdefault(upstream, _Local())
        if found.open_until:
            if token and token == found.probe:
                self._open(found)
            return True
        found.failures += 1
        if at_once or found.failures >= self._rules.failures:
            self._open(found)
        return bool(found.open_until)

    async def succeed(self, upstream: str, *, token: str) -> None:
        """As `State` says."""
        found = self._found.get(upstream)
        if found and (not found.open_until or (token and token == found.probe)):
            del self._found[upstream]

    async def release(self, upstream: str, *, token: str) -> None:
        """As `State` says."""
        found = self._found.get(upstream)
        if found and token == found.probe:
            found.probe, found.probe_until = "", 0.0

    def _open(self, found: _Local) -> None:
        found.open_until, found.probe, found.probe_until = self._clock() + self._rules.rest_s, "", 0.0


@dataclass(frozen=True, slots=True)
class _View:
    at: float
    state: int
    number: float


class Breaker:
    """All breakers, as this process sees them. Belongs to one event loop."""

    def __init__(self, scripts: Scripts | None = None, *, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self._shared = SharedState(scripts, self.rules) if scripts is not None else None
        self._local = LocalState(self.rules)
        self._views: dict[str, _View] = {}
        self._rests_until = 0.0
        self._down = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def admit(self, upstream: str, *, probe_s: float) -> Ticket:
        """Leave to ask. Raises `BreakerOpen`. `probe_s` is how long an answer may take to begin."""
        now = time.monotonic()
        view = self._views.get(upstream)
        if view is None or now - view.at > VIEW_S:
            token = uuid4().hex
            state, number = await self._do(lambda at: at.admit(upstream, token=token, probe_s=probe_s))
            if state == PROBE:
                log.info("upstream %s is tried again", upstream)
                return Ticket(upstream, token)
            view = self._views[upstream] = _View(time.monotonic(), state, number)
        if view.state == OPEN:
            left = view.number - (time.monotonic() - view.at)
            raise BreakerOpen(max(0.001, left))
        return Ticket(upstream)

    async def succeed(self, ticket: Ticket) -> None:
        """It has answered."""
        view = self._views.get(ticket.upstream)
        if not ticket.probe and view is not None and view.state == CLOSED and not view.number:
            return  # nothing to forget
        self._views.pop(ticket.upstream, None)
        await self._do(lambda at: at.succeed(ticket.upstream, token=ticket.probe))
        if ticket.probe:
            log.info("upstream %s is back", ticket.upstream)

    async def fail(self, ticket: Ticket, *, at_once: bool = False) -> None:
        """It has failed; `at_once` opens the breaker whatever was before."""
        self._views.pop(ticket.upstream, None)
        opened = await self._do(lambda at: at.fail(ticket.upstream, token=ticket.probe, at_once=at_once))
        if opened:
            log.warning("upstream %s rests for %g s", ticket.upstream, self.rules.rest_s)

    def release(self, ticket: Ticket) -> None:
        """It was left without a verdict. Never waits: whoever calls this is on the way out."""
        if ticket.probe:
            release = self._do(lambda at: at.release(ticket.upstream, token=ticket.probe))
            task = asyncio.ensure_future(release)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for what `release` has begun."""
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _do(self, act: Callable[[State], Coroutine[Any, Any, T]]) -> T:
        """In Valkey, or here while it is away."""
        if self._shared is not None and time.monotonic() >= self._rests_until:
            try:
                found = await act(self._shared)
            except ValkeyAway as error:
                self._rests_until = time.monotonic() + REST_S
                if not self._down:
                    log.warning("breakers are each process's own, Valkey is away: %s", error)
                self._down = True
            else:
                if self._down:
                    log.info("breakers are shared again")
                self._down = False
                return found
        return await act(self._local)


def breaker_state(fields: Mapping[bytes, bytes], *, now_ms: int) -> str:
    """`closed`, `open` or `half_open`, by the fields of a breaker's hash and Valkey's clock; for pages and metrics."""
    open_until = int(fields.get(b"open_until") or 0)
    if not open_until:
        return "closed"
    return "open" if now_ms < open_until else "half_open"

"""A simulated GPU behind the real queue: submit, claim, finish, fail and cancel are the product's own statements.

Only the drawing is made up: a pass takes simulated milliseconds, which differ from what the studio thinks. After every
claim the clocks of those who wait are compared; every prediction is kept beside what became of it.
"""

from __future__ import annotations

import heapq
import random
import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

from accounts.domain.callers import Caller, caller_of_member
from accounts.domain.sql import fetch_all
from accounts.ids import uuid7
from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_generation, cancel_running
from generation.domain.claim import Claim, ClaimedRow, claim_pass, find_next_model
from generation.domain.fairness import window_ms
from generation.domain.finish import fail_row, finish_slice, release_row
from generation.domain.place import PLACE_SQL, read_place
from generation.models import Model
from generation.worker.resident import Residents
from tests.chaos.rig import make_entry, offer_sleeping_model
from tests.factories import make_plan, make_tenant
from tests.generation.domain.desk import HARDWARE, Look, draw, submit
from tests.generation.lorafiles import offer_lora

WEIGHTS = (1, 2, 4)
SLOWER = {"demo": 1.3, "other": 0.8}  # than the catalogue says; the cost table has to find out
NOISE = 0.05
PASS_OVERHEAD_MS = 15.0
LOAD_MS = 4_000.0
STAY_S = 20.0
SIZES = (64, 64, 64, 128, 128, 256)


@dataclass(frozen=True)
class Told:
    """What somebody was told when they asked, and when it was there; simulated milliseconds."""

    eta: float
    low: float
    high: float
    actual: float
    position: int


@dataclass(frozen=True)
class Customer:
    """A tenant that asks."""

    caller: Caller
    weight: int


@dataclass
class Hand:
    """A simulated worker: what it draws, and what it has in memory."""

    id: UUID
    residents: Residents
    claim: Claim | None = None


@dataclass
class Shares:
    """One run. `room`: how many of the two models fit a worker's memory."""

    look: Look
    rng: random.Random
    hands_wanted: int = 1
    room: int = 2
    now: float = 0.0
    spread: float = 0.0  # the worst difference of waiting clocks, as a share of the bound
    longest_ms: float = 0.0
    accidents: bool = True
    batch_max: int = 8
    used: dict[UUID, float] = field(default_factory=lambda: defaultdict(float))
    told: list[Told] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    customers: list[Customer] = field(default_factory=list)
    hands: list[Hand] = field(default_factory=list)
    waiting: dict[UUID, tuple[float, Any]] = field(default_factory=dict)  # submitted and not yet ended
    events: list[tuple[float, int, Hand]] = field(default_factory=list)
    ticks: count[int] = field(default_factory=count)

    def open(self, *, tenants: int) -> None:
        """Models, a LoRA, tenants of three weights, idle workers."""
        offer_sleeping_model()
        entry = make_entry() | {"title": "Other", "cost_ms": 200}
        Model.objects.update_or_create(slug="other", defaults={"title": "Other", "pool": "demo", "spec": entry})
        offer_lora("style")
        limits = {"queue_length": 100_000, "concurrent_generations": 1000, "max_images": 10, "max_pixels": 2**20}
        plans = [make_plan(weight=weight, **limits) for weight in WEIGHTS]
        for number in range(tenants):
            tenant, owner = make_tenant(f"Share {number}", plan=plans[number % len(plans)])
            caller = caller_of_member(user_id=owner.pk, tenant_id=tenant.pk)
            self.customers.append(Customer(caller, WEIGHTS[number % len(WEIGHTS)]))
        for _ in range(self.hands_wanted):
            residents = Residents({"demo": 1, "other": 1}, room=self.room, stay_s=STAY_S, clock=lambda: self.now / 1000)
            for slug in residents.first():
                residents.came(slug, load_s=LOAD_MS / 1000)
            hand = Hand(uuid7(), residents)
            self.hands.append(hand)
            self._show(hand)

    # ---- asking

    def ask(self, customer: Customer, *, n: int = 1, side: int = 64, model: str = "demo", lora: float = 0.0) -> UUID:
        """One request, and what its sender is told."""
        from generation.domain.request import LoraChoice

        loras = (LoraChoice(name="style", scale=lora),) if lora else ()
        id = submit(customer.caller, n=n, width=side, height=side, model=model, loras=loras)
        with in_tenant(customer.caller.tenant):
            place = read_place(fetch_all(PLACE_SQL, ids=[id])[0])
        self.waiting[id] = (self.now, place)
        self.counts["asked"] += 1
        return id

    def ask_at_random(self, customer: Customer) -> UUID:
        """One of the mixed load: models, sizes, numbers, with and without a LoRA."""
        rng = self.rng
        model = rng.choice(("demo", "demo", "other"))
        lora = rng.choice((0.0, 0.0, 0.7, -1.0)) if model == "demo" else 0.0
        return self.ask(customer, n=rng.choice((1, 1, 1, 2, 4, 10)), side=rng.choice(SIZES), model=model, lora=lora)

    def cancel_one(self) -> None:
        """Somebody thinks better of it."""
        id = self.rng.choice(list(self.waiting))
        rows = self.look("SELECT tenant_id FROM generation_generation WHERE id = %s", id)
        with in_tenant(rows[0][0]):
            if cancel_generation(id) == "canceled":
                del self.waiting[id]
            else:
                self.waiting[id] = (self.now, None)
        self.counts["canceled"] += 1

    # ---- time

    def run(self, *, until: float) -> None:
        """Let simulated time pass."""
        while True:
            for hand in self.hands:
                if hand.claim is None:
                    self._take(hand)
            if not self.events or self.events[0][0] > until:
                self.now = max(self.now, until)
                return
            self.now, _, hand = heapq.heappop(self.events)
            self._end(hand)

    @property
    def busy(self) -> bool:
        """Whether anything is drawn or waits."""
        return bool(self.waiting)

    def _take(self, hand: Hand) -> None:
        self._change(hand, idle=False)
        claim = self._claim(hand)
        if claim is None and self._change(hand, idle=True):
            claim = self._claim(hand)
        if claim is None:
            return
        hand.residents.used(claim.model)
        hand.claim = claim
        factor = SLOWER[claim.model] * (1 + self.rng.uniform(-NOISE, NOISE))
        took = sum(self._true_ms(row) for row in claim.rows) * factor + PASS_OVERHEAD_MS
        images = sum(len(row.seeds) for row in claim.rows)
        reach = window_ms(claim.estimate_ms / images) * max(1.0, took / claim.estimate_ms)
        self.longest_ms = max(self.longest_ms, reach)
        self.counts["passes"] += 1
        self.counts["images"] += images
        heapq.heappush(self.events, (self.now + took, next(self.ticks), hand))
        self._measure(hand)

    def _claim(self, hand: Hand) -> Claim | None:
        here = hand.residents.here
        return claim_pass(
            lane="blue",
            pool="demo",
            models=dict.fromkeys(here, self.batch_max),
            worker=hand.id,
            hardware=HARDWARE,
            lease_s=3600,
            absent=[slug for slug in hand.residents.candidates() if slug not in here],
            patience_ms=hand.residents.patience * 1000,
        )

    def _change(self, hand: Hand, *, idle: bool) -> bool:
        residents = hand.residents
        if not residents.may_look(idle=idle):
            return False
        turn = find_next_model(lane="blue", pool="demo", models=residents.candidates(), hardware=HARDWARE)
        wanted = residents.judge(turn, idle=idle)
        if wanted is None:
            return False
        for slug in residents.leavers(wanted):
            residents.went(slug)
        self.now += LOAD_MS  # of the only worker there is, where models have to leave
        residents.came(wanted, load_s=LOAD_MS / 1000)
        self.counts["loads"] += 1
        self._show(hand)
        return True

    def _end(self, hand: Hand) -> None:
        claim, hand.claim = hand.claim, None
        assert claim is not None
        started = [self._true_ms(row) * SLOWER[claim.model] for row in claim.rows]
        overhead = PASS_OVERHEAD_MS / len(claim.rows)
        for row, ms in zip(claim.rows, started, strict=True):
            self._end_row(row, ms + overhead)

    def _end_row(self, row: ClaimedRow, ms: float) -> None:
        at, place = self.waiting.get(row.id, (0.0, None))
        wanted = self.look("SELECT cancel_requested_at IS NOT NULL FROM generation_generation WHERE id = %s", row.id)
        if wanted[0][0]:
            assert cancel_running(row=row, run_ms=ms / 2)
            self.used[row.tenant] += ms / 2
            self.waiting.pop(row.id, None)
            return
        fate = self.rng.random() if self.accidents else 1.0
        if fate < 0.02:
            self.counts["failed"] += 1
            if fail_row(row=row, code="engine_error", message="bad", retry=True) == "failed":
                self.waiting.pop(row.id, None)
            else:
                self.waiting[row.id] = (at, None)
            return
        if fate < 0.03:
            self.counts["given back"] += 1
            assert release_row(row=row)
            self.waiting[row.id] = (at, None)
            return
        self.used[row.tenant] += ms
        if finish_slice(row=row, images=draw(row), run_ms=ms) == "finished":
            del self.waiting[row.id]
            self.counts["finished"] += 1
            if place is not None and place.eta_ms is not None:
                low, high = place.eta_range_ms or (place.eta_ms, place.eta_ms)
                self.told.append(Told(place.eta_ms, low, high, self.now - at, place.position))

    def _true_ms(self, row: ClaimedRow) -> float:
        base = {"demo": 60.0, "other": 200.0}[row.model]
        return base * row.width * row.height / 64**2 * len(row.seeds) * (1.1 if row.loras else 1.0)

    # ---- what is held against the rules

    def _measure(self, hand: Hand) -> None:
        clocks = fetch_all(
            "SELECT tenant, vtime, weight FROM generation_fairclock"
            " WHERE lane = 'blue' AND pool = 'demo' AND queued > 0 ORDER BY vtime"
        )
        if len(clocks) < 2:
            return
        low = clocks[0]
        patience = hand.residents.patience * 1000 if hand.residents.switches else 0.0
        for clock in clocks:
            bound = self.longest_ms / clock["weight"] + patience / low["weight"]
            self.spread = max(self.spread, (clock["vtime"] - low["vtime"]) / bound)

    def shares_off(self, used: dict[UUID, float]) -> float:
        """How far the worst tenant's GPU time is from its weight's share."""
        total, weights = sum(used.values()), sum(one.weight for one in self.customers)
        return max(abs(used[one.caller.tenant] / (total * one.weight / weights) - 1) for one in self.customers)

    def predictions(self) -> dict[str, float]:
        """How good they were: the median of |told − actual| ÷ actual, and how many ended within their range."""
        off = [abs(one.eta - one.actual) / max(1.0, one.actual) for one in self.told]
        within = [one.low <= one.actual <= one.high for one in self.told]
        leaning = [one.eta / max(1.0, one.actual) for one in self.told]
        return {
            "told": len(self.told),
            "median_error": round(statistics.median(off), 3),
            "median_told_to_actual": round(statistics.median(leaning), 3),
            "within_range": round(sum(within) / len(within), 3),
        }

    def _show(self, hand: Hand) -> None:
        self.look(
            "INSERT INTO generation_worker (id, name, pid, lane, pool, serves, resident, state, detail, hardware,"
            " device, dtype, memory_total, memory_used, release, passes, load_ms, started_at, seen_at) VALUES"
            " (%s, 'w', 1, 'blue', 'demo', '[\"demo\", \"other\"]', %s::jsonb, 'busy', '', '', '', '', 0, 0, '', 0,"
            " %s, now(), now() + interval '1 day') ON CONFLICT (id) DO UPDATE SET resident = excluded.resident"
            " RETURNING 1",
            hand.id, str(list(hand.residents.here)).replace("'", '"'), LOAD_MS,
        )  # fmt: skip


def run_mixed(shares: Shares, *, requests: int, load: float) -> None:
    """Bursts and trickles of all, until `requests` were asked for; `load` is about how busy the GPU is kept."""
    rng = shares.rng
    asleep: dict[int, float] = {}
    while shares.counts["asked"] < requests:
        customer = rng.randrange(len(shares.customers))
        if asleep.get(customer, 0.0) > shares.now:
            customer = rng.randrange(len(shares.customers))
        for _ in range(rng.choice((1, 1, 1, 1, 2, 6))):
            shares.ask_at_random(shares.customers[customer])
        if rng.random() < 0.05:
            asleep[customer] = shares.now + 60_000  # and comes back after a while
        if shares.accidents and rng.random() < 0.03 and shares.waiting:
            shares.cancel_one()
        # A request is 1,000 GPU milliseconds on average, a burst two requests.
        shares.run(until=shares.now + rng.expovariate(1) * 2.0 * 1_000 / load / shares.hands_wanted)
    while shares.busy:
        shares.run(until=shares.events[0][0] if shares.events else shares.now + 1_000)


def run_saturated(shares: Shares, *, minutes: float) -> float:
    """Everybody always has work; how far the worst tenant's GPU time is from its weight's share in the end."""
    waiting: dict[UUID, int] = defaultdict(int)
    until, step = shares.now + minutes * 60_000, 2_000.0
    before = dict(shares.used)
    while shares.now < until:
        waiting.clear()
        for row in fetch_all("SELECT tenant, queued FROM generation_fairclock WHERE lane = 'blue' AND pool = 'demo'"):
            waiting[row["tenant"]] = row["queued"]
        for customer in shares.customers:
            for _ in range(6 - waiting[customer.caller.tenant]):
                shares.ask(
                    customer, n=10, side=shares.rng.choice((64, 128)), model=shares.rng.choice(("demo", "other"))
                )
        shares.run(until=shares.now + step)
    used = {tenant: ms - before.get(tenant, 0.0) for tenant, ms in shares.used.items()}
    return shares.shares_off(defaultdict(float, used))

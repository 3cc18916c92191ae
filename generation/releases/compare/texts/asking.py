"""Asks a chat model with the tasks of two lanes, in this process: the same relay, model and upstreams for both.

What a lane adds to an upstream's answer is its `tasks.toml`; so no process of the lane is asked, and a release that
does not run yet can be compared too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from accounts.errors import StudioError
from generation.chat.breaker import Breaker
from generation.chat.moodasking import Moods
from generation.chat.relay import Relay
from generation.chat.request import ChatRequest, Message, TextPart, with_task
from generation.chat.sentiment import judge_text
from generation.chat.targets import Offer
from generation.chat.tasks import Tasks
from generation.releases.compare.texts.cases import Said, TextCase

ANSWER_TOKENS = 256
SEED = 7  # a side's sampling is its own, its chance is not


@dataclass(frozen=True, slots=True)
class TextPair:
    """A case with what both sides say; no `old` where it was not asked."""

    case: TextCase
    new: Said
    old: Said | None


def ask_both(cases: Sequence[TextCase], new: Tasks, old: Tasks | None, *, offer: Offer) -> list[TextPair]:
    """Every case, one after the other, each side first with every second one."""
    return asyncio.run(_ask_all(cases, new, old, offer=offer))


async def _ask_all(cases: Sequence[TextCase], new: Tasks, old: Tasks | None, *, offer: Offer) -> list[TextPair]:
    relay = Relay(Breaker(None))
    lacking: dict[str, float] = {}

    async def ask(case: TextCase, tasks: Tasks) -> Said:
        return await _ask(case, tasks, relay=relay, offer=offer, lacking=lacking)

    try:
        await ask(cases[0], new)  # whatever the upstream has to warm up counts for nobody
        found = []
        for at, case in enumerate(cases):
            if old is None:
                found.append(TextPair(case, await ask(case, new), None))
            elif at % 2 == 0:
                said = await ask(case, new)
                found.append(TextPair(case, said, await ask(case, old)))
            else:
                before = await ask(case, old)
                found.append(TextPair(case, await ask(case, new), before))
        return found
    finally:
        relay.close()


async def _ask(case: TextCase, tasks: Tasks, *, relay: Relay, offer: Offer, lacking: dict[str, float]) -> Said:
    began = time.monotonic()
    try:
        if case.kind == "mood":
            mood = await judge_text(case.text, task=tasks.sentiment, ask=Moods(relay, offer, lacking=lacking))
            return Said(text=mood.label, scores=mood.scores, ms=_ms(began))
        text = await _chat(case.text, tasks, relay=relay, offer=offer)
        return Said(text=text, ms=_ms(began)) if text else Said(error="empty", ms=_ms(began))
    except StudioError as error:
        return Said(error=error.code, ms=_ms(began))


async def _chat(text: str, tasks: Tasks, *, relay: Relay, offer: Offer) -> str:
    said = Message(role="user", parts=(TextPart(text),))
    asked = ChatRequest(model=offer.slug, messages=(said,), prompt_chars=len(text), seed=SEED)
    asked = with_task(asked, tasks.chat, sampling=offer.sampling, max_tokens=min(ANSWER_TOKENS, offer.max_tokens))
    async with await relay.open(asked, offer) as answer:
        return "".join([delta.text async for delta in answer.deltas()]).strip()


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)

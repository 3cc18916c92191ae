"""The texts of one comparison: both lanes' tasks, the model that is asked, and the rows that are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from accounts.domain.sql import fetch_all
from generation.books.offers import OFFERS_SQL, read_catalogue
from generation.chat.targets import Offer
from generation.chat.tasks import Tasks, TasksError, read_tasks
from generation.enums import REFERENCES, Tolerance
from generation.models import ComparedCase, Comparison
from generation.releases.compare.judge import NO_OLD, ModelJudged
from generation.releases.compare.texts.asking import TextPair, ask_both
from generation.releases.compare.texts.cases import Said, TextCase, read_text_cases
from generation.releases.compare.texts.judge import judge_said, judge_texts

TasksOf = Callable[[str], Path]
"""The `tasks.toml` of a lane's release."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What was asked and said; nothing where no chat model is on offer."""

    model: str = ""
    pairs: tuple[TextPair, ...] = ()
    changed: tuple[str, ...] = ()  # fields of the tasks, between the two lanes

    def rows(self, comparison: Comparison) -> list[ComparedCase]:
        """To be stored with the pictures': what was said stands in `params`."""
        return [_row(comparison, self.model, pair) for pair in self.pairs]

    def judged(self) -> list[ModelJudged]:
        """The model over all of them."""
        return [judge_texts(self.model, self.pairs, changed=self.changed)] if self.pairs else []


def choose_texts(slugs: Collection[str]) -> list[TextCase]:
    """The cases that are asked: all, or those named."""
    return [case for case in read_text_cases() if not slugs or case.slug in slugs]


def compare_texts(
    cases: list[TextCase], tasks_of: TasksOf, *, lane: str, against: str, release: str, say: Callable[[str], None]
) -> Texts:
    """Ask with the lane's tasks and with the other lane's, or look up the references of `release`.

    Tasks that cannot be read are an error of their side in every case.
    """
    offer = find_model()
    if offer is None or not cases:
        return Texts()
    say(f"asking {offer.slug} for {len(cases)} golden texts …")
    new, trouble = _read(tasks_of(lane), say)
    if new is None:
        return Texts(offer.slug, tuple(TextPair(case, trouble, Said(error=NO_OLD)) for case in cases))
    if against == REFERENCES:
        asked = ask_both(cases, new, None, offer=offer)
        pairs = [TextPair(one.case, one.new, _find_reference(one.case, offer.slug, release)) for one in asked]
        return Texts(offer.slug, tuple(pairs))
    old, trouble = _read(tasks_of(against), say)
    asked = ask_both(cases, new, old, offer=offer)
    pairs = [TextPair(one.case, one.new, one.old or trouble) for one in asked]
    return Texts(offer.slug, tuple(pairs), tuple(new.differences(old)) if old else ())


def find_model() -> Offer | None:
    """The first chat model that staff offer and some upstream answers; None for none."""
    rows = fetch_all(OFFERS_SQL)  # Django's connections give JSON as text
    catalogue = read_catalogue({**row, "sampling": json.loads(row["sampling"])} for row in rows)
    return next((one.offer for one in catalogue.offers.values() if one.offer.targets), None)


def _read(file: Path, say: Callable[[str], None]) -> tuple[Tasks | None, Said]:
    try:
        return read_tasks(file), Said()
    except TasksError as error:
        say(f"  {error}")
        return None, Said(error="bad_tasks")


def _find_reference(case: TextCase, model: str, release: str) -> Said:
    """What was said in the newest comparison that was promoted, those of the release that serves first."""
    rows = ComparedCase.objects.filter(
        slug=case.slug, params_sha256=case.sha256(model), new_error="", comparison__promoted_at__isnull=False
    ).order_by("-comparison__promoted_at")
    row = rows.filter(comparison__release_name=release).first() or rows.first()
    return Said(error=NO_OLD) if row is None else Said.from_json(row.params["new"])


def _row(comparison: Comparison, model: str, pair: TextPair) -> ComparedCase:
    case, new, old, judged = pair.case, pair.new, pair.old or Said(error=NO_OLD), judge_said(pair)
    return ComparedCase(
        comparison=comparison,
        slug=case.slug,
        position=case.position,
        model=model,
        prompt=case.text,
        params={"kind": case.kind, "wanted": case.wanted, "new": new.to_json(), "old": old.to_json()},
        params_sha256=case.sha256(model),
        tolerance=Tolerance.CLOSE,
        verdict=judged.verdict.value,
        reasons=list(judged.reasons),
        new_error=new.error,
        old_error=old.error,
        new_run_ms=new.ms,
        old_run_ms=old.ms,
    )

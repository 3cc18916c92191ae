"""One comparison from the first picture to the verdict. Whoever calls it holds the lock of all release commands.

Nothing that was stored before is touched until a new verdict stands: a command that dies leaves a comparison without a
verdict, which counts for nothing, and may be typed again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from django.db import transaction
from django.utils import timezone

from accounts.domain.audit import record
from accounts.domain.sql import fetch_all
from generation.enums import REFERENCES, LaneState, ReleaseMode, Task
from generation.errors import ReleaseFailed, ReleaseRefused
from generation.models import ComparedCase, Comparison, GoldenCase, Lane
from generation.releases.compare.judge import Judged, judge_case, judge_model, worst
from generation.releases.compare.keep import (
    find_reference,
    find_start,
    has_references,
    keep_picture,
    prune,
    take_as_references,
)
from generation.releases.compare.limits import LOOKS_AGAIN
from generation.releases.compare.shipped import add_shipped
from generation.releases.compare.side import PICTURE_S, Drawn, clear_left, draw_alone, open_tenant
from generation.releases.compare.starts import Side, Starts
from generation.releases.compare.texts.cases import TextCase
from generation.releases.compare.texts.judge import judge_said
from generation.releases.compare.texts.run import TasksOf, Texts, choose_texts, compare_texts
from generation.releases.compare.wanted import Wanted, want
from generation.releases.compare.words import say_distance, say_reasons, say_times, say_verdict
from generation.releases.lanes import default_lane, read_lane, read_lanes, release_name
from generation.releases.tools import LANES, other_lane

AGAINST = (*LANES, REFERENCES)

_SERVES_SQL = """
SELECT DISTINCT m.slug FROM generation_worker w CROSS JOIN LATERAL jsonb_array_elements_text(w.serves) AS m (slug)
 WHERE w.lane = %(lane)s AND (%(release)s = '' OR w.release = %(release)s) AND w.state IN ('idle', 'busy')
   AND w.drain_requested_at IS NULL AND w.seen_at > now() - interval '60 seconds'
   AND NOT EXISTS (SELECT FROM generation_pool p
                    WHERE p.lane = w.lane AND p.name = w.pool AND p.paused_at IS NOT NULL)
"""


@dataclass(frozen=True, slots=True)
class LaneSide:
    """Drawn now, by a lane's workers."""

    lane: str
    release: str
    serves: frozenset[str]
    timeout_s: float
    hanging: set[str] = field(default_factory=set)
    """Models of which a picture was waited for in vain: nobody waits for the next ones."""

    def draw(self, wanted: Wanted) -> Drawn:
        if wanted.model not in self.serves:
            return Drawn(error="not_served")
        if wanted.model in self.hanging:
            return Drawn(error="timeout")
        drawn = draw_alone(wanted, lane=self.lane, release=self.release, timeout_s=self.timeout_s)
        if drawn.error == "timeout":
            self.hanging.add(wanted.model)
        return drawn

    def start_of(self, wanted: Wanted) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class Stored:
    """The references."""

    release: str

    def draw(self, wanted: Wanted) -> Drawn:
        return find_reference(wanted, release=self.release)

    def start_of(self, wanted: Wanted) -> bytes:
        return find_start(wanted, release=self.release)


@dataclass(slots=True)
class Pair:
    """A case with what both sides have of it."""

    wanted: Wanted
    new: Drawn
    old: Drawn
    judged: Judged = field(init=False)

    def __post_init__(self) -> None:
        tolerance, start = self.wanted.tolerance, self.wanted.start
        self.judged = judge_case(self.new, self.old, tolerance=tolerance, start=start)


def compare_lane(
    lane: str,
    *,
    against: str = "",
    slugs: Collection[str] = (),
    firsts: bool = False,
    timeout_s: float = PICTURE_S,
    tasks_of: TasksOf | None = None,
    by: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Draw the golden cases in a lane, compare them with the other lane's or the references, store the verdict.

    `against`: a lane or "references"; empty: the other lane where its workers draw, else the references. `slugs`: only
    these cases; `firsts`: only the first of each model. `tasks_of`: texts are compared too.

    Raises `ReleaseRefused` where there is nothing to draw or nobody to draw it, and `ReleaseFailed` where pictures
    cannot be stored.
    """
    here = read_lane(lane)
    new = _lane_side(here, timeout_s=timeout_s)
    if not new.serves:
        raise ReleaseRefused(_say_nobody(here))
    against, old = _other_side(here, against, timeout_s=timeout_s)
    texts = [] if tasks_of is None or firsts else choose_texts(slugs)
    wanted, skipped = _choose_cases(new, old, slugs=slugs, firsts=firsts, texts=texts)
    open_tenant({one.model for one in wanted} | {one.start.base.model for one in wanted if one.start})
    clear_left()
    comparison = Comparison.objects.create(
        lane=lane,
        release=here.release,
        release_name=new.release,
        against=against,
        against_release=old.release,
        whole=not slugs and not firsts,
        skipped=skipped,
        by=by[:80],
    )
    try:
        pairs = _draw_all(_saying(wanted, say), new, old)
        _look_again(pairs, new, old, say=say)
        said = Texts()
        if tasks_of is not None:
            said = compare_texts(texts, tasks_of, lane=lane, against=against, release=old.release, say=say)
        _store(comparison, pairs, said, serving=here.state == LaneState.SERVING)
    except OSError as error:
        raise ReleaseFailed(
            f"golden pictures cannot be stored: {error}. Nothing has changed; make room, then type it again"
        ) from error
    _tell(comparison, pairs, said, say)
    clear_left()  # what a worker still had in its hands before
    prune()
    return comparison


def _tell(comparison: Comparison, pairs: Sequence[Pair], texts: Texts, say: Callable[[str], None]) -> None:
    for pair in pairs:
        judged, distance = pair.judged, pair.judged.distance
        said = say_distance(distance.ssim, distance.bits, distance.colour) if distance else ""
        why = say_reasons(list(judged.reasons))
        say(f"  {pair.wanted.slug}: {'; '.join(filter(None, (say_verdict(judged.verdict), said, why)))}")
    for one in texts.pairs:
        found = judge_said(one)
        words = ": ".join(filter(None, (say_verdict(found.verdict), say_reasons(list(found.reasons)))))
        say(f"  {one.case.slug}: {words}")
    for row in comparison.by_model:
        errors = ", ".join(f"{n} × {code}" for code, n in sorted(row["new_errors"].items()))
        why = "; ".join(filter(None, (say_reasons(row["reasons"]), errors)))
        say(f"  {row['model']}: {say_times(row)}{f' ({why})' if why else ''}")
    if comparison.skipped:
        say(f"  not drawn, because neither side serves their model: {', '.join(comparison.skipped)}")


def _saying(wanted: Sequence[Wanted], say: Callable[[str], None]) -> Sequence[Wanted]:
    if not wanted:
        return wanted
    say(f"drawing {len(wanted)} golden pictures of {', '.join(sorted({one.model for one in wanted}))} …")
    return wanted


def _lane_side(lane: Lane, *, timeout_s: float) -> LaneSide:
    name = lane.release.name if lane.release else ""
    rows = fetch_all(_SERVES_SQL, lane=lane.name, release=name)
    serves = frozenset(row["slug"] for row in rows)
    return LaneSide(lane=lane.name, release=name or _release_of_workers(lane.name), serves=serves, timeout_s=timeout_s)


def _release_of_workers(lane: str) -> str:
    """Where no release command has put anything there yet, its workers say what they are."""
    rows = fetch_all(
        "SELECT release FROM generation_worker WHERE lane = %(lane)s ORDER BY seen_at DESC LIMIT 1", lane=lane
    )
    return str(rows[0]["release"]) if rows else ""


def _other_side(here: Lane, against: str, *, timeout_s: float) -> tuple[str, LaneSide | Stored]:
    other = read_lanes()[other_lane(here.name)]
    serving = read_lane(default_lane())
    stored = Stored(release=serving.release.name if serving.release else "")
    side = _lane_side(other, timeout_s=timeout_s)
    if against == REFERENCES or (against == "" and (here.name == serving.name or not side.serves)):
        return REFERENCES, stored
    if against == here.name:
        raise ReleaseRefused(f"{here.name} cannot be compared with itself; with what is stored: --against references")
    if not side.serves:
        raise ReleaseRefused(f"{_say_nobody(other)}, or compare with what is stored: --against references")
    return other.name, side


def _say_nobody(lane: Lane) -> str:
    why = f"no worker of {lane.name} draws now ({lane.name} is {lane.state}, with {release_name(lane)})"
    if lane.state == LaneState.READY and lane.release is not None and lane.release.mode == ReleaseMode.HAND_OVER:
        return (
            f"{why}: in a hand-over its workers load at the promotion, which compares the first case of each model "
            "with the references before anybody is led there"
        )
    return f"{why}: look at release status, and whether its pool is paused"


def _choose_cases(
    new: LaneSide, old: LaneSide | Stored, *, slugs: Collection[str], firsts: bool, texts: Collection[TextCase]
) -> tuple[list[Wanted], list[str]]:
    add_shipped()
    enabled = GoldenCase.objects.filter(enabled=True, model__enabled=True)
    rows = sorted(enabled.select_related("model", "starts_from__model"), key=_place)
    names = [row.slug for row in rows]
    if unknown := sorted({*slugs} - {*names} - {case.slug for case in texts}):
        known = ", ".join(names) or "none"
        raise ReleaseRefused(f"no enabled golden case named {', '.join(unknown)}; there are: {known}")
    served = new.serves | (old.serves if isinstance(old, LaneSide) else frozenset())
    wanted, skipped, seen = [], [], set()
    for row in rows:
        if (slugs and row.slug not in slugs) or (firsts and row.model_id in seen):
            continue
        seen.add(row.model_id)
        if row.model_id in served:
            wanted.append(want(row))
        else:
            skipped.append(row.slug)
    if not wanted and not (slugs and texts):
        raise ReleaseRefused(
            f"there is no enabled golden case of {', '.join(sorted(served))}: add one in the admin, under golden cases"
        )
    return wanted, skipped


def _place(row: GoldenCase) -> tuple[int, str, bool, int, str]:
    """What others start from comes before them, wherever staff have put it."""
    return row.model.position, row.model_id, row.task != Task.TEXT_TO_IMAGE, row.position, row.slug


def _draw_all(wanted: Sequence[Wanted], new: Side, old: Side) -> list[Pair]:
    """One after the other; what starts from another's picture gets it first."""
    starts, pairs = Starts(new, old), []
    for at, one in enumerate(wanted):
        pair = _draw_pair(starts.give(one), new, old, first=at % 2 == 0)
        starts.note(one, pair.new, pair.old)
        pairs.append(pair)
    return pairs


def _draw_pair(wanted: Wanted, new: Side, old: Side, *, first: bool) -> Pair:
    """Each side goes first with every second case: what the first one warms up for the second evens out."""
    if first:
        drawn = new.draw(wanted)
        return Pair(wanted, drawn, old.draw(wanted))
    before = old.draw(wanted)
    return Pair(wanted, new.draw(wanted), before)


def _look_again(pairs: list[Pair], new: Side, old: Side, *, say: Callable[[str], None]) -> None:
    """What seems slow is drawn again on both sides: the quickest of a few is what the release can do."""
    for _ in range(LOOKS_AGAIN):
        slow = {model for model, rows in _by_model(pairs).items() if judge_model(model, rows).summary["reasons"]}
        if not slow:
            return
        say(f"  {', '.join(sorted(slow))} seems slower: drawn again …")
        for pair in pairs:
            if pair.wanted.model in slow and not pair.new.error and not pair.old.error:
                pair.new = _quicker(pair.new, new.draw(pair.wanted))
                pair.old = _quicker(pair.old, old.draw(pair.wanted))


def _quicker(known: Drawn, again: Drawn) -> Drawn:
    """The same picture with the shorter of two times; a second try that failed says nothing of its time."""
    if again.error or known.run_ms is None or again.run_ms is None:
        return known
    return replace(known, run_ms=min(known.run_ms, again.run_ms))


def _by_model(pairs: Sequence[Pair]) -> dict[str, list[tuple[Drawn, Drawn]]]:
    found: dict[str, list[tuple[Drawn, Drawn]]] = {}
    for pair in pairs:
        found.setdefault(pair.wanted.model, []).append((pair.new, pair.old))
    return found


def _store(comparison: Comparison, pairs: Sequence[Pair], texts: Texts, *, serving: bool) -> None:
    """Pictures first, then cases and verdict in one transaction, with the event. Raises OSError."""
    rows = [*(_row(comparison, pair) for pair in pairs), *texts.rows(comparison)]
    judged = [judge_model(model, drawn) for model, drawn in _by_model(pairs).items()] + texts.judged()
    verdict = worst([*(row.verdict for row in rows), *(one.verdict for one in judged)])
    with transaction.atomic():
        ComparedCase.objects.bulk_create(rows)
        comparison.verdict, comparison.by_model = verdict.value, [one.summary for one in judged]
        comparison.finished_at = timezone.now()
        comparison.save(update_fields=["verdict", "by_model", "finished_at"])
        if serving and comparison.release is not None and not has_references():
            # The first of all: what serves is by definition what later releases are compared with.
            take_as_references(comparison.release)
        record(
            "release.compared",
            target=f"lane:{comparison.lane}",
            detail={
                "comparison": str(comparison.pk),
                "release": comparison.release_name,
                "against": comparison.against,
                "verdict": verdict.value,
                "cases": len(rows),
                "by": comparison.by,
            },
        )


def _row(comparison: Comparison, pair: Pair) -> ComparedCase:
    wanted, new, old, judged = pair.wanted, pair.new, pair.old, pair.judged
    distance = judged.distance
    return ComparedCase(
        comparison=comparison,
        slug=wanted.slug,
        position=wanted.position,
        model=wanted.model,
        prompt=wanted.request.prompt,
        params=wanted.params,
        params_sha256=wanted.params_sha256,
        tolerance=wanted.tolerance,
        verdict=judged.verdict.value,
        reasons=list(judged.reasons),
        ssim=distance.ssim if distance else None,
        bits=distance.bits if distance else None,
        colour=distance.colour if distance else None,
        new_sha256=keep_picture(new),
        old_sha256=keep_picture(old),
        input_sha256=keep_picture(Drawn(data=wanted.start.picture)) if wanted.start else "",
        new_error=new.error,
        old_error=old.error,
        new_wait_ms=new.wait_ms,
        old_wait_ms=old.wait_ms,
        new_run_ms=new.run_ms,
        old_run_ms=old.run_ms,
        hardware=new.hardware,
    )

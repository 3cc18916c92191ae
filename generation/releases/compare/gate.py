"""What a comparison has to say in a promotion: red stops it, without one it is made. Light: web processes load this.

The last verdict of this very stay of the release counts. Where there is none, because nobody asked or in a hand-over
nobody could draw before, the first case of each model is drawn now, while nobody has been led there.
"""

from __future__ import annotations

from django.db.models import Q

from accounts.errors import StudioError
from generation.enums import REFERENCES, ReleaseMode
from generation.enums import Verdict as Colour
from generation.models import Comparison, GoldenCase, Lane, Model, Release
from generation.releases.compare.words import say_reasons
from generation.releases.lanes import read_lane, release_name
from generation.releases.promote import Verdict

IN_PROMOTION_S = 120.0  # for one picture; in a hand-over everybody waits for it


def last_comparison(release: Release | None) -> Comparison | None:
    """The newest of a release's stay in its lane that says something about all of it, or is red."""
    if release is None:
        return None
    rows = Comparison.objects.filter(Q(whole=True) | Q(verdict=Colour.RED), release=release, finished_at__isnull=False)
    return rows.order_by("-started_at", "-id").first()


def ask_comparison(lane: str) -> Verdict | None:
    """For `promote.verdicts`: red where the comparison is, else None or what is missing."""
    here = read_lane(lane)
    if here.release is None or not GoldenCase.objects.filter(enabled=True, model__enabled=True).exists():
        return None
    found = last_comparison(here.release)
    if found is None:
        return _compare_now(here)
    return Verdict(red=found.is_red, words=say_comparison(found))


def say_comparison(found: Comparison) -> str:
    """The verdict with the cases that made it, for sentences."""
    bad = [f"{case.slug}: {say_reasons(case.reasons)}" for case in found.cases.all() if case.verdict == found.verdict]
    slow = [f"{row['model']}: {say_reasons(row['reasons'])}" for row in found.by_model if row["reasons"]]
    why = "; ".join([*bad, *slow][:3]) if found.verdict != Colour.GREEN else ""
    against = f"{found.against}{f' ({found.against_release})' if found.against_release else ''}"
    return f"{found.release_name} against {against} is {found.verdict}{f': {why}' if why else ''}"


def _compare_now(lane: Lane) -> Verdict:
    """Side by side with the lane that serves; in a hand-over with the references, for nobody else draws."""
    from generation.releases.compare.run import compare_lane  # numpy and Pillow, which web needs not

    by_hand_over = lane.release is not None and lane.release.mode == ReleaseMode.HAND_OVER
    models = Model.objects.filter(enabled=True, slug__in=lane.serves).values_list("slug", flat=True)
    references = Comparison.objects.filter(promoted_at__isnull=False, cases__model__in=list(models))
    if by_hand_over and not references.exists():  # everybody waits meanwhile
        return Verdict(red=False, words=f"{release_name(lane)} was not compared: no references are stored yet")
    against = REFERENCES if by_hand_over else ""
    try:
        found = compare_lane(lane.name, against=against, firsts=True, timeout_s=IN_PROMOTION_S, by="promote")
    except StudioError as error:
        return Verdict(red=False, words=f"{release_name(lane)} could not be compared: {error.message}")
    return Verdict(red=found.is_red, words=say_comparison(found))


def keep_references(lane: str) -> None:
    """For `promote.promoted`: the pictures of what has just become the default are the references from now on."""
    from generation.releases.compare.keep import take_as_references  # as above

    here = read_lane(lane)
    if here.release is not None:
        take_as_references(here.release)

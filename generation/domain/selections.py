"""Selections: many generations of one's tenant at once, made into a zip or deleted.

Here are the rows and their rules. What takes long is done by errands (`zips.py`, `deletions.py`), and the row says how
far it is. Ids that are not the tenant's are left out, whether they are another's, were deleted or never were: whoever
selects on a page is not to fail because a colleague was quicker. Where none is left, there is nothing (404).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.errands import add_errand
from accounts.domain.pages import Page, read_page
from accounts.domain.roles import Right
from accounts.domain.sql import execute, fetch_all, fetch_one
from accounts.enums import ErrandKind
from accounts.errors import InvalidRequest, NotFound
from accounts.ids import read_id
from accounts.models import Errand
from generation.domain.remove import remove_ended
from generation.enums import Act, SelectionStatus
from generation.errors import GenerationNotFound, NoPictures, SelectionUnderWay
from generation.models import Selection

MAX_IDS = 10_000
MAX_IMAGES = 10_000  # in one zip
AT_ONCE = 100  # deleted while the caller waits: a second at most
MOST_UNDER_WAY = 3  # of one member and one kind
KEPT = timedelta(days=1)
FORGOTTEN_DAYS = 30
UNDER_WAY = (SelectionStatus.WAITING, SelectionStatus.RUNNING)
KINDS = {Act.ZIP: ErrandKind.ZIP, Act.DELETE: ErrandKind.DELETE_SELECTED}

# A lock of its own: the row of the membership has its place between other locks, and a deletion takes those too.
_TURN_SQL = "SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0))"
_OWN_SQL = "SELECT id FROM generation_generation WHERE id = ANY(%(ids)s) ORDER BY created_at DESC, id DESC"
_IMAGES_SQL = "SELECT count(*)::int AS images FROM generation_image WHERE generation_id = ANY(%(ids)s)"
# Who deletes one of them waits, and then finds a zip that is ready; one that is gone already is not among them.
_HOLD_SQL = "SELECT id FROM generation_generation WHERE id = ANY(%(ids)s) ORDER BY id FOR KEY SHARE"
_FORGET_SQL = """
DELETE FROM generation_selection
 WHERE created_at < now() - make_interval(days => %(days)s) AND status IN ('done', 'failed', 'expired', 'withdrawn')
"""


def read_ids(data: Mapping[str, Any]) -> list[UUID]:
    """The generations that a body names, {"ids": [...]}. Raises `InvalidRequest`."""
    unknown = sorted(set(data) - {"ids"})
    if unknown:
        name = unknown[0][:60]
        raise InvalidRequest(f"{name}: unknown field, this route knows ids", field=name)
    ids = data.get("ids")
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise InvalidRequest("ids: must be a list of ids", field="ids")
    return check_ids([read_id(id) for id in ids])


def check_ids(ids: Sequence[UUID]) -> list[UUID]:
    """Each once. Raises `InvalidRequest` for none and for too many."""
    if not 1 <= len(ids) <= MAX_IDS:
        raise InvalidRequest(f"ids: must name 1 to {MAX_IDS} generations, got {len(ids)}", field="ids")
    return list(dict.fromkeys(ids))


def request_zip(*, by: Caller, ids: Sequence[UUID]) -> Selection:
    """Have the pictures of these generations put into one file.

    Raises `NotAllowed`, `GenerationNotFound`, `NoPictures`, `InvalidRequest` (too many), `SelectionUnderWay`.
    """
    by.require(Right.SEE_IMAGES)
    with transaction.atomic():
        _take_turn(by, Act.ZIP)
        found = _own(ids)
        row = fetch_one(_IMAGES_SQL, ids=found)
        images = int(row["images"]) if row else 0
        if not images:
            raise NoPictures
        if images > MAX_IMAGES:
            raise InvalidRequest(
                f"ids: these generations have {images} pictures, one zip has {MAX_IMAGES} at most", field="ids"
            )
        selection = _begin(by, Act.ZIP, ids=found, total=images)
        add_errand(kind=ErrandKind.ZIP, ref=selection.pk, tenant=by.tenant)
    return selection


def request_deletion(*, by: Caller, ids: Sequence[UUID]) -> Selection:
    """Delete these generations for good: a few at once, many by an errand. What has not ended stays.

    Raises `NotAllowed`, `GenerationNotFound`, `SelectionUnderWay`.
    """
    by.require(Right.MAKE_IMAGES)
    with transaction.atomic():
        _take_turn(by, Act.DELETE)
        found = _own(ids)
        selection = _begin(by, Act.DELETE, ids=found, total=len(found))
        record("pictures.selected", target=f"selection:{selection.pk}", detail={"generations": len(found)})
        if len(found) > AT_ONCE:
            add_errand(kind=ErrandKind.DELETE_SELECTED, ref=selection.pk, tenant=by.tenant)
        else:
            delete_some(selection, most=AT_ONCE)
    return selection


def list_selections(*, by: Caller, act: Act, cursor: str | None, limit: int) -> Page[Selection]:
    """The caller's own, newest first. Raises `NotAllowed`, `InvalidField`."""
    _require(by, act)
    return read_page(_own_rows(by, act), cursor=cursor, limit=limit)


def get_selection(*, by: Caller, act: Act, selection_id: UUID) -> Selection:
    """One of them. Raises `NotAllowed`, `NotFound`."""
    _require(by, act)
    found: Selection | None = _own_rows(by, act).filter(pk=selection_id).first()
    if found is None:
        raise NotFound("no such zip" if act == Act.ZIP else "no such deletion")
    return found


def fetch_zip(*, by: Caller, zip_id: UUID) -> Selection:
    """One whose file is there, to be sent. Raises `NotAllowed`, `NotFound`."""
    found = get_selection(by=by, act=Act.ZIP, selection_id=zip_id)
    if not _is_there(found):
        raise NotFound("no such zip")
    return found


def zip_url(selection: Selection) -> str | None:
    """Where its file is served, while it is there."""
    return f"{settings.STUDIO_URL}/files/zips/{selection.pk}" if _is_there(selection) else None


# ---- the errands' side: in the tenant's scope, under the worker's role


def delete_some(selection: Selection, *, most: int) -> bool:
    """Delete the next of a deletion's generations and write down that they are gone; whether more are to come.

    Runs in one transaction with the caller's lock on the row, so what the row says and what is there never differ.
    """
    batch, rest = selection.ids[:most], selection.ids[most:]
    left = remove_ended(batch).left
    selection.ids, selection.left = rest, selection.left + left
    selection.done += len(batch) - left
    selection.status = SelectionStatus.RUNNING if rest else SelectionStatus.DONE
    selection.finished_at = None if rest else timezone.now()
    selection.save(update_fields=["ids", "left", "done", "status", "finished_at"])
    return bool(rest)


def begin_zip(selection_id: UUID) -> Selection | None:
    """The row of a zip that is still to be made."""
    rows = Selection.objects.filter(pk=selection_id, act=Act.ZIP, status__in=UNDER_WAY)
    rows.update(status=SelectionStatus.RUNNING, done=0)
    found: Selection | None = rows.first()
    return found


def note_progress(selection_id: UUID, *, done: int) -> None:
    """How many of the pictures are in the file."""
    Selection.objects.filter(pk=selection_id).update(done=done)


def finish_zip(selection_id: UUID, *, file: str, size: int, done: int, ids: Sequence[UUID]) -> bool:
    """The file is there: it stays for a day, or until its owner has `MOST_UNDER_WAY` newer ones.

    `ids` are the generations whose pictures are in it. False where one of them was deleted meanwhile: then nothing is
    changed, and the file is not to stay.
    """
    now = timezone.now()
    with transaction.atomic():
        # Generations before selections, as everybody who deletes.
        if len(fetch_all(_HOLD_SQL, ids=list(ids))) < len(ids):
            return False
        row = Selection.objects.select_for_update().filter(pk=selection_id, status__in=UNDER_WAY).first()
        if row is None:  # another worker has made it meanwhile
            return True
        row.status, row.file, row.bytes, row.done = SelectionStatus.READY, file, size, done
        row.ids, row.finished_at, row.expires_at = list(ids), now, now + KEPT
        row.save()
        kept = Selection.objects.filter(
            act=Act.ZIP, status=SelectionStatus.READY, requested_by=row.requested_by
        ).order_by("-created_at", "-id")
        for old in kept[MOST_UNDER_WAY:]:
            _expire_at(old, now)
        _expire_at(row, row.expires_at)
    return True


def fail_selection(selection_id: UUID, reason: str) -> None:
    """It cannot be done."""
    rows = Selection.objects.filter(pk=selection_id, status__in=UNDER_WAY)
    rows.update(status=SelectionStatus.FAILED, error=reason[:200], finished_at=timezone.now(), ids=[])


def expire_zip(selection_id: UUID) -> None:
    """Its file is gone."""
    ended = (SelectionStatus.FAILED, SelectionStatus.WITHDRAWN)
    rows = Selection.objects.filter(pk=selection_id, act=Act.ZIP).exclude(status__in=ended)
    rows.update(file="", status=SelectionStatus.EXPIRED, ids=[])


def forget_selections() -> int:
    """Delete the rows of what was over a month ago; under the worker's role."""
    return execute(_FORGET_SQL, days=FORGOTTEN_DAYS)


def _require(by: Caller, act: Act) -> None:
    by.require(Right.SEE_IMAGES if act == Act.ZIP else Right.MAKE_IMAGES)


def _own_rows(by: Caller, act: Act) -> Any:
    # Without what was selected: ten thousand ids are of no use to who asks how far it is.
    return Selection.objects.filter(act=act, requested_by=by.user).defer("ids")


def _own(ids: Sequence[UUID]) -> list[UUID]:
    found = [row["id"] for row in fetch_all(_OWN_SQL, ids=list(ids))]  # the scope's policy sees to whose
    if not found:
        raise GenerationNotFound
    return found


def _take_turn(by: Caller, act: Act) -> None:
    """Raise `SelectionUnderWay` where a member has enough of a kind under way."""
    # Two clicks at once are counted one after the other.
    execute(_TURN_SQL, name=f"selections:{by.tenant}:{by.user}")
    under_way = list(_own_rows(by, act).filter(status__in=UNDER_WAY).values_list("pk", flat=True))
    errands = Errand.objects.filter(kind=KINDS[act], ref__in=under_way, failed_at=None)
    alive = set(errands.values_list("ref", flat=True)) if under_way else set()
    for dead in set(under_way) - alive:
        fail_selection(dead, "it was interrupted too often")
    if len(alive) >= MOST_UNDER_WAY:
        raise SelectionUnderWay


def _begin(by: Caller, act: Act, *, ids: list[UUID], total: int) -> Selection:
    row: Selection = Selection.objects.create(tenant_id=by.tenant, act=act, requested_by=by.user, ids=ids, total=total)
    return row


def _expire_at(row: Selection, moment: Any) -> None:
    add_errand(kind=ErrandKind.ZIP, ref=row.pk, data={"expire": True}, tenant=row.tenant_id, due_at=moment)


def _is_there(row: Selection) -> bool:
    ready = row.act == Act.ZIP and row.status == SelectionStatus.READY
    return ready and row.expires_at is not None and row.expires_at > timezone.now()

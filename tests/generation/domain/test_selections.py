"""Zips and deletions of many: one's own, resumable at any line, in bounded memory, gone when their time is over."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.domain import errands
from accounts.domain.callers import caller_of_member
from accounts.domain.closing import ask_deletion
from accounts.domain.errands import claim_errand, run_errand
from accounts.enums import ErrandKind, Role
from accounts.errors import InvalidRequest, NotAllowed, NotFound
from accounts.models import AuditEvent, Errand, Membership, Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain import (
    deletions,
    pace,
    selections,
    zips,
)
from generation.domain.selections import (
    MAX_IDS,
    check_ids,
    fetch_zip,
    forget_selections,
    get_selection,
    list_selections,
    read_ids,
    request_deletion,
    request_zip,
)
from generation.domain.storage import janitor
from generation.enums import Act
from generation.errors import GenerationNotFound, NoPictures, SelectionUnderWay
from generation.models import Generation, Image, Selection
from tests.accounts.domain.test_locks import SQL, Meanwhile, in_scope, meanwhile
from tests.factories import Person, make_member
from tests.generation.domain.desk import Look, check_books, claim, draw, submit
from tests.generation.domain.test_export import drawn

AsWorker = Callable[[], AbstractContextManager[None]]


def zip_of(person: Person, *ids: UUID) -> UUID:
    with in_tenant(person.tenant.pk):
        return UUID(str(request_zip(by=person.caller, ids=ids).pk))


def delete(person: Person, *ids: UUID) -> Selection:
    with in_tenant(person.tenant.pk):
        return request_deletion(by=person.caller, ids=ids)


def work(as_worker: AsWorker, *, slow: bool | None = True) -> list[str]:
    with as_worker():
        found = []
        while (claimed := claim_errand("test", slow=slow)) is not None:
            found.append(run_errand(claimed))
        return found


def row_of(selection: UUID) -> Selection:
    with across_tenants():
        row: Selection = Selection.objects.get(pk=selection)
        return row


def files(media: Path) -> list[str]:
    return sorted(path.relative_to(media).as_posix() for path in media.rglob("*") if path.is_file())


# ---- zips


def test_a_zip_has_the_pictures_and_nothing_else(
    alice: Person, bob: Person, mallory: Person, media: Path, as_worker: AsWorker
) -> None:
    first = drawn(alice, media, as_worker, n=2, data=b"one")
    second = drawn(bob, media, as_worker, data=b"two")  # a colleague's: members share their pictures
    theirs = drawn(mallory, media, as_worker, data=b"theirs")
    waiting = submit(alice.caller)
    asked = zip_of(alice, second, first, waiting, theirs, uuid4(), first)
    assert (row_of(asked).status, row_of(asked).total) == ("waiting", 3)
    assert work(as_worker) == ["done"]
    row = row_of(asked)
    assert (row.status, row.done, sorted(row.ids)) == ("ready", 3, sorted([first, second]))  # what is in it
    with zipfile.ZipFile(media / row.file) as bundle:
        assert bundle.testzip() is None
        assert [info.compress_type for info in bundle.infolist()] == [zipfile.ZIP_STORED] * 3
        assert sorted(bundle.read(name) for name in bundle.namelist()) == [b"one", b"one", b"two"]
        ends = {name.rsplit("-", 2)[-2] + "-" + name.rsplit("-", 1)[-1] for name in bundle.namelist()}
    assert ends == {f"{first.hex[-12:]}-1.png", f"{first.hex[-12:]}-2.png", f"{second.hex[-12:]}-1.png"}
    assert (media / row.file).stat().st_size == row.bytes
    assert row.file == f"{alice.tenant.pk}/zips/{asked}/pictures.zip"


def test_ids_that_are_not_ones_own_are_like_none(
    alice: Person, mallory: Person, media: Path, as_worker: AsWorker
) -> None:
    theirs = drawn(mallory, media, as_worker)
    gone = drawn(alice, media, as_worker)
    delete(alice, gone)
    for ids in ([theirs], [gone], [uuid4()], [theirs, gone]):
        for act in (request_zip, request_deletion):
            with in_tenant(alice.tenant.pk), pytest.raises(GenerationNotFound):
                act(by=alice.caller, ids=ids)
    with in_tenant(alice.tenant.pk):
        waiting = submit(alice.caller)
        with pytest.raises(NoPictures):
            request_zip(by=alice.caller, ids=[waiting])
        assert Selection.objects.filter(act=Act.ZIP).count() == 0
    with in_tenant(mallory.tenant.pk):
        assert Generation.objects.filter(pk=theirs).exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "ids"), ({"ids": []}, "ids"), ({"ids": "x"}, "ids"), ({"ids": [1]}, "ids"), ({"ids": None}, "ids"),
     ({"ids": ["x"], "all": True}, "all"), ({"ids": [str(UUID(int=n)) for n in range(MAX_IDS + 1)]}, "ids")],
)  # fmt: skip
def test_bodies_are_read_strictly(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_ids(body)
    assert refused.value.field == field
    if len(body.get("ids") or []) > 1:
        assert "1 to 10000" in refused.value.message and "10001" in refused.value.message


def test_ten_thousand_ids_are_taken_and_each_counts_once(alice: Person, media: Path, as_worker: AsWorker) -> None:
    there = drawn(alice, media, as_worker)
    ids = [str(UUID(int=n)) for n in range(MAX_IDS - 2)] + ["no id", str(there)]
    assert len(check_ids(read_ids({"ids": ids}))) == MAX_IDS - 1  # "no id" is the nobody that is among them already
    asked = zip_of(alice, *read_ids({"ids": ids}))
    assert row_of(asked).total == 1


def test_a_zip_of_too_many_pictures_is_refused(
    alice: Person, media: Path, as_worker: AsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selections, "MAX_IMAGES", 2)
    ids = [drawn(alice, media, as_worker, n=n) for n in (1, 2)]
    with in_tenant(alice.tenant.pk), pytest.raises(InvalidRequest, match="3 pictures, one zip has 2 at most"):
        request_zip(by=alice.caller, ids=ids)
    assert row_of(zip_of(alice, ids[1])).total == 2


def test_three_at_a_time_and_the_newest_three_are_kept(
    alice: Person, bob: Person, media: Path, as_worker: AsWorker
) -> None:
    picture = drawn(alice, media, as_worker)
    first = [zip_of(alice, picture) for _ in range(3)]
    with in_tenant(alice.tenant.pk), pytest.raises(SelectionUnderWay):
        request_zip(by=alice.caller, ids=[picture])
    zip_of(bob, picture)  # another member's are counted apart
    with across_tenants():
        Errand.objects.filter(ref=first[0]).update(failed_at=timezone.now())  # its worker was lost eight times
    fourth = zip_of(alice, picture)
    assert row_of(first[0]).status == "failed"
    work(as_worker)
    fifth = zip_of(alice, picture)
    work(as_worker)
    assert [row_of(id).status for id in (*first, fourth, fifth)] == ["failed", "expired", "ready", "ready", "ready"]
    assert len(files(media / str(alice.tenant.pk) / "zips")) == 3 + 1


def test_a_day_ends_it(alice: Person, media: Path, as_worker: AsWorker) -> None:
    asked = zip_of(alice, drawn(alice, media, as_worker))
    with in_tenant(alice.tenant.pk), pytest.raises(NotFound):
        fetch_zip(by=alice.caller, zip_id=asked)  # not ready
    work(as_worker)
    row = row_of(asked)
    assert row.expires_at is not None and timedelta(hours=23) < row.expires_at - timezone.now() <= timedelta(days=1)
    with in_tenant(alice.tenant.pk):
        assert fetch_zip(by=alice.caller, zip_id=asked).pk == asked
    with across_tenants():
        Selection.objects.filter(pk=asked).update(expires_at=timezone.now())
    with in_tenant(alice.tenant.pk), pytest.raises(NotFound):
        fetch_zip(by=alice.caller, zip_id=asked)  # not a second longer
    with across_tenants():
        Errand.objects.filter(kind=ErrandKind.ZIP).update(due_at=timezone.now())
    assert work(as_worker) == ["done"]
    assert row_of(asked).status == "expired" and not (media / row.file).parent.exists()
    with across_tenants():
        Selection.objects.filter(pk=asked).update(created_at=timezone.now() - timedelta(days=31))
    with as_worker():
        assert forget_selections() == 1


def test_only_its_owner_sees_it(alice: Person, bob: Person, mallory: Person, media: Path, as_worker: AsWorker) -> None:
    viewer = make_member(alice.tenant, Role.VIEWER)
    looking = caller_of_member(user_id=viewer.pk, tenant_id=alice.tenant.pk)
    picture = drawn(alice, media, as_worker)
    asked = zip_of(alice, picture)
    work(as_worker)
    for person in (bob, mallory):
        with in_tenant(person.tenant.pk):
            with pytest.raises(NotFound):
                fetch_zip(by=person.caller, zip_id=asked)
            with pytest.raises(NotFound):
                get_selection(by=person.caller, act=Act.ZIP, selection_id=asked)
            assert list_selections(by=person.caller, act=Act.ZIP, cursor=None, limit=9).results == []
    with in_tenant(alice.tenant.pk):
        with pytest.raises(NotFound):
            get_selection(by=alice.caller, act=Act.DELETE, selection_id=asked)  # a zip is no deletion
        assert request_zip(by=looking, ids=[picture]).total == 1  # who may look may take along
        with pytest.raises(NotAllowed):
            request_deletion(by=looking, ids=[picture])


def test_memory_does_not_grow_with_the_pictures(alice: Person, media: Path, as_worker: AsWorker) -> None:
    asked = zip_of(alice, drawn(alice, media, as_worker, data=b"\x00" * 40_000_000, n=2))
    tracemalloc.start()
    try:
        assert work(as_worker) == ["done"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert row_of(asked).bytes > 80_000_000
    assert peak < 10_000_000, f"{peak:,} bytes"


def test_a_zip_that_breaks_is_made_again_and_then_given_up(
    alice: Person, media: Path, as_worker: AsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = zip_of(alice, drawn(alice, media, as_worker))

    def break_down(*args: object, **kwargs: object) -> int:
        raise OSError("disk")

    monkeypatch.setattr(zips, "write_pictures", break_down)
    assert work(as_worker) == ["retry"]
    assert row_of(asked).status == "running"
    assert files(media / str(alice.tenant.pk) / "zips") == []
    with across_tenants():
        Errand.objects.update(attempt=errands.MAX_ATTEMPTS - 1, due_at=timezone.now())
    assert work(as_worker) == ["failed"]
    assert row_of(asked).status == "failed" and "our side" in row_of(asked).error
    monkeypatch.undo()
    disk = pace.shutil.disk_usage("/")  # copies leave a fiftieth of the disk to new pictures
    monkeypatch.setattr(pace.shutil, "disk_usage", lambda _: disk._replace(total=50 * 10**9, free=10**9))
    asked = zip_of(alice, drawn(alice, media, as_worker))
    assert work(as_worker) == ["done"]
    assert row_of(asked).status == "failed" and "no room" in row_of(asked).error


def test_what_a_killed_worker_left_goes(alice: Person, media: Path, as_worker: AsWorker) -> None:
    asked = zip_of(alice, drawn(alice, media, as_worker))
    folder = media / str(alice.tenant.pk) / "zips" / str(asked)
    folder.mkdir(parents=True)
    (folder / ".0123456789abcdef.tmp").write_bytes(b"half")
    work(as_worker)
    assert [path.name for path in folder.iterdir()] == ["pictures.zip"]


def test_pictures_that_went_meanwhile_are_left_out(alice: Person, media: Path, as_worker: AsWorker) -> None:
    kept, gone = drawn(alice, media, as_worker), drawn(alice, media, as_worker)
    asked = zip_of(alice, kept, gone)
    delete(alice, gone)
    assert work(as_worker) == ["done"]
    assert (row_of(asked).status, row_of(asked).done, row_of(asked).total) == ("ready", 1, 2)


# ---- deletions


def test_a_few_are_gone_at_once(alice: Person, bob: Person, media: Path, as_worker: AsWorker, look: Look) -> None:
    ids = [drawn(alice, media, as_worker, n=2), drawn(bob, media, as_worker)]
    kept = drawn(alice, media, as_worker)
    waiting = submit(alice.caller)
    asked = delete(alice, *ids, waiting, uuid4())
    assert (asked.status, asked.done, asked.left, asked.total, asked.ids) == ("done", 2, 1, 3, [])
    assert {row[0] for row in look("SELECT id FROM generation_generation")} == {kept, waiting}
    assert look("SELECT count(*) FROM generation_image") == look("SELECT count(*) FROM generation_receipt") == [(1,)]
    assert len(files(media)) == 2 + 6  # the files go with an errand
    assert work(as_worker, slow=False) == ["done"]
    assert len(files(media)) == 2
    check_books(look)
    with in_tenant(alice.tenant.pk):
        events = AuditEvent.objects.filter(action="pictures.selected")
        assert [event.detail for event in events] == [{"generations": 3}]


def test_many_go_by_an_errand_that_goes_on_where_it_was(
    alice: Person, media: Path, as_worker: AsWorker, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selections, "AT_ONCE", 2)
    monkeypatch.setattr(deletions, "BATCH", 2)
    ids = [drawn(alice, media, as_worker) for _ in range(7)]
    asked = delete(alice, *ids)
    assert asked.status == "waiting" and look("SELECT count(*) FROM generation_generation") == [(7,)]

    real, calls = selections.remove_ended, []

    def dies_in_the_third(batch: Any) -> Any:
        found = real(batch)
        calls.append(batch)
        if len(calls) == 3:
            raise OSError("the machine")  # rows were removed, nothing was committed
        return found

    monkeypatch.setattr(selections, "remove_ended", dies_in_the_third)
    assert work(as_worker) == ["retry"]
    row = row_of(asked.pk)
    assert (row.status, row.done, len(row.ids)) == ("running", 4, 3)
    there = {found[0] for found in look("SELECT id FROM generation_generation")}
    assert there == set(row.ids)  # the row says exactly what is still there
    monkeypatch.setattr(selections, "remove_ended", real)
    with across_tenants():
        Errand.objects.update(due_at=timezone.now())
    assert work(as_worker) == ["done"]
    row = row_of(asked.pk)
    assert (row.status, row.done, row.left, row.ids) == ("done", 7, 0, [])
    assert look("SELECT count(*) FROM generation_generation") == [(0,)]
    work(as_worker, slow=False)
    assert files(media) == []
    assert look("SELECT stored_bytes FROM accounts_tenant WHERE id = %s", alice.tenant.pk) == [(0,)]
    check_books(look)


def test_a_crash_between_rows_and_files_leaves_no_orphan(
    alice: Person, media: Path, as_worker: AsWorker, look: Look
) -> None:
    """Rows and the errand for their files are one transaction; whatever dies later, the errand does it again."""
    delete(alice, *[drawn(alice, media, as_worker) for _ in range(3)])
    with as_worker():
        claimed = claim_errand("dies", slow=False)  # and is never heard of again
        assert claimed is not None and claimed.kind == "delete_files"
        look("UPDATE accounts_errand SET lease_until = now() - interval '1 second' RETURNING 1")
        (media / claimed.data["paths"][0]).unlink()  # it had begun
    assert work(as_worker, slow=False) == ["done"]
    assert files(media) == []
    with as_worker():
        assert janitor(older_than_s=0, delete=False).orphans == ()


def test_a_file_without_a_row_is_the_janitors(alice: Person, media: Path, as_worker: AsWorker) -> None:
    asked = zip_of(alice, drawn(alice, media, as_worker))
    work(as_worker)
    with as_worker():
        report = janitor(older_than_s=0)
    assert report.orphans == () and (media / row_of(asked).file).exists()  # a zip is none of its business


def test_what_cannot_be_deleted_is_said(
    alice: Person, media: Path, as_worker: AsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selections, "AT_ONCE", 0)
    asked = delete(alice, drawn(alice, media, as_worker))

    def break_down(*args: object) -> object:
        raise OSError("disk")

    monkeypatch.setattr(selections, "remove_ended", break_down)
    with across_tenants():
        Errand.objects.filter(ref=asked.pk).update(attempt=errands.MAX_ATTEMPTS - 1)
    assert work(as_worker) == ["failed"]
    assert row_of(asked.pk).status == "failed"
    with across_tenants():
        assert Generation.objects.count() == 1 and Image.objects.count() == 1


def test_running_ones_are_left_and_go_when_they_have_ended(
    alice: Person, media: Path, as_worker: AsWorker, look: Look
) -> None:
    running = submit(alice.caller)
    with as_worker():
        taken = claim()
        assert taken is not None
    asked = delete(alice, running)
    assert (asked.done, asked.left) == (0, 1)
    with as_worker():
        from generation.domain.finish import finish_slice

        assert finish_slice(row=taken.rows[0], images=draw(taken.rows[0]), run_ms=1.0) == "finished"
    assert delete(alice, running).done == 1
    check_books(look)


def test_of_a_tenant_that_ends_nothing_stays(alice: Person, media: Path, as_worker: AsWorker, look: Look) -> None:
    from generation.domain.erase import tenant_tables

    asked, waits = (zip_of(alice, drawn(alice, media, as_worker)) for _ in range(2))
    with across_tenants():
        Errand.objects.filter(ref=waits).update(due_at=timezone.now() + timedelta(days=1))
    work(as_worker)
    assert (media / row_of(asked).file).is_file()
    assert ("generation_selection", "tenant_id") in tenant_tables()
    with in_tenant(alice.tenant.pk):
        ask_deletion(by=alice.caller, confirm=alice.tenant.name)
    with across_tenants():
        Tenant.objects.update(delete_after=timezone.now() - timedelta(seconds=1))
        Errand.objects.filter(kind=ErrandKind.DELETE_TENANT).update(due_at=timezone.now())
    assert work(as_worker) == ["done", "done"]
    assert look("SELECT count(*) FROM generation_selection") == look("SELECT count(*) FROM accounts_tenant") == [(0,)]
    assert files(media) == []


# ---- at the same moment


def test_two_who_ask_at_once_are_counted_one_after_the_other(
    alice: Person, media: Path, as_worker: AsWorker, admin_sql: SQL
) -> None:
    picture = drawn(alice, media, as_worker)
    for _ in range(2):
        zip_of(alice, picture)
    other = Meanwhile(admin_sql, in_scope(alice, request_zip, by=alice.caller, ids=[picture]))
    with in_tenant(alice.tenant.pk), transaction.atomic():
        request_zip(by=alice.caller, ids=[picture])
        other.until_it_waits()
    other.join()
    assert isinstance(other.error, SelectionUnderWay)


def test_who_deletes_and_invites_at_once_waits_and_never_in_a_circle(
    alice: Person, media: Path, as_worker: AsWorker, admin_sql: SQL, look: Look
) -> None:
    """Invitations take the tenant and then the member who invites; a deletion ends with the tenant's storage."""
    picture = drawn(alice, media, as_worker)
    with (
        meanwhile(admin_sql, in_scope(alice, request_deletion, by=alice.caller, ids=[picture])) as other,
        in_tenant(alice.tenant.pk),
        transaction.atomic(),
    ):
        Tenant.objects.select_for_update(no_key=True).get(pk=alice.tenant.pk)
        other.until_it_waits()
        Membership.objects.select_for_update().get(tenant=alice.tenant, user=alice.user)
    assert look("SELECT count(*) FROM generation_generation") == [(0,)]

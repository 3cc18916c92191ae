"""A picture that is deleted is in no zip, whoever deletes it and whatever dies meanwhile."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.domain.errands import add_errand, claim_errand
from accounts.enums import ErrandKind
from accounts.errors import NotFound
from accounts.models import Errand, Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain import zips
from generation.domain.remove import remove_generation
from generation.domain.retention import ask_retention
from generation.domain.selections import fetch_zip, finish_zip, forget_selections
from generation.domain.storage import janitor
from generation.domain.sweep import sweep
from generation.models import Generation, Selection
from tests.accounts.domain.test_locks import SQL, Meanwhile, in_scope
from tests.factories import Person
from tests.generation.domain.desk import Look
from tests.generation.domain.test_export import drawn
from tests.generation.domain.test_selections import AsWorker, delete, files, row_of, work, zip_of


def remove_one(person: Person, id: UUID) -> None:
    with in_tenant(person.tenant.pk):
        remove_generation(id)


def keep_no_longer(person: Person, id: UUID) -> None:
    with across_tenants():
        Tenant.objects.filter(pk=person.tenant.pk).update(limits={"retention_days": 1})
        old = timezone.now() - timedelta(days=2)
        Generation.objects.filter(pk=id).update(created_at=old, finished_at=old)
    assert ask_retention() == 1


def end_account(person: Person, id: UUID) -> None:
    with across_tenants():
        Generation.objects.exclude(pk=id).update(user=None)
    with in_tenant(person.tenant.pk):
        add_errand(kind=ErrandKind.DELETE_PICTURES, ref=person.user.pk, tenant=person.tenant.pk)


@pytest.mark.parametrize("way", [remove_one, delete, keep_no_longer, end_account])
def test_a_picture_that_is_deleted_takes_its_zips_along(
    alice: Person,
    bob: Person,
    mallory: Person,
    media: Path,
    as_worker: AsWorker,
    look: Look,
    way: Callable[[Person, UUID], object],
) -> None:
    gone, kept = drawn(alice, media, as_worker), drawn(alice, media, as_worker)
    theirs = drawn(mallory, media, as_worker)
    with_it = [zip_of(alice, gone, kept), zip_of(bob, gone)]  # a colleague's too
    without = [zip_of(alice, kept), zip_of(mallory, theirs)]
    work(as_worker)
    names = {id: row_of(id).file for id in (*with_it, *without)}
    assert all((media / name).is_file() for name in names.values())

    with as_worker():
        way(alice, gone)
    work(as_worker)  # retention's and the account's errand
    assert look("SELECT count(*) FROM generation_generation WHERE id = %s", gone) == [(0,)]
    for person, id in zip((alice, bob), with_it, strict=True):  # at once, whatever becomes of the files
        row = row_of(id)
        assert (row.status, row.file, row.ids, row.expires_at) == ("withdrawn", "", [], None)
        assert "were deleted; ask for it anew" in row.error
        with in_tenant(person.tenant.pk), pytest.raises(NotFound):
            fetch_zip(by=person.caller, zip_id=id)
    assert [row_of(id).status for id in without] == ["ready", "ready"]

    with as_worker():  # the errand's worker dies in the middle, and the sweep wakes another one
        claimed = claim_errand("dies", slow=False)
        assert claimed is not None and claimed.kind == "delete_files"
        assert {names[id] for id in with_it} <= set(claimed.data["paths"])
        look(
            "UPDATE accounts_errand SET lease_until = now() - interval '1 second' WHERE id = %s RETURNING 1", claimed.id
        )
        assert sweep().errands_due >= 1
    work(as_worker, slow=False)
    assert [(media / names[id]).exists() for id in (*with_it, *without)] == [False, False, True, True]

    with across_tenants():
        Errand.objects.filter(kind=ErrandKind.ZIP).update(due_at=timezone.now())  # their day is over
    work(as_worker)
    assert [row_of(id).status for id in (*with_it, *without)] == ["withdrawn", "withdrawn", "expired", "expired"]
    with across_tenants():
        Selection.objects.update(created_at=timezone.now() - timedelta(days=31))
    with as_worker():
        forget_selections()
    assert look("SELECT count(*) FROM generation_selection") == [(0,)]


def test_a_deletion_that_is_rolled_back_leaves_the_zip(alice: Person, media: Path, as_worker: AsWorker) -> None:
    picture = drawn(alice, media, as_worker)
    asked = zip_of(alice, picture)
    work(as_worker)
    with suppress(ZeroDivisionError), in_tenant(alice.tenant.pk), transaction.atomic():
        remove_generation(picture)
        assert row_of(asked).status == "withdrawn"
        raise ZeroDivisionError  # the process dies before the commit
    assert row_of(asked).status == "ready" and (media / row_of(asked).file).is_file()
    assert work(as_worker, slow=False) == []


def test_a_zip_that_does_not_say_what_it_holds_goes_with_any_picture(
    alice: Person, mallory: Person, media: Path, as_worker: AsWorker
) -> None:
    picture, other = drawn(alice, media, as_worker), drawn(alice, media, as_worker)
    asked, theirs = zip_of(alice, picture), zip_of(mallory, drawn(mallory, media, as_worker))
    work(as_worker)
    with across_tenants():
        Selection.objects.update(ids=[])  # as the release before wrote it
    delete(alice, other)
    assert (row_of(asked).status, row_of(theirs).status) == ("withdrawn", "ready")


def test_a_picture_that_goes_while_its_zip_is_made_is_not_in_it(
    alice: Person, media: Path, as_worker: AsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = drawn(alice, media, as_worker, data=b"gone"), drawn(alice, media, as_worker, data=b"kept")
    asked, real, tries = zip_of(alice, gone, kept), zips.write_pictures, []

    def deleted_meanwhile(*args: Any, **kwargs: Any) -> zips.Written:
        written = real(*args, **kwargs)
        tries.append(written.images)
        if len(tries) == 1:  # it is in the file already
            remove_one(alice, gone)
            work(as_worker, slow=False)
        return written

    monkeypatch.setattr(zips, "write_pictures", deleted_meanwhile)
    assert work(as_worker) == ["done"]
    assert tries == [2, 1]
    row = row_of(asked)
    assert (row.status, row.done, row.ids) == ("ready", 1, [kept])
    with zipfile.ZipFile(media / row.file) as bundle:
        assert [bundle.read(name) for name in bundle.namelist()] == [b"kept"]


def test_a_zip_whose_pictures_are_all_gone_is_none(alice: Person, media: Path, as_worker: AsWorker) -> None:
    picture = drawn(alice, media, as_worker)
    asked = zip_of(alice, picture)
    remove_one(alice, picture)
    assert work(as_worker) == ["done"]
    assert (row_of(asked).status, row_of(asked).error) == ("failed", "its pictures were deleted")
    assert files(media / str(alice.tenant.pk) / "zips") == []


def test_who_finishes_a_zip_and_who_deletes_from_it_wait_for_each_other(
    alice: Person, media: Path, as_worker: AsWorker, admin_sql: SQL
) -> None:
    picture = drawn(alice, media, as_worker)
    first, second = zip_of(alice, picture), zip_of(alice, picture)

    def finish(id: UUID) -> bool:
        return finish_zip(id, file=f"{alice.tenant.pk}/zips/{id}/pictures.zip", size=1, done=1, ids=[picture])

    other = Meanwhile(admin_sql, in_scope(alice, lambda: remove_generation(picture)))
    with in_tenant(alice.tenant.pk), transaction.atomic():
        assert finish(first)
        other.until_it_waits()
    other.join()
    assert row_of(first).status == "withdrawn"  # it had become ready while the deletion waited
    with in_tenant(alice.tenant.pk):
        assert not finish(second)
    assert row_of(second).status == "waiting"


def test_the_janitor_deletes_zips_that_no_row_names(alice: Person, media: Path, as_worker: AsWorker) -> None:
    ready, waits, lost = (zip_of(alice, drawn(alice, media, as_worker)) for _ in range(3))
    with across_tenants():
        Errand.objects.filter(ref__in=[waits, lost]).delete()
    work(as_worker)
    with in_tenant(alice.tenant.pk):
        add_errand(kind=ErrandKind.ZIP, ref=waits, tenant=alice.tenant.pk)  # another try will come
    left = [f"{alice.tenant.pk}/zips/{id}/pictures.zip" for id in (ready, waits, lost)]
    for name in left[1:]:  # a worker was killed between writing and finishing
        (media / name).parent.mkdir(parents=True)
        (media / name).write_bytes(b"PK")
    with as_worker():
        assert janitor(older_than_s=0).orphans == (left[2],)
    assert [(media / name).exists() for name in left] == [True, True, False]

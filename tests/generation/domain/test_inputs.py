"""Stored inputs where the whole house must know them: janitor, storage, export, two at once."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection

from accounts.domain.errands import claim_errand, run_errand
from accounts.domain.exports import request_export
from accounts.errors import QuotaExceeded
from accounts.models import Export
from accounts.tenancy import across_tenants, in_tenant
from generation.domain import inputs
from generation.domain.cancel import cancel_generation
from generation.domain.catalog import find_model, spec_of
from generation.domain.inputends import forget_unused_inputs
from generation.domain.remove import remove_generation
from generation.domain.request import GenerationRequest
from generation.domain.sources import Source
from generation.domain.storage import janitor
from generation.domain.stored import rebuild_stored
from generation.domain.submit import submit_generation
from generation.errors import InputNotFound
from generation.models import InputFile, InputUse, Model
from qwenstudio.backup.database import NAMED_SQL
from tests.factories import Person
from tests.generation.domain.desk import Look, check_books
from tests.pictures import png

AsWorker = Callable[[], AbstractContextManager[None]]
RED = Source(data=png())


@pytest.fixture(autouse=True)
def _image_to_image(db: None) -> None:
    row = Model.objects.get(slug="demo")
    Model.objects.filter(slug="demo").update(spec=row.spec | {"tasks": ["text-to-image", "image-to-image"]})


def draw_from(person: Person, *images: Source) -> UUID:
    request = GenerationRequest(model="demo", prompt="a red circle", image=images or (RED,))
    with in_tenant(person.tenant.pk):
        return submit_generation(caller=person.caller, request=request).id


def end(person: Person, *ids: UUID) -> None:
    with in_tenant(person.tenant.pk):
        for id in ids:
            cancel_generation(id)


def kept(person: Person) -> list[InputFile]:
    with in_tenant(person.tenant.pk):
        return list(InputFile.objects.order_by("created_at"))


def test_the_janitor_knows_them(alice: Person, media: Path, as_worker: AsWorker) -> None:
    draw_from(alice)
    [row] = kept(alice)
    orphan = f"{alice.tenant.pk}/inputs/{row.tenant_id}.png"
    (media / orphan).write_bytes(b"of a process that was killed")
    with as_worker():
        report = janitor(older_than_s=0)
    assert (report.orphans, report.missing) == ((orphan,), ())
    assert (media / row.file).exists() and not (media / orphan).exists()
    (media / row.file).unlink()
    with as_worker():
        assert janitor(older_than_s=0).missing == (row.file,)


def test_storage_is_counted_anew_with_them(alice: Person, look: Look) -> None:
    draw_from(alice)
    [row] = kept(alice)
    look("UPDATE accounts_tenant SET stored_bytes = 7 WHERE id = %s RETURNING 1", alice.tenant.pk)
    with across_tenants():
        assert rebuild_stored(alice.tenant.pk) == 7 - row.bytes
    check_books(look)


def test_backups_name_their_files(alice: Person, admin_sql: psycopg.Connection[tuple[Any, ...]]) -> None:
    draw_from(alice)
    [row] = kept(alice)
    assert (row.file, row.bytes, row.sha256) in admin_sql.execute(NAMED_SQL).fetchall()


def test_exports_hold_them(alice: Person, mallory: Person, media: Path, as_worker: AsWorker) -> None:
    draw_from(alice)
    draw_from(mallory, Source(data=png(colour="blue")))
    with in_tenant(alice.tenant.pk):
        request_export(by=alice.caller)
    with as_worker():
        claimed = claim_errand("test")
        while claimed is not None:
            run_errand(claimed)
            claimed = claim_errand("test")
    with in_tenant(alice.tenant.pk):
        export = Export.objects.get()
    [row] = kept(alice)
    with zipfile.ZipFile(media / export.file) as bundle:
        assert bundle.read(f"inputs/{row.pk}.png") == (media / row.file).read_bytes()
        assert str(kept(mallory)[0].pk) not in "".join(bundle.namelist())
        assert row.sha256 in bundle.read("inputs.jsonl").decode()


def test_what_goes_between_the_look_and_the_submit_is_not_found(
    alice: Person, media: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last generation is deleted while another request, by its id, is being taken."""
    first = draw_from(alice)
    [row] = kept(alice)
    end(alice, first)
    prepare = inputs._prepare

    def deleted_meanwhile(*args: Any, **more: Any) -> Any:
        found = prepare(*args, **more)
        remove_generation(first)
        return found

    monkeypatch.setattr(inputs, "_prepare", deleted_meanwhile)
    with pytest.raises(InputNotFound):
        draw_from(alice, Source(id=row.pk))
    assert kept(alice) == []
    check_books(look)


def test_one_that_is_sent_again_outlives_its_last_generation(alice: Person, media: Path, look: Look) -> None:
    """The same bytes are being submitted while the only generation that used them is deleted."""
    first = draw_from(alice)
    [row] = kept(alice)
    end(alice, first)
    store = inputs._store

    def deleted_meanwhile(*args: Any) -> Any:
        found = store(*args)
        with in_tenant(alice.tenant.pk):
            remove_generation(first)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "_store", deleted_meanwhile)
        second = draw_from(alice)
    assert [one.pk for one in kept(alice)] == [row.pk] and (media / row.file).exists()
    end(alice, second)
    with in_tenant(alice.tenant.pk):
        remove_generation(second)
    assert kept(alice) == []
    check_books(look)


def test_many_at_once_keep_one(alice: Person, media: Path, look: Look) -> None:
    errors: list[BaseException] = []

    def send() -> None:
        try:
            draw_from(alice)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    [row] = kept(alice)
    assert [path.name for path in media.rglob("*.png")] == [f"{row.pk}.png"]
    with in_tenant(alice.tenant.pk):
        assert InputUse.objects.filter(input=row).count() == 6
    assert row.unused_since is None
    check_books(look)


def refuse_after_another(prepared: inputs.PreparedInputs, person: Person) -> None:
    with inputs.kept(prepared, person.caller):
        pass
    raise QuotaExceeded("no", limit="images_per_day", retry_after_s=1)


def test_a_refused_one_takes_nothing_that_another_has_asked_for(alice: Person, media: Path, look: Look) -> None:
    """Two send the same new picture; the first is refused after the second has found it."""
    with in_tenant(alice.tenant.pk):
        request = GenerationRequest(model="demo", prompt="x", image=(RED,))
        prepared = inputs.prepare_inputs(request, spec_of(find_model("demo", alice.caller)))
        with pytest.raises(QuotaExceeded), inputs.kept(prepared, alice.caller):
            refuse_after_another(prepared, alice)
    assert len(kept(alice)) == 1
    look("UPDATE generation_inputfile SET unused_since = now() - interval '2 days' RETURNING 1")
    with across_tenants():
        assert forget_unused_inputs() == 1
    check_books(look)

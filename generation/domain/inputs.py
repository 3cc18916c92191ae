"""Pictures that generations start from: read by the guard, stored once for each tenant, kept as long as they are used.

Before a submit's transaction the files are there (`kept`), inside of it the generation takes them (`use_inputs`). A
stored input goes with the last generation that uses it, one that nobody has used for a day by the sweep
(`inputends.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.domain.callers import Caller
from accounts.domain.media import delete_files, media_path, write_atomic
from accounts.domain.sql import execute, fetch_all, fetch_one
from accounts.domain.stored import check_stored, move_stored
from accounts.errors import InvalidRequest
from accounts.ids import uuid7
from accounts.tenancy import current_tenant
from generation.domain.inputguard import normalise_picture
from generation.domain.present import present_input
from generation.domain.request import GenerationRequest
from generation.domain.sources import Source, read_source
from generation.domain.tasks import Input, Inputs, task_of
from generation.engine.catalog import ModelSpec
from generation.engine.normalise import kept_size
from generation.enums import InputKind
from generation.errors import FileNotFound, InputNotFound, PictureRefused
from generation.models import Generation, Image, InputFile, InputUse

# A used one is marked too: whoever deletes its last generation at this moment leaves it to the sweep.
_FIND_SQL = """
UPDATE generation_inputfile SET unused_since = now()
 WHERE tenant_id = %(tenant)s AND sha256 = %(sha256)s RETURNING id, file, sha256, width, height
"""
_ADD_SQL = """
INSERT INTO generation_inputfile AS i
       (id, tenant_id, "user", kind, file, sha256, bytes, width, height, unused_since, created_at)
VALUES (%(id)s, %(tenant)s, %(user)s, %(kind)s, %(file)s, %(sha256)s, %(bytes)s, %(width)s, %(height)s, now(), now())
ON CONFLICT (tenant_id, sha256) DO UPDATE SET unused_since = now()
RETURNING id, file, sha256, width, height, unused_since
"""
# One that a refused request has brought, unless somebody else has asked for it since.
_DISCARD_SQL = """
DELETE FROM generation_inputfile i WHERE i.id = %(id)s AND i.unused_since = %(since)s
   AND NOT EXISTS (SELECT FROM generation_inputuse u WHERE u.tenant_id = i.tenant_id AND u.input_id = i.id)
RETURNING file, bytes
"""
LOCK_SQL = "SELECT id FROM generation_inputfile WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE"
USED_SQL = "UPDATE generation_inputfile SET unused_since = NULL WHERE id = ANY(%(ids)s)"


@dataclass(frozen=True, slots=True)
class Prepared:
    """One picture that was read: a stored one, or the bytes of one that is not stored yet."""

    input: Input
    kind: str
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class PreparedInputs:
    """Those of a request; nothing is stored."""

    images: tuple[Prepared, ...] = ()
    mask: Prepared | None = None

    @property
    def inputs(self) -> Inputs:
        """Their sizes; an id only of those that are stored."""
        return Inputs(tuple(one.input for one in self.images), self.mask.input if self.mask else None)


def prepare_inputs(request: GenerationRequest, spec: ModelSpec, *, measure: bool = False) -> PreparedInputs:
    """Read a request's pictures, once it is clear that its model does what is asked. Runs in the tenant's scope.

    `measure`: their sizes are all that is wanted, so images that were drawn here are not decoded.

    Raises `TaskNotOffered`, `InvalidRequest`, `InputNotFound`, and `PictureRefused` naming field and bound.
    """
    task_of(spec, images=len(request.image), mask=request.mask is not None, strength=request.strength)
    read = _measure if measure else _prepare
    images = tuple(read(source, kind=InputKind.PICTURE, field="image") for source in request.image)
    if request.mask is None:
        return PreparedInputs(images)
    mask, image = read(request.mask, kind=InputKind.MASK, field="mask"), images[0].input
    if (mask.input.width, mask.input.height) != (image.width, image.height):
        sizes = f"is {mask.input.width} × {mask.input.height} pixels, its image {image.width} × {image.height}"
        raise PictureRefused(f"{sizes}: both must have one size", field="mask")
    return PreparedInputs(images, mask)


@contextmanager
def kept(prepared: PreparedInputs, caller: Caller) -> Iterator[Inputs]:
    """Store what is not stored yet; where the block raises, what was new is taken away again.

    Raises `StorageFull`, OSError.
    """
    new: dict[UUID, datetime] = {}
    try:
        images = tuple(_store(one, caller, new) for one in prepared.images)
        mask = _store(prepared.mask, caller, new) if prepared.mask else None
        yield Inputs(images, mask)
    except BaseException:
        if new:
            _discard(new)
        raise


def read_input(data: Mapping[str, Any]) -> tuple[Source, InputKind]:
    """The body of a request to store one picture: `image` or `mask`. Raises `InvalidRequest`."""
    if unknown := sorted(data.keys() - {"image", "mask"}, key=str):
        name = str(unknown[0])[:60]
        raise InvalidRequest(f"unknown field {name!r}, the fields are image, mask", field=name)
    if len(data) != 1:
        raise InvalidRequest("give one picture, as image or as mask", field="image")
    [(name, value)] = data.items()
    try:
        return read_source(value), InputKind.MASK if name == "mask" else InputKind.PICTURE
    except ValueError as error:
        raise InvalidRequest(f"{name} {error}", field=name) from None


def store_input(source: Source, *, kind: InputKind, caller: Caller) -> dict[str, Any]:
    """Store one picture for requests to come; returns its JSON. Raises what `prepare_inputs` and `kept` raise."""
    field = "mask" if kind is InputKind.MASK else "image"
    stored = _store(_prepare(source, kind=kind, field=field), caller, {})
    return present_stored(InputFile.objects.get(pk=stored.id))


def present_stored(row: InputFile) -> dict[str, Any]:
    """A stored input as the API shows it."""
    shown = present_input({"id": row.pk, "width": row.width, "height": row.height, "sha256": row.sha256})
    return {**shown, "kind": row.kind, "bytes": row.bytes}


def name_inputs(generation: Generation, inputs: Inputs) -> None:
    """Write down in a generation's parameters what it starts from."""
    if inputs.images:
        generation.params["images"] = [one.to_params() for one in inputs.images]
    if inputs.mask:
        generation.params["mask"] = inputs.mask.to_params()


def lock_inputs(generation: Generation) -> None:
    """Keep what a generation starts from from going; inside its submit's transaction. Raises `InputNotFound`."""
    ids = sorted(set(_ids_of(generation)))
    if ids and len(fetch_all(LOCK_SQL, ids=ids)) < len(ids):
        raise InputNotFound("image")


def use_inputs(generation: Generation) -> None:
    """Note that a stored generation uses its inputs, which `lock_inputs` has locked."""
    ids = _ids_of(generation)
    if ids:
        execute(USED_SQL, ids=ids)
        uses = [InputUse(generation=generation, input_id=id, place=place) for place, id in enumerate(ids)]
        for use in uses:
            use.tenant_id = generation.tenant_id
        InputUse.objects.bulk_create(uses)


def find_input(id: UUID) -> InputFile:
    """One of the tenant's stored inputs. Raises `FileNotFound`."""
    row: InputFile | None = InputFile.objects.filter(pk=id).first()
    if row is None:
        raise FileNotFound
    return row


def _ids_of(generation: Generation) -> list[UUID]:
    """Of the images, and then of the mask."""
    mask = generation.params.get("mask")
    return [UUID(one["id"]) for one in (*generation.params.get("images", []), *([mask] if mask else []))]


def _prepare(source: Source, *, kind: InputKind, field: str) -> Prepared:
    data = source.data
    if source.id is not None:
        row = InputFile.objects.filter(pk=source.id).first()
        if row is not None and row.kind == kind:
            return Prepared(Input(row.pk, row.file, row.sha256, row.width, row.height), kind)
        data = _read_own(row.file if row else _file_of_image(source.id), field=field)
    as_what = "alpha" if source.alpha else kind.value
    made = normalise_picture(data, kind=as_what, field=field, own=source.id is not None)  # type: ignore[arg-type]
    sha256 = hashlib.sha256(made.data).hexdigest()
    return Prepared(Input(uuid7(), "", sha256, made.width, made.height), kind, made.data)


def _measure(source: Source, *, kind: InputKind, field: str) -> Prepared:
    """As `_prepare`, of an image that was drawn here its size alone."""
    drawn = Image.objects.filter(pk=source.id).first() if source.id is not None else None
    if drawn is None:
        return _prepare(source, kind=kind, field=field)
    width, height = kept_size(drawn.width, drawn.height)
    return Prepared(Input(drawn.pk, "", "", width, height), kind)


def _file_of_image(id: UUID) -> str:
    return Image.objects.filter(pk=id).values_list("file", flat=True).first() or ""


def _read_own(file: str, *, field: str) -> bytes:
    try:
        return media_path(file).read_bytes()
    except (OSError, ValueError):
        raise InputNotFound(field) from None


def _store(one: Prepared, caller: Caller, new: dict[UUID, datetime]) -> Input:
    if one.input.file:
        return one.input
    known = fetch_one(_FIND_SQL, tenant=caller.tenant, sha256=one.input.sha256)
    if known is not None:
        if not media_path(known["file"]).is_file():  # lost on the disk, and here it is again
            write_atomic(known["file"], one.data)
        return Input(**known)
    check_stored(caller)
    file = f"{caller.tenant}/inputs/{one.input.id}.png"
    write_atomic(file, one.data)
    try:
        with transaction.atomic():
            row = _add(one, caller, file)
    except BaseException:
        delete_files([file])
        raise
    since = row.pop("unused_since")
    if row["id"] == one.input.id:
        new[one.input.id] = since
    else:  # somebody else was faster with the same
        delete_files([file])
    return Input(**row)


def _add(one: Prepared, caller: Caller, file: str) -> dict[str, Any]:
    row = fetch_one(
        _ADD_SQL,
        id=one.input.id,
        tenant=caller.tenant,
        user=caller.user,
        kind=one.kind,
        file=file,
        sha256=one.input.sha256,
        bytes=len(one.data),
        width=one.input.width,
        height=one.input.height,
    )
    if row is None:
        raise RuntimeError("an insert that returns its row gives one, always")
    if row["id"] == one.input.id:
        move_stored(tenant=caller.tenant, size=len(one.data))
    return row


def _discard(new: Mapping[UUID, datetime]) -> None:
    with transaction.atomic():
        gone = [row for id, since in sorted(new.items()) for row in fetch_all(_DISCARD_SQL, id=id, since=since)]
        move_stored(tenant=current_tenant(), size=-sum(row["bytes"] for row in gone))
    delete_files([row["file"] for row in gone])

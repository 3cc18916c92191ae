"""LoRA files: looked over before they count, stored under their hash, matched with the models that they fit.

They lie in `loras/<aa>/<sha256>.safetensors` under `STUDIO_MEDIA`, where every worker reads them and backups find them.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from django.db import transaction

from accounts.domain.media import delete_files, media_path, open_atomic
from generation.domain.catalog import spec_of
from generation.engine.catalog import PROJECT_ROOT, ModelSpec
from generation.engine.errors import CatalogError, CheckpointError, LoraRefused
from generation.engine.lorafile import fit_lora, read_lora, transformer_layers
from generation.engine.lorarules import RULES
from generation.enums import Status
from generation.errors import LoraInUse, LoraUnfit
from generation.models import Generation, Lora, Model

SHIPPED = PROJECT_ROOT / "deploy" / "loras.toml"
PIECE_BYTES = 786_432  # of an upload: under every bound for a request's body on the way
_UPLOAD = re.compile(r"[0-9a-f]{16}")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A file that was looked over: it is whole, finite, and fits at least one model."""

    sha256: str
    bytes: int
    rank: int
    fits: tuple[str, ...]


def lora_path(sha256: str) -> str:
    """Where the file of this hash lies, under `STUDIO_MEDIA`."""
    return f"loras/{sha256[:2]}/{sha256}.safetensors"


def inspect_lora(file: Path, family: str) -> Inspected:
    """Look a file over: every number, every key. Raises `LoraUnfit` naming the key."""
    try:
        lora = read_lora(file)
        fits = _fitting(file, family, values=lora)
    except LoraRefused as error:
        raise LoraUnfit(str(error), field="file") from error
    sha256 = hash_file(file)
    known = Lora.objects.filter(sha256=sha256).first()
    if known is not None:
        raise LoraUnfit(f"this file is here already, as {known.slug}", field="file")
    return Inspected(sha256=sha256, bytes=lora.bytes, rank=lora.rank, fits=tuple(fits))


def store_lora(file: Path, sha256: str) -> None:
    """Copy a file to its place. Raises OSError."""
    path = lora_path(sha256)
    if media_path(path).is_file():
        return
    with file.open("rb") as source, open_atomic(path) as target:
        for data in _chunks(source):
            target.write(data)


def add_lora(*, slug: str, family: str, file: Path, **fields: Any) -> Lora:
    """Look a file over, store it, offer it. Raises `LoraUnfit`, and Django's ValidationError for a wrong field."""
    found = inspect_lora(file, family)
    lora = Lora(
        slug=slug, family=family, sha256=found.sha256, bytes=found.bytes, rank=found.rank, fits=list(found.fits),
        **fields,
    )  # fmt: skip
    lora.full_clean()
    store_lora(file, found.sha256)
    lora.save(force_insert=True)
    return lora


def remove_lora(lora: Lora) -> None:
    """The row and its file. Raises `LoraInUse` while a generation waits for it. Runs across tenants."""
    waiting = Generation.objects.filter(
        status__in=(Status.QUEUED, Status.RUNNING), params__loras__contains=[{"sha256": lora.sha256}]
    )
    if waiting.exists():
        raise LoraInUse("generations that wait are drawn with it; switch it off, and delete it when they are done")
    path = lora_path(lora.sha256)
    lora.delete()
    transaction.on_commit(lambda: delete_files([path]), robust=True)


def refit_loras() -> dict[str, tuple[str, ...]]:
    """Match every LoRA with the models anew, by the headers alone; those whose models have changed, with the new ones.

    After models were added or got other files. A LoRA without a file fits none.
    """
    changed = {}
    for lora in Lora.objects.all():
        try:
            fits = _fitting(media_path(lora_path(lora.sha256)), lora.family)
        except LoraRefused:
            fits = []
        if fits != lora.fits:
            changed[lora.slug] = tuple(fits)
            Lora.objects.filter(pk=lora.pk).update(fits=fits)
    return changed


def add_shipped_loras(file: Path = SHIPPED) -> list[str]:
    """Offer the LoRAs that come with the studio, where there is none yet: what staff have once seen is theirs."""
    if Lora.objects.exists():
        return []
    added = []
    for slug, entry in tomllib.loads(file.read_text(encoding="utf-8")).items():
        fields = {name: value for name, value in entry.items() if name != "file"}
        try:
            add_lora(slug=slug, file=PROJECT_ROOT / entry["file"], **fields)
        except LoraUnfit:
            continue  # no model on offer that it was made for
        added.append(slug)
    return added


# Uploads in pieces: a request's body is small everywhere on the way, and a file is not


def upload_path(upload: str) -> Path:
    """Where its pieces are put together; the janitor takes what is left for an hour. Raises ValueError."""
    if not _UPLOAD.fullmatch(upload):
        raise ValueError("no such upload")
    return media_path(f"loras/.{upload}.tmp")


def add_piece(upload: str, *, at: int, data: bytes) -> int:
    """Append a piece that begins at byte `at`; how many bytes are there then. One from elsewhere changes nothing."""
    path = upload_path(upload)
    if not path.exists():
        with open_atomic(f"loras/.{upload}.tmp"):
            pass  # made with the folder, as every file of ours
    size = path.stat().st_size
    if at == size:
        with path.open("ab") as target:
            target.write(data)
        size += len(data)
    return size


def hash_file(file: Path) -> str:
    """Its SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as source:
        for data in _chunks(source):
            digest.update(data)
    return digest.hexdigest()


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while data := source.read(_CHUNK):
        yield data


def _fitting(file: Path, family: str, *, values: Any = None) -> list[str]:
    """The models of a family that a file fits. Raises LoraRefused, in the words of the first that it does not fit."""
    if family not in RULES:
        raise LoraRefused(f"no LoRA is known for the family {family!r}")
    lora = values or read_lora(file, values=False)
    fits, refusals, absent = [], [], []
    for spec in _specs(family):
        try:
            layers = transformer_layers(_checkpoint(spec), RULES[family])
            fit_lora(lora, rules=RULES[family], layers=layers, max_rank=spec.max_lora_rank)
            fits.append(spec.slug)
        except CheckpointError:
            absent.append(spec.slug)
        except LoraRefused as error:
            refusals.append(f"{spec.slug}: {error}")
    if fits:
        return fits
    if refusals:
        raise LoraRefused(refusals[0])
    named = f" ({', '.join(absent)})" if absent else ""
    raise LoraRefused(
        f"no model of the family {family} has its files on this machine{named}: nothing to hold it against"
    )


def _specs(family: str) -> Iterator[ModelSpec]:
    for model in Model.objects.order_by("-enabled", "position", "slug"):
        try:
            spec = spec_of(model)
        except CatalogError:
            continue
        if spec.family == family:
            yield spec


def _checkpoint(spec: ModelSpec) -> Path:
    """The model's folder, or the hub's snapshot where this machine has it. Raises CheckpointError."""
    if spec.folder is not None:
        return spec.folder
    from huggingface_hub import try_to_load_from_cache  # only for models that are named by their hub id

    found = try_to_load_from_cache(spec.path, "model_index.json", revision=spec.revision)
    if not isinstance(found, str):
        raise CheckpointError(file=spec.path, reason="is not on this machine", remedy="download it first")
    return Path(found).parent

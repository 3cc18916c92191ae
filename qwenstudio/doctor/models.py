"""The models file and the checkpoints that it names."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from generation.engine.catalog import ModelSpec, read_catalog
from generation.engine.checkpoint import verify_checkpoint
from generation.engine.errors import CatalogError, CheckpointError
from qwenstudio.doctor.finding import Finding


def check_models() -> Iterator[Finding]:
    """The models file is right, and every local checkpoint that is switched on is whole."""
    try:
        specs = read_catalog(settings.STUDIO_MODELS)
    except CatalogError as error:
        yield Finding("fail", "models", str(error), "correct the file, then: manage.py loadmodels")
        return
    for spec in specs:
        if spec.enabled:
            yield _check_model(spec)
    if not any(spec.enabled for spec in specs):
        yield Finding("warn", "models", f"{settings.STUDIO_MODELS} switches no model on", "set enabled = true in one")


def _check_model(spec: ModelSpec) -> Finding:
    name = f"model {spec.slug}"
    if spec.folder is None:
        if settings.HF_HUB_OFFLINE:
            remedy = "its worker stops unless it was downloaded before; to allow that: HF_HUB_OFFLINE=0"
            return Finding("warn", name, f"{spec.path} comes from the hub, and downloads are off", remedy)
        return Finding("ok", name, f"{spec.path} from the hub")
    try:
        verify_checkpoint(spec.folder, family=spec.family)
    except CheckpointError as error:
        return Finding("fail", name, str(error), "workers of this model stop with the same words")
    return Finding("ok", name, f"{spec.folder}: complete")

"""What models are made of: the models file, LoRAs, and where checkpoints lie.

LoRAs are stored always. Checkpoints are large and come from elsewhere: their folders are named, and their files stored
only when asked for. What lies in the release's own folder comes with the release.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generation.engine.catalog import PROJECT_ROOT, ModelSpec
from generation.engine.errors import CatalogError
from qwenstudio.backup.copying import stat_file
from qwenstudio.backup.lists import Entry, order

CATALOG = "models.toml"


def checkpoint_folders(models: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Model → the local folder of its checkpoint; those from the hub have none."""
    return {slug: str(folder) for slug, spec in _specs(models) if (folder := spec.folder) is not None}


def model_files(models: dict[str, dict[str, Any]], *, checkpoints: bool) -> list[Entry]:
    """The files to store, by absolute path, in the lists' order. Those that this machine lacks are left out."""
    found: dict[str, Entry] = {}
    for _, spec in _specs(models):
        files = list(_lora(spec))
        if checkpoints and spec.folder is not None:
            files += [path for path in spec.folder.rglob("*") if path.is_file()]
        for path in files:
            if not path.is_relative_to(PROJECT_ROOT) and (entry := stat_file(path, str(path))):
                found[str(path)] = entry
    return sorted(found.values(), key=lambda entry: order(entry.path))


def absent_loras(models: dict[str, dict[str, Any]]) -> list[str]:
    """LoRAs that a model on offer needs and that are not on this machine."""
    return sorted(str(path) for _, spec in _specs(models) if spec.enabled for path in _lora(spec) if not path.is_file())


def _lora(spec: ModelSpec) -> Iterator[Path]:
    """The file of its few-step LoRA, where that is a file (`owner/name:file` is the hub's)."""
    if spec.turbo_lora is None:
        return
    path = (PROJECT_ROOT / Path(spec.turbo_lora.path).expanduser()).absolute()
    if path.exists() or ":" not in spec.turbo_lora.path:
        yield path


def _specs(models: dict[str, dict[str, Any]]) -> Iterator[tuple[str, ModelSpec]]:
    for slug, table in models.items():
        try:
            yield slug, ModelSpec.from_table(slug, table)
        except CatalogError:
            continue  # written by another release: the row is in the dump, its files are not for us to find

"""Fixtures of the engine's tests. The helper module beside this file is found whatever import mode pytest runs in."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from diffusers import QwenImagePipeline

sys.path.insert(0, str(Path(__file__).parent))

from engine_tiny import make_pipeline, make_spec

from generation.engine.loader import LoadedModel, load_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The same number of threads everywhere, and no fight with other torch processes for the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    make_pipeline().save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> LoadedModel:
    return load_model(make_spec(checkpoint), device="cpu")


@pytest.fixture(scope="session")
def oracle(checkpoint: Path, model: LoadedModel) -> QwenImagePipeline:
    """Its own copy of the weights, loaded the plain way, in the dtype that the model has."""
    pipe = QwenImagePipeline.from_pretrained(checkpoint, dtype=model.family.dtype, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def own_copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "broken"))

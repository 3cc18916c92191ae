"""Downloads from a hub that means ill, or is none: a sentence, and nothing outside of the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from generation.engine.fetch import MANIFEST, Fetched, fetch
from generation.engine.hub import FetchError, Hub
from tests.engine.test_fetch import Log
from tests.hub import COMMIT, REPO, Store, make_store, serving, weights

BLOB = "0" * 40
SHA256 = "0" * 64
TREE = f"/api/models/{REPO}/tree/{COMMIT}"


@pytest.fixture
def serve() -> Iterator[Callable[[Store], str]]:
    with serving() as start:
        yield start


def run(base: str, target: Path) -> Fetched:
    hub = Hub(base, timeout_s=5)
    return fetch(hub, REPO, revision="main", target=target, watcher=Log(), pause=lambda seconds: None)


def entry(**change: Any) -> dict[str, Any]:
    return {"type": "file", "path": "a.safetensors", "size": 1, "oid": BLOB, **change}


@pytest.mark.parametrize(
    "listed",
    [
        [entry(path="../a.safetensors")],
        [entry(path="/etc/a.safetensors")],
        [entry(path="x/../../a.safetensors")],
        [entry(path="x\\a.safetensors")],
        [entry(path="x/\x00.safetensors")],
        [entry(path="\x1b[2J\x1b]0;owned\x07.safetensors")],  # what a terminal would obey
        [entry(path="a\n.safetensors")],
        [entry(path="")],
        [entry(path=7)],
        [entry(size=-1)],
        [entry(size=True)],
        [entry(size=1.5)],
        [entry(oid="../x")],
        [entry(lfs={"oid": "sha256:../x", "size": 1})],
        [entry(lfs={"oid": SHA256, "size": -1})],
        [entry(lfs={"oid": SHA256, "size": "many"})],
        [entry(lfs={"oid": SHA256, "size": 1e999})],
        [entry(), entry()],
        ["a.safetensors"],
        [None],
        {"error": "none of yours"},
        b"[" * 100_000,
        b"no JSON at all",
    ],
    ids=lambda listed: str(listed)[:60],
)
def test_a_list_that_cannot_be_is_refused(serve: Any, tmp_path: Path, listed: Any) -> None:
    with pytest.raises(FetchError):
        run(serve(Store(files={}, listed=listed)), tmp_path / "in" / "tiny")
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize("link", [TREE, f"{TREE}?at=1", "http://[", "ftp://127.0.0.1/x"])
def test_a_list_without_an_end_is_ended(serve: Any, tmp_path: Path, link: str) -> None:
    store = Store(files={}, listed=[], link=link)
    with pytest.raises(FetchError):
        run(serve(store), tmp_path / "tiny")
    assert len(store.asked) < 10


@pytest.mark.parametrize("place", ["http://[", "file:///etc/passwd", "gopher://127.0.0.1/"])
def test_a_way_that_leads_nowhere_is_refused(serve: Any, tmp_path: Path, place: str) -> None:
    store = make_store()
    store.redirect = place
    with pytest.raises(FetchError):
        run(serve(store), tmp_path / "tiny")


def test_what_another_commit_has_left_is_no_part_of_the_folder(serve: Any, tmp_path: Path) -> None:
    """A shard too many would be loaded: the folder must hold what its manifest says, and nothing else."""
    store = make_store()
    big = "transformer/diffusion_pytorch_model.safetensors"
    store.files["transformer/a_shard.safetensors"] = weights(1000, 3)
    store.files[big + ".index.json"] = b"{}"
    store.cuts = {big: [1000, *[0] * 20], "vae/diffusion_pytorch_model.safetensors": [10, *[0] * 20]}
    with pytest.raises(FetchError):
        run(serve(store), tmp_path / "tiny")
    left = {file.name for file in (tmp_path / "tiny.part").rglob("*") if file.is_file()}
    assert "a_shard.safetensors" in left
    store.cuts = {}
    del store.files["transformer/a_shard.safetensors"]
    fetched = run(serve(store), tmp_path / "tiny")
    on_disk = {str(file.relative_to(tmp_path / "tiny")) for file in (tmp_path / "tiny").rglob("*") if file.is_file()}
    assert on_disk == {*fetched.files, MANIFEST}
    assert (tmp_path / "tiny" / big).read_bytes() == store.files[big]

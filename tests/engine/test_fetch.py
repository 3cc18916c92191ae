"""Downloads against a server that speaks the hub's URLs, and does to them what networks do."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from generation.engine import fetch as fetching
from generation.engine.fetch import MANIFEST, Fetched, choose_files, fetch, verify
from generation.engine.hub import FetchError, Hub, HubFile
from tests.hub import COMMIT, REPO, Store, make_store, serving, weights


@pytest.fixture
def store() -> Store:
    return make_store()


@pytest.fixture
def serve() -> Iterator[Callable[[Store], str]]:
    with serving() as start:
        yield start


class Log:
    """Listens, and adds up."""

    def __init__(self) -> None:
        self.size = self.done = self.highest = 0
        self.said: list[str] = []

    def begin(self, *, files: int, size: int) -> None:
        self.size = size

    def move(self, name: str, by: int) -> None:
        self.done += by
        self.highest = max(self.highest, self.done)

    def say(self, text: str) -> None:
        self.said.append(text)


def run(base: str, target: Path, *, log: Log | None = None, **options: Any) -> Fetched:
    options.setdefault("revision", "main")
    hub = Hub(base, timeout_s=5)
    return fetch(hub, REPO, target=target, watcher=log or Log(), pause=lambda seconds: None, **options)


BIG = "transformer/diffusion_pytorch_model.safetensors"


def test_a_checkpoint_comes_whole_with_its_hashes(store: Store, serve: Any, tmp_path: Path) -> None:
    store.page = 3
    log = Log()
    fetched = run(serve(store), tmp_path / "tiny", log=log)
    names = {"README.md", "model_index.json", "transformer/config.json", BIG, "vae/diffusion_pytorch_model.safetensors"}
    assert set(fetched.files) == names and fetched.commit == COMMIT
    assert set(fetched.left_out) == {"vae/diffusion_pytorch_model.bin", "tiny.safetensors", "assets/picture.png"}
    on_disk = {str(file.relative_to(tmp_path / "tiny")) for file in (tmp_path / "tiny").rglob("*") if file.is_file()}
    assert on_disk == names | {MANIFEST}
    for name in names:
        data = (tmp_path / "tiny" / name).read_bytes()
        assert data == store.files[name] and fetched.files[name] == hashlib.sha256(data).hexdigest()
    assert log.done == log.size == sum(len(store.files[name]) for name in names)
    assert not (tmp_path / "tiny.part").exists()


def test_cut_three_times_in_mid_file_it_goes_on_where_it_was(store: Store, serve: Any, tmp_path: Path) -> None:
    store.cuts[BIG] = [1_500_000, 1_000_000, 700_000]
    log = Log()
    run(serve(store), tmp_path / "tiny", log=log)
    asked = [span for path, span in store.asked if path.endswith(BIG)]
    assert asked == ["", "bytes=1500000-", "bytes=2500000-", "bytes=3200000-"]
    assert (tmp_path / "tiny" / BIG).read_bytes() == store.files[BIG]
    assert log.done == log.size == log.highest
    assert sum("the connection ended" in line or "going on at byte" in line for line in log.said) == 3


def test_another_run_goes_on_where_the_last_one_died(store: Store, serve: Any, tmp_path: Path) -> None:
    store.cuts[BIG] = [2_000_000, *[0] * 20]
    base = serve(store)
    with pytest.raises(FetchError, match="no byte more in 6 tries"):
        run(base, tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists(), "a folder without .part is whole"
    assert (tmp_path / "tiny.part" / (BIG + ".part")).stat().st_size == 2_000_000
    store.cuts.clear()
    store.asked.clear()
    log = Log()
    run(base, tmp_path / "tiny", log=log)
    assert [span for path, span in store.asked if path.endswith(BIG)] == ["bytes=2000000-"]
    assert not any(path.endswith("config.json") for path, _ in store.asked), "what had come is not fetched again"
    assert verify(tmp_path / "tiny") == [] and log.done == log.size


def test_a_server_that_ignores_ranges_is_asked_from_the_beginning(store: Store, serve: Any, tmp_path: Path) -> None:
    store.no_ranges, store.cuts[BIG] = True, [3_000_000, 1_000_000]
    log = Log()
    run(serve(store), tmp_path / "tiny", log=log)
    assert (tmp_path / "tiny" / BIG).read_bytes() == store.files[BIG]
    assert log.done == log.size == log.highest, "the bar went back"


@pytest.mark.parametrize("name", [BIG, "transformer/config.json"])
def test_a_wrong_byte_is_noticed_and_fetched_again(store: Store, serve: Any, tmp_path: Path, name: str) -> None:
    data = store.files[name]
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    store.lies[name] = [wrong]
    log = Log()
    run(serve(store), tmp_path / "tiny", log=log)
    assert (tmp_path / "tiny" / name).read_bytes() == data
    assert [line for line in log.said if "not the hub's" in line] and log.done == log.size


def test_a_hash_that_stays_wrong_ends_it_and_leaves_no_folder(store: Store, serve: Any, tmp_path: Path) -> None:
    store.lies[BIG] = [b"\0" * len(store.files[BIG])] * 2
    with pytest.raises(FetchError, match=f"{BIG}: the hash is not the hub's, twice"):
        run(serve(store), tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists() and not (tmp_path / "tiny.part" / BIG).exists()


def test_a_busy_hub_is_asked_again(store: Store, serve: Any, tmp_path: Path) -> None:
    store.busy = 3
    assert run(serve(store), tmp_path / "tiny").commit == COMMIT
    store.busy = 100
    with pytest.raises(FetchError, match=r"answers 503; the hub is out of reach"):
        run(serve(store), tmp_path / "other")


def test_what_is_not_there_is_named(store: Store, serve: Any, tmp_path: Path) -> None:
    base = serve(store)
    with pytest.raises(FetchError, match=r"owner/tiny: the hub has no such repository, revision or file"):
        run(base, tmp_path / "tiny", revision="nope")
    with pytest.raises(FetchError, match=r"other\.safetensors: is no safetensors file .* it has tiny\.safetensors"):
        run(base, tmp_path / "tiny", only="other.safetensors")
    with pytest.raises(FetchError, match="is no address of a hub"):
        Hub("ftp://example.org")
    with pytest.raises(FetchError, match="out of reach"):
        run("http://127.0.0.1:9", tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_so_and_keeps_what_came(
    store: Store, serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = serve(store)
    usage = fetching.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(FetchError, match=r"5,3[\d,]+ bytes are needed, 1,000 are free"):
        run(base, tmp_path / "tiny")
    monkeypatch.undo()
    real, written = fetching._Download._write, [0]

    class Full:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def write(self, chunk: bytes) -> None:
            written[0] += len(chunk)
            if written[0] > 2_000_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.stream.write(chunk)

        def flush(self) -> None:
            self.stream.flush()

    monkeypatch.setattr(fetching._Download, "_write", lambda self, stream, chunk: real(self, Full(stream), chunk))
    with pytest.raises(FetchError, match="the disk is full; make room, the same command goes on then"):
        run(base, tmp_path / "tiny")
    monkeypatch.undo()
    kept = (tmp_path / "tiny.part" / (BIG + ".part")).stat().st_size
    assert kept > 0
    store.asked.clear()
    run(base, tmp_path / "tiny")
    assert (BIG, f"bytes={kept}-") in [(path.rpartition(COMMIT + "/")[2], span) for path, span in store.asked]
    assert verify(tmp_path / "tiny") == []


def test_a_lora_is_one_file_and_a_second_one_joins_it(store: Store, serve: Any, tmp_path: Path) -> None:
    store.files["second.safetensors"] = weights(20, 2)
    base = serve(store)
    run(base, tmp_path / "tiny", only="tiny.safetensors")
    fetched = run(base, tmp_path / "tiny", only="second.safetensors")
    assert set(fetched.files) == {"tiny.safetensors", "second.safetensors"}
    assert verify(tmp_path / "tiny") == [] and not (tmp_path / "tiny.part").exists()
    (tmp_path / "tiny" / "tiny.safetensors").write_bytes(b"x" * len(store.files["tiny.safetensors"]))
    assert verify(tmp_path / "tiny") == ["tiny.safetensors has other bytes than it came with"]
    (tmp_path / "tiny" / "second.safetensors").unlink()
    assert "second.safetensors is missing" in verify(tmp_path / "tiny")
    run(base, tmp_path / "tiny", only="tiny.safetensors")
    assert verify(tmp_path / "tiny") == ["second.safetensors is missing"], "what was broken is fetched again"


def test_a_folder_with_something_else_in_it_is_left_alone(store: Store, serve: Any, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "mine.txt").write_text("x")
    base = serve(store)
    with pytest.raises(FetchError, match="was not made by fetchmodel"):
        run(base, tmp_path / "tiny")
    (tmp_path / "other").mkdir()
    manifest = {"repo": REPO, "commit": "f" * 40, "files": {}}
    (tmp_path / "other" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(FetchError, match=f"holds {REPO} at {'f' * 40}; give another folder"):
        run(base, tmp_path / "other")
    assert (tmp_path / "tiny" / "mine.txt").read_text() == "x"


def test_two_at_once_do_not_write_over_each_other(store: Store, serve: Any, tmp_path: Path) -> None:
    base = serve(store)
    with fetching._alone(tmp_path / "tiny.part"), pytest.raises(FetchError, match="another fetchmodel is at work"):
        run(base, tmp_path / "tiny")
    run(base, tmp_path / "tiny")


@pytest.mark.parametrize(
    "path", ["../outside.json", "/etc/passwd.json", "a/../../b.json", "a//b.json", "a\\b.json", "./a.json"]
)
def test_names_outside_the_folder_are_refused(store: Store, serve: Any, tmp_path: Path, path: str) -> None:
    store.files[path] = b"{}"
    with pytest.raises(FetchError, match="outside its folder"):
        run(serve(store), tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_none_are_refused(store: Store, serve: Any, tmp_path: Path) -> None:
    store.files[BIG] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    with pytest.raises(FetchError, match="is a Git LFS pointer"):
        run(serve(store), tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists()
    pickles = [HubFile(path="model.bin", size=3, sha256="0" * 64), HubFile(path="config.json", size=2, blob="0" * 40)]
    with pytest.raises(FetchError, match="no weights as safetensors"):
        choose_files(pickles)


def test_the_token_goes_to_the_hub_and_not_on(store: Store, serve: Any, tmp_path: Path) -> None:
    elsewhere = Store(files=store.files)
    store.redirect = serve(elsewhere)
    base = serve(store)
    hub = Hub(base, token="hf_secret", timeout_s=5)
    fetch(hub, REPO, revision="main", target=tmp_path / "tiny", watcher=Log(), pause=lambda seconds: None)
    assert all(store.authorized) and elsewhere.asked and not any(elsewhere.authorized)
    assert verify(tmp_path / "tiny") == []

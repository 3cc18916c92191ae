"""Downloads a checkpoint or single files of a hub: resumed, checked byte for byte, in place all at once. No torch.

A folder `NAME.part` beside the target gathers the files; each is checked against the hub's hash and then gets its own
name; when all are there, the folder gets its own. So a folder without `.part` is whole, whatever broke on the way, and
the same command again goes on where the last one stopped.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from generation.engine.checkpoint import verify_safetensors
from generation.engine.errors import CheckpointError
from generation.engine.hub import Cut, FetchError, Hub, HubFile

T = TypeVar("T")

MANIFEST = "fetched.json"
_KINDS = (".json", ".safetensors", ".txt", ".jinja", ".md")
_NAMES = ("LICENSE", "NOTICE")
_CHUNK = 1 << 20
_TRIES = 6  # in a row without a byte more than before
_READ_AGAIN = 2  # a file whose hash is wrong is fetched once more


class Watcher(Protocol):
    """Whom a download tells how it goes."""

    def begin(self, *, files: int, size: int) -> None:
        """So many files, so many bytes altogether."""

    def move(self, name: str, by: int) -> None:
        """`by` bytes more of a file; fewer where it begins anew."""

    def say(self, text: str) -> None:
        """Something a person should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What is there now: the commit, the files with their SHA-256, and what was left out."""

    folder: Path
    commit: str
    files: dict[str, str]
    left_out: tuple[str, ...] = ()


def choose_files(listed: Sequence[HubFile], *, only: str = "") -> tuple[list[HubFile], list[str]]:
    """What a model needs of a repository: (wanted, left out). Weights as safetensors only.

    Beside a model_index.json the weights lie in folders, and a loose file of them is the same again in one piece.
    Raises FetchError when there is nothing to fetch.
    """
    if only:
        found = [file for file in listed if file.path == only]
        if not found or not only.endswith(".safetensors"):
            names = ", ".join(sorted(f.path for f in listed if f.path.endswith(".safetensors"))[:8]) or "none"
            raise FetchError(f"{only}: is no safetensors file of the repository; it has {names}")
        return found, []
    is_pipeline = any(file.path == "model_index.json" for file in listed)
    wanted: list[HubFile] = []
    left_out: list[HubFile] = []
    for file in listed:
        name = file.path.rpartition("/")[2]
        loose = is_pipeline and "/" not in file.path and name.endswith(".safetensors")
        fits = name.endswith(_KINDS) or name.upper().startswith(_NAMES)
        (wanted if fits and not loose and name != MANIFEST else left_out).append(file)
    if not any(file.path.endswith(".safetensors") for file in wanted):
        raise FetchError("the repository holds no weights as safetensors, and nothing else is loaded")
    return wanted, [file.path for file in left_out]


def fetch(
    hub: Hub,
    repo: str,
    *,
    revision: str,
    target: Path,
    only: str = "",
    watcher: Watcher,
    pause: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Bring `repo` at `revision` (or its one file `only`) into the folder `target`.

    Raises FetchError with the reason and what to do; what has come stays in `target`.part and is used the next time.
    """
    commit = _insist(lambda: hub.find_commit(repo, revision), pause=pause, watcher=watcher)
    listed = _insist(lambda: hub.list_files(repo, commit), pause=pause, watcher=watcher)
    wanted, left_out = choose_files(listed, only=only)
    known = _read_manifest(target)
    if known and (known.get("repo"), known.get("commit")) != (repo, commit):
        was = f"{known.get('repo')} at {known.get('commit')}"
        raise FetchError(f"{target} holds {was}; give another folder with --to, or remove that one")
    if target.exists() and not known and any(target.iterdir()):
        raise FetchError(f"{target} is there and was not made by fetchmodel; give another folder with --to")
    staging = target.with_name(target.name + ".part")
    hashes: dict[str, str] = dict(known.get("files", {}))
    with _alone(staging):
        todo = [file for file in wanted if not _is_there(target, file, hashes)]
        watcher.begin(files=len(wanted), size=sum(file.size for file in wanted))
        for file in wanted:
            if file not in todo:
                watcher.move(file.path, file.size)
        _drop_others(staging, todo)
        _check_room(staging, todo)
        for file in todo:
            hashes[file.path] = _Download(hub, repo, commit, file, staging, watcher, pause).run()
        _check_weights(staging, todo)
        _put_in_place(staging, target, todo, {"repo": repo, "commit": commit, "files": hashes})
    return Fetched(folder=target, commit=commit, files=hashes, left_out=tuple(left_out))


def verify(folder: Path) -> list[str]:
    """What is wrong with a fetched folder, by its manifest; empty when every byte is as it came. Raises FetchError."""
    known = _read_manifest(folder)
    if not known:
        raise FetchError(f"{folder} has no {MANIFEST}: it was not made by fetchmodel")
    found = []
    for name, sha256 in sorted(known["files"].items()):
        file = folder / name
        if not file.is_file():
            found.append(f"{name} is missing")
        elif _hash_file(file, hashlib.sha256()) != sha256:
            found.append(f"{name} has other bytes than it came with")
    return found


class _Download:
    """One file into the staging folder, until its bytes are the hub's."""

    def __init__(
        self, hub: Hub, repo: str, commit: str, file: HubFile, staging: Path, watcher: Watcher, pause: Any
    ) -> None:
        self._hub, self._repo, self._commit, self._file = hub, repo, commit, file
        self._watcher, self._pause = watcher, pause
        self.final = staging / file.path
        self.part = self.final.with_name(self.final.name + ".part")

    def run(self) -> str:
        """The file's SHA-256. Raises FetchError."""
        self.final.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_READ_AGAIN):
            if self.final.exists():  # from an earlier run: as good as its bytes
                self.final.replace(self.part)
            self._fill()
            sha256 = self._check()
            if sha256:
                self.part.replace(self.final)
                return sha256
            self._watcher.say(f"{self._file.path}: the bytes are not the hub's, fetched again")
            self._watcher.move(self._file.path, -self.part.stat().st_size)
            self.part.unlink()
        raise FetchError(f"{self._file.path}: the hash is not the hub's, twice; the hub or the way to it is broken")

    def _fill(self) -> None:
        """Bytes until there are as many as the hub says; each try begins where the last one stopped."""
        have = best = self.part.stat().st_size if self.part.exists() else 0
        if have > self._file.size:
            self.part.unlink()
            have = best = 0
        self._watcher.move(self._file.path, have)
        tries = 0
        while have < self._file.size or not self.part.exists():
            try:
                have = self._read(have)
                tries = 0 if have > best else tries + 1
            except Cut as error:
                have = self.part.stat().st_size if self.part.exists() else 0
                tries = 1 if have > best else tries + 1
                self._watcher.say(f"{error}; going on at byte {have:,}")
            best = max(best, have)
            if tries >= _TRIES:
                raise FetchError(f"{self._file.path}: no byte more in {tries} tries; the same command goes on later")
            if tries:
                self._pause(min(30.0, 2.0 ** (tries - 1)))

    def _read(self, have: int) -> int:
        """One connection; how many bytes there are now. Raises Cut, FetchError."""
        start, response = self._hub.open_file(self._repo, self._commit, self._file, offset=have)
        with response, self.part.open("r+b" if self.part.exists() else "w+b") as stream:
            if start < have:
                self._watcher.move(self._file.path, start - have)
            stream.truncate(start)
            stream.seek(start)
            at = start
            while at < self._file.size:
                chunk = self._receive(response, min(_CHUNK, self._file.size - at))
                if not chunk:
                    break
                self._write(stream, chunk)
                at += len(chunk)
                self._watcher.move(self._file.path, len(chunk))
            stream.flush()
            os.fsync(stream.fileno())
        if at < self._file.size:
            raise Cut(f"{self._file.path}: the connection ended at byte {at:,} of {self._file.size:,}")
        return at

    def _receive(self, response: Any, size: int) -> bytes:
        try:
            data: bytes = response.read1(size)
            return data
        except Exception as error:  # http.client and ssl raise a good many kinds here
            raise Cut(f"{self._file.path}: {error}") from error

    def _write(self, stream: Any, chunk: bytes) -> None:
        try:
            stream.write(chunk)
            stream.flush()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise FetchError(
                    f"{self.part.parent}: the disk is full; make room, the same command goes on then"
                ) from error
            raise FetchError(f"{self.part}: cannot be written ({error.strerror})") from error

    def _check(self) -> str:
        """The SHA-256 when the bytes are the hub's, else empty."""
        sha256 = _hash_file(self.part, hashlib.sha256())
        if self._file.sha256 is not None:
            return sha256 if sha256 == self._file.sha256 else ""
        blob = _hash_file(self.part, hashlib.sha1(b"blob %d\0" % self._file.size, usedforsecurity=False))
        return sha256 if blob == self._file.blob else ""


def _insist(ask: Callable[[], T], *, pause: Callable[[float], None], watcher: Watcher) -> T:
    tries = 0
    while True:
        try:
            return ask()
        except Cut as error:
            tries += 1
            if tries == _TRIES:
                raise FetchError(f"{error}; the hub is out of reach") from error
            watcher.say(f"{error}; once more")
            pause(min(30.0, 2.0 ** (tries - 1)))


def _is_there(target: Path, file: HubFile, hashes: dict[str, str]) -> bool:
    """Whether an earlier fetch brought this very file; its bytes are read once more."""
    place = target / file.path
    if file.path not in hashes or not place.is_file() or place.stat().st_size != file.size:
        return False
    return _hash_file(place, hashlib.sha256()) == hashes[file.path] and file.sha256 in (None, hashes[file.path])


def _drop_others(staging: Path, todo: Sequence[HubFile]) -> None:
    """Remove what a download of another commit has left: the folder becomes the target as it is."""
    wanted = {staging / name for file in todo for name in (file.path, f"{file.path}.part")}
    for left in list(staging.rglob("*")):
        if left not in wanted and not left.is_dir():
            left.unlink()


def _check_room(staging: Path, todo: Sequence[HubFile]) -> None:
    have = sum(part.stat().st_size for part in staging.rglob("*") if part.is_file())
    needed = max(0, sum(file.size for file in todo) - have)
    free = shutil.disk_usage(staging).free
    if needed > free:
        raise FetchError(f"{staging.parent}: {needed:,} bytes are needed, {free:,} are free; make room, or use --to")


def _check_weights(staging: Path, todo: Sequence[HubFile]) -> None:
    for file in todo:
        if file.path.endswith(".safetensors"):
            try:
                verify_safetensors(staging / file.path)
            except CheckpointError as error:
                raise FetchError(f"{file.path}: came as the hub has it, and {error.reason}") from error


def _put_in_place(staging: Path, target: Path, files: Sequence[HubFile], manifest: dict[str, Any]) -> None:
    """All at once where the folder is new; else file by file, the manifest last."""
    text = json.dumps(manifest, indent=2, sort_keys=True)
    if not target.exists():
        (staging / MANIFEST).write_text(text)
        _sync(staging / MANIFEST)
        _sync(staging)
        staging.rename(target)
        _sync(target.parent)
        return
    for file in files:
        (target / file.path).parent.mkdir(parents=True, exist_ok=True)
        (staging / file.path).replace(target / file.path)
    fresh = target / (MANIFEST + ".part")
    fresh.write_text(text)
    _sync(fresh)
    fresh.replace(target / MANIFEST)
    _sync(target)
    shutil.rmtree(staging)


@contextmanager
def _alone(staging: Path) -> Iterator[None]:
    """Only one download may fill a folder."""
    staging.mkdir(parents=True, exist_ok=True)
    handle = os.open(staging, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise FetchError(f"{staging}: another fetchmodel is at work there") from error
    finally:
        os.close(handle)


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        known = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and isinstance(known.get("files"), dict) else {}


def _hash_file(file: Path, digest: Any) -> str:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    found: str = digest.hexdigest()
    return found


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

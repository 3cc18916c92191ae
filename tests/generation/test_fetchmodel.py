"""manage.py fetchmodel, as an operator types it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from generation.engine.fetch import MANIFEST
from generation.management.commands.fetchmodel import Bar, readable
from tests.hub import COMMIT, REPO, Store, make_store, serving


@pytest.fixture
def store() -> Store:
    return make_store()


@pytest.fixture
def serve() -> Iterator[Callable[[Store], str]]:
    with serving() as start:
        yield start


def run(*words: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("fetchmodel", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_lora_comes_and_its_line_of_the_entry_is_said(store: Store, serve: Any, tmp_path: Path) -> None:
    out, err = run(f"{REPO}:tiny.safetensors", "--to", str(tmp_path / "lora"), "--hub", serve(store))
    assert f"{REPO} at {COMMIT}: 1 files in {tmp_path / 'lora'}, hashes right" in out
    assert f'turbo_lora = {{ path = "{tmp_path / "lora" / "tiny.safetensors"}", scale = 1.0 }}' in out
    assert "1 files, " in err
    assert run(str(tmp_path / "lora"), "--verify")[0].strip().endswith("every file has the bytes it came with")
    (tmp_path / "lora" / "tiny.safetensors").write_bytes(b"x")
    with pytest.raises(CommandError, match=r"tiny\.safetensors has other bytes than it came with"):
        run(str(tmp_path / "lora"), "--verify")


def test_a_checkpoint_that_nothing_here_draws_is_said(
    store: Store,
    serve: Any,
    tmp_path: Path,
    settings: Any,
) -> None:
    store.files["model_index.json"] = json.dumps({"_class_name": "FluxPipeline"}).encode()
    settings.STUDIO_VAR = tmp_path
    out, _ = run(REPO, "--hub", serve(store))
    assert "No family here draws a FluxPipeline; there are qwen-image, qwen-image-edit, qwen-image-2.1, z-image." in out
    assert "left out: " in out and (tmp_path / "models" / REPO / MANIFEST).is_file()


def test_a_checkpoint_that_came_whole_and_is_broken_is_said(store: Store, serve: Any, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"not usable: .*model_index\.json"):
        run(REPO, "--to", str(tmp_path / "tiny"), "--hub", serve(store))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("Qwen-Image",), "is no model of a hub; write OWNER/NAME"),
        (("owner/tiny", "--hub", "example.org"), "is no address of a hub"),
        (("/nowhere", "--verify"), "has no fetched.json: it was not made by fetchmodel"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        run(*words, *(() if "--verify" in words else ("--to", str(tmp_path / "x"))))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def write(self, text: str, ending: str = "\n") -> int:  # as Django's OutputWrapper
        return super().write(text + ending)


def test_the_bar_moves_on_a_terminal_and_leaves_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("generation.management.commands.fetchmodel.time.monotonic", lambda: now[0])
    out = Terminal()
    bar = Bar(out)
    bar.begin(files=2, size=4_000_000)
    for _ in range(4):
        now[0] += 1
        bar.move("transformer/weights.safetensors", 1_000_000)
    bar.say("a word between")
    lines = out.getvalue().split("\r\x1b[K")
    assert lines[0] == "2 files, 4 MB\n"
    assert lines[1].startswith("[######..................]  25% 1 MB of 4 MB, 1 MB/s, 3 s left")
    assert lines[-1].startswith("[########################] 100%") and lines[-1].endswith("\na word between\n")


def test_sizes_are_readable() -> None:
    assert [readable(size) for size in (12, 34_000, 56_700_000, 32_850_000_000)] == [
        "12 B",
        "34 kB",
        "57 MB",
        "32.85 GB",
    ]

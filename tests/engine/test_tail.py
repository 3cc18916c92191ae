"""The tail: own VAE, own thread, right pictures whatever else is going on, and every order answered once."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from engine_tiny import Silent, make_row, make_rows, make_spec
from PIL import Image

from generation.engine.errors import BadFrame, OutOfMemory, TailClosed
from generation.engine.family import RowLatents
from generation.engine.guard import check_frame
from generation.engine.loader import load_model
from generation.engine.run import run_pass
from generation.engine.tail import Tail, TailResult, to_picture


@pytest.fixture
def tail(model: Any) -> Iterator[Tail]:
    tail = Tail(model)
    yield tail
    assert tail.close(60)


def latents_of(model: Any, **changes: Any) -> RowLatents:
    return run_pass(model, [make_row(**changes)], Silent()).rows[0].latents


def test_a_picture_with_its_thumbnail(model: Any, tail: Tail) -> None:
    results: list[TailResult] = []
    threads: set[str] = set()

    def store(result: TailResult) -> None:
        threads.add(threading.current_thread().name)
        results.append(result)

    tail.submit(latents_of(model, width=128, height=64), store)
    assert tail.drain(60) and tail.pending == 0
    (result,) = results
    assert result.key == "a" and result.error is None and threads == {"tail"}
    file, thumb = result.picture.file, result.picture.thumbnail
    assert (file.width, file.height, file.content_type) == (128, 64, "image/png")
    assert Image.open(io.BytesIO(file.data)).size == (128, 64)
    assert Image.open(io.BytesIO(thumb.data)).format == "WEBP" and (thumb.width, thumb.height) == (128, 64)
    assert result.picture.sha256 == hashlib.sha256(file.data).hexdigest()
    assert result.picture.decode_ms > 0 and result.picture.encode_ms > 0


def test_overlapping_passes_give_the_same_pictures(model: Any, checkpoint: Any) -> None:
    """Decoding beside a running pass, and two tails beside each other: Qwen's VAE would mix them if it were shared."""
    exact = load_model(make_spec(checkpoint), device="cpu", exact_decode=True)
    rows = make_rows()
    for one in (model, exact):
        drawn = [row.latents for row in run_pass(one, rows, Silent()).rows]
        decoder = one.family.decoder()
        wanted = {latents.key: to_picture(decoder.decode(latents)).tobytes() for latents in drawn}
        got: list[tuple[str, bytes]] = []

        def store(result: TailResult, got: Any = got) -> None:
            got.append((result.key, Image.open(io.BytesIO(result.picture.file.data)).tobytes()))

        tails = [Tail(one), Tail(one)]
        for latents in drawn:
            for tail in tails:
                tail.submit(latents, store)
        again = run_pass(one, rows, Silent())  # while both decode
        assert all(tail.close(120) for tail in tails)
        assert len(got) == 16 and all(wanted[key] == pixels for key, pixels in got)
        for latents in drawn:
            assert torch.equal(again.row(latents.key).latents.tensor, latents.tensor)


def test_formats(model: Any, tail: Tail) -> None:
    results: list[TailResult] = []
    for fmt in ("png", "jpeg", "webp"):
        tail.submit(latents_of(model), results.append, fmt=fmt)
    assert tail.drain(60)
    assert [Image.open(io.BytesIO(r.picture.file.data)).format for r in results] == ["PNG", "JPEG", "WEBP"]


def test_bad_frames_reach_the_callback_and_the_next_picture_is_drawn(model: Any, tail: Tail) -> None:
    good = latents_of(model)
    results: list[TailResult] = []
    tail.submit(dataclasses.replace(good, tensor=torch.full_like(good.tensor, float("nan"))), results.append)
    tail.submit(dataclasses.replace(good, tensor=good.tensor[:, :3]), results.append)
    tail.submit(good, results.append)
    assert tail.drain(60)
    assert isinstance(results[0].error, BadFrame) and results[0].picture is None
    assert results[1].error is not None and not isinstance(results[1].error, BadFrame)
    assert results[2].error is None and tail.store_failures == 0


def test_a_store_that_raises_is_counted_and_logged(model: Any, tail: Tail, caplog: pytest.LogCaptureFixture) -> None:
    def store(result: TailResult) -> None:
        raise OSError("disk full")

    results: list[TailResult] = []
    tail.submit(latents_of(model), store)
    tail.submit(latents_of(model), results.append)
    assert tail.drain(60)
    assert tail.store_failures == 1 and len(results) == 1
    assert "storing picture a failed" in caplog.text and "disk full" in caplog.text


def test_a_picture_that_cannot_be_decoded_for_want_of_memory_says_so(model: Any) -> None:
    class Small:
        def decode(self, latents: RowLatents) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    results: list[TailResult] = []
    tail = Tail(model)
    tail._decoder = Small()
    tail.submit(latents_of(model), results.append)
    assert tail.close(60)
    assert isinstance(results[0].error, OutOfMemory) and "Tried" not in str(results[0].error)


def test_a_phase_hook_that_raises_costs_no_callback(model: Any) -> None:
    def phase(name: str, detail: Any) -> None:
        raise KeyError(name)

    results: list[TailResult] = []
    tail = Tail(model, phase=phase)
    tail.submit(latents_of(model), results.append)
    assert tail.close(60)
    assert [(result.key, type(result.error)) for result in results] == [("a", KeyError)]


def test_phases_drain_full_and_close(model: Any) -> None:
    phases: list[tuple[str, Any]] = []
    tail = Tail(model, capacity=1, phase=lambda name, detail: phases.append((name, detail["key"])))
    gate, latents, stored = threading.Event(), latents_of(model), []

    def slow(result: TailResult) -> None:
        assert gate.wait(60)
        stored.append(result.key)

    tail.submit(latents, slow)
    tail.submit(dataclasses.replace(latents, key="b"), slow, timeout=60)
    with pytest.raises(TimeoutError, match="took no picture"):
        tail.submit(dataclasses.replace(latents, key="c"), slow, timeout=0.2)
    assert not tail.drain(0.1) and tail.pending == 2
    gate.set()
    assert tail.close(60) and stored == ["a", "b"]
    assert phases == [("decode", "a"), ("store", "a"), ("decode", "b"), ("store", "b")]
    with pytest.raises(TailClosed):
        tail.submit(latents, slow)
    assert tail.close(1)


def test_only_broken_and_black_frames_are_refused() -> None:
    for colour in (0.004, 0.5, 1.0):
        check_frame(torch.full((3, 8, 8), colour))
    blue = torch.zeros(3, 8, 8)
    blue[2] = 0.2
    check_frame(blue)
    dot = torch.zeros(3, 8, 8)
    dot[0, 0, 0] = 1.0
    check_frame(dot)
    for frame, reason in (
        (torch.zeros(3, 8, 8), "black"),
        (torch.full((3, 8, 8), 0.001), "black"),
        (dot / 0, "NaN"),
        (torch.full((3, 8, 8), float("inf")), "infinite"),
    ):
        with pytest.raises(BadFrame, match=reason):
            check_frame(frame)

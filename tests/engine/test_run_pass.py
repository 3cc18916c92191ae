"""What a pass tells its caller, and that one row's failure stays that row's."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
import torch
from engine_tiny import Silent, make_row, make_rows, make_spec
from PIL import Image

from generation.engine.errors import BadFrame, HookFailed, OutOfMemory, RowRefused
from generation.engine.loader import LoadedModel, load_model
from generation.engine.request import LoraUse
from generation.engine.run import run_pass


class Wrapped:
    """The real family with one method in between."""

    def __init__(self, family: Any, **replaced: Any) -> None:
        self._family = family
        for name, function in replaced.items():
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)


def wrap(model: LoadedModel, **replaced: Any) -> LoadedModel:
    return dataclasses.replace(model, family=Wrapped(model.family, **replaced))


def test_hooks_and_outcome_tell_the_whole_story(model: Any) -> None:
    hooks = Silent()
    outcome = run_pass(model, [make_row("a"), make_row("b", seed=2)], hooks)
    assert [name for name, _ in hooks.phases] == ["encode", "step", "step", "step", "step"]
    assert hooks.phases[1][1] == {"step": 1, "steps": 4, "rows": 2}
    assert [(step, steps) for step, steps, _ in hooks.steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(set(previews) == {"a", "b"} for _, _, previews in hooks.steps)
    row = outcome.row("b")
    assert (row.status, row.batch_size, row.bucket, row.steps, row.negative_bucket) == ("drawn", 2, 64, 4, None)
    assert len(row.timings.step_ms) == 4 and row.timings.steps_ms >= sum(row.timings.step_ms) > 0
    assert row.timings.share_ms == row.timings.steps_ms / 2
    assert row.timings.encode_ms > 0 and outcome.run_ms >= row.timings.steps_ms
    assert outcome.dtype in ("bfloat16", "float32") and outcome.hardware == model.device.key
    assert row.latents.tensor.shape == (1, 16, 64) and (row.latents.width, row.latents.height) == (64, 64)
    assert (outcome.halved, outcome.repeated) == (0, 0)
    with pytest.raises(KeyError):
        outcome.row("nobody")


def test_no_prompt_reaches_the_hooks(model: Any) -> None:
    hooks = Silent()
    run_pass(model, [make_row(prompt="secretword")], hooks)
    assert "secretword" not in repr(hooks.phases)


def test_rows_that_cannot_share_follow_one_another(model: Any, checkpoint: Any) -> None:
    rows = [make_row("a"), make_row("b", width=96), make_row("c", num_inference_steps=2), make_row("d", seed=5)]
    outcome = run_pass(model, rows, Silent())
    assert [r.key for r in outcome.rows] == ["a", "b", "c", "d"]
    assert [r.batch_size for r in outcome.rows] == [2, 1, 1, 2]
    small = load_model(make_spec(checkpoint, batch_max=3), device="cpu")
    rows = [make_row(f"{i}", seed=i) for i in range(7)]
    assert [r.batch_size for r in run_pass(small, rows, Silent()).rows] == [3, 3, 3, 3, 3, 3, 1]


def test_cancelled_rows_are_dropped_and_change_nobody(model: Any) -> None:
    class Cancels(Silent):
        def cancelled(self) -> set[str]:
            return {"row1", "row4"} if len(self.steps) >= 2 else set()

    hooks = Cancels()
    rows = make_rows()
    outcome = run_pass(model, rows, hooks)
    plain = run_pass(model, rows, Silent())
    for row in rows:
        ended = outcome.row(row.key)
        if row.key in ("row1", "row4"):
            assert (ended.status, ended.latents, ended.error) == ("cancelled", None, None)
        else:
            assert torch.equal(ended.latents.tensor, plain.row(row.key).latents.tensor)
    assert "row1" in hooks.steps[1][2] and "row1" not in hooks.steps[2][2]


def test_whoever_leaves_takes_its_share_of_the_time_along(model: Any) -> None:
    class Cancels(Silent):
        def cancelled(self) -> set[str]:
            return {"b", "d"} if len(self.steps) >= 2 else set()

    rows = [make_row(key, seed=at) for at, key in enumerate("abcd")]
    outcome = run_pass(model, rows, Cancels())
    for key, status, steps in (("a", "drawn", 4), ("b", "cancelled", 2)):
        row = outcome.row(key)
        assert (row.status, row.batch_size, len(row.timings.step_ms)) == (status, 2 if steps == 4 else 4, steps)
        assert row.timings.steps_ms >= sum(row.timings.step_ms) > 0 and row.timings.encode_ms > 0
    assert 0 < outcome.row("b").timings.share_ms < outcome.row("a").timings.share_ms
    # Together they pay for all of it, once.
    whole = outcome.row("a").timings.steps_ms
    assert sum(row.timings.share_ms for row in outcome.rows) == pytest.approx(whole)


def test_a_pass_of_only_cancelled_rows_ends_at_the_next_step(model: Any) -> None:
    class Cancels(Silent):
        def cancelled(self) -> set[str]:
            return {"a"} if self.steps else set()

    hooks = Cancels()
    assert run_pass(model, [make_row()], hooks).rows[0].status == "cancelled"
    assert len(hooks.steps) == 1


def test_stop_ends_unfinished_rows(model: Any) -> None:
    class Stops(Silent):
        def stop(self) -> bool:
            return len(self.steps) >= 2

    hooks = Stops()
    outcome = run_pass(model, [make_row("a"), make_row("b", width=96)], hooks)
    assert [r.status for r in outcome.rows] == ["stopped", "stopped"] and len(hooks.steps) == 2


def test_refused_rows_leave_the_others_alone(model: Any) -> None:
    use = LoraUse(path="style.safetensors", sha256="0" * 64, scale=1.0)
    rows = [
        make_row("fine"),
        make_row("wide", width=144),
        make_row("long", num_inference_steps=60),
        make_row("style", loras=(use,)),
    ]
    outcome = run_pass(model, rows, Silent())
    assert [r.status for r in outcome.rows] == ["drawn", "failed", "failed", "failed"]
    for key, words in (("wide", "width 144 is over"), ("long", "1 to 50"), ("style", "the file is missing")):
        assert isinstance(outcome.row(key).error, RowRefused) and words in str(outcome.row(key).error)


def test_a_prompt_that_cannot_be_encoded_fails_alone(model: Any) -> None:
    def encode(row: Any) -> Any:
        if row.key == "row2":
            raise RuntimeError("no such token")
        return model.family.encode(row)

    outcome = run_pass(wrap(model, encode=encode), make_rows(), Silent())
    assert [r.key for r in outcome.rows if r.status == "failed"] == ["row2"]
    assert "no such token" in str(outcome.row("row2").error) and outcome.repeated == 0


def test_a_row_that_raises_fails_alone_after_a_repeat(model: Any) -> None:
    def step(state: Any) -> None:
        if "row3" in state.keys and state.rows[0].index == 1:
            raise RuntimeError("device-side assert")
        model.family.step(state)

    rows = make_rows()
    outcome = run_pass(wrap(model, step=step), rows, Silent())
    plain = run_pass(model, rows, Silent())
    assert outcome.repeated == 1
    for row in rows:
        ended = outcome.row(row.key)
        if row.key == "row3":
            assert ended.status == "failed" and str(ended.error) == "device-side assert"
        else:
            assert ended.batch_size == 1 and torch.equal(ended.latents.tensor, plain.row(row.key).latents.tensor)


def test_out_of_memory_halves_the_batch(model: Any) -> None:
    def begin(rows: Any, conds: Any) -> Any:
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return model.family.begin(rows, conds)

    rows = [make_row(f"{i}", seed=i) for i in range(8)]
    outcome = run_pass(wrap(model, begin=begin), rows, Silent())
    assert [r.status for r in outcome.rows] == ["drawn"] * 8
    assert {r.batch_size for r in outcome.rows} == {2} and outcome.halved == 3


def test_a_picture_that_does_not_fit_says_so(model: Any) -> None:
    def begin(rows: Any, conds: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    outcome = run_pass(wrap(model, begin=begin), [make_row("a"), make_row("b")], Silent())
    assert all(isinstance(r.error, OutOfMemory) for r in outcome.rows)
    # torch's words are for the log, not for the person.
    assert "DefaultCPUAllocator" not in str(outcome.rows[0].error)
    assert "DefaultCPUAllocator" in str(outcome.rows[0].error.__cause__)


def test_a_prompt_that_does_not_fit_says_so_too(model: Any) -> None:
    def encode(row: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    outcome = run_pass(wrap(model, encode=encode), [make_row()], Silent())
    assert isinstance(outcome.rows[0].error, OutOfMemory)


def test_cancelled_rows_stay_cancelled_through_a_repeat(model: Any) -> None:
    class Cancels(Silent):
        def cancelled(self) -> set[str]:
            return {"b"}

    def step(state: Any) -> None:
        if len(state.rows) > 1:
            raise RuntimeError("once")
        model.family.step(state)

    rows = [make_row("a"), make_row("b", seed=2), make_row("c", seed=3)]
    outcome = run_pass(wrap(model, step=step), rows, Cancels())
    assert [r.status for r in outcome.rows] == ["drawn", "cancelled", "drawn"]


def test_a_failing_hook_is_not_a_rows_failure(model: Any) -> None:
    class Fails(Silent):
        def step(self, *_: Any) -> None:
            raise ConnectionError("no database")

    with pytest.raises(HookFailed, match="no database") as caught:
        run_pass(model, make_rows(), Fails())
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_keys_must_differ(model: Any) -> None:
    with pytest.raises(ValueError, match="key is used twice"):
        run_pass(model, [make_row(), make_row()], Silent())
    assert run_pass(model, [], Silent()).rows == ()


def test_nan_weights_end_as_a_bad_frame(checkpoint: Any) -> None:
    broken = load_model(make_spec(checkpoint), device="cpu")
    broken.family._pipe.transformer.proj_out.weight.data[0] = float("nan")
    hooks = Silent()
    outcome = run_pass(broken, [make_row("a"), make_row("b", seed=2)], hooks)
    for row in outcome.rows:
        assert row.status == "failed" and row.latents is None
        assert isinstance(row.error, BadFrame) and "NaN" in row.error.reason
    assert hooks.steps[0][2] == {"a": b"", "b": b""}


def test_previews_come_closer_to_the_end(model: Any) -> None:
    hooks = Silent()
    run_pass(model, [make_row(num_inference_steps=8)], hooks)
    frames = [previews["a"] for _, _, previews in hooks.steps]
    assert all(0 < len(frame) <= 4096 for frame in frames)
    pictures = [to_tensor(frame) for frame in frames]
    errors = [float((picture - pictures[-1]).pow(2).mean()) for picture in pictures]
    assert errors[0] > 2 * errors[4] and errors[0] > errors[2] > errors[4] > errors[6]


def to_tensor(data: bytes) -> torch.Tensor:
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "WEBP" and max(picture.size) == 128
    return torch.tensor(list(picture.convert("RGB").tobytes()), dtype=torch.float32)

"""Nobody's picture depends on who else is in the pass, who joins and who leaves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_tiny import Silent, make_row, make_rows

from generation.engine.family import Pass
from generation.engine.run import run_pass


def alone(model: Any, row: Any) -> torch.Tensor:
    outcome = run_pass(model, [row], Silent()).rows[0]
    assert outcome.error is None
    return outcome.latents.tensor


def begin(model: Any, *rows: Any) -> Pass:
    return model.family.begin(rows, [model.family.encode(row) for row in rows])


def finish(model: Any, state: Pass) -> dict[str, torch.Tensor]:
    while not state.finished:
        model.family.step(state)
    return {latents.key: latents.tensor for latents in model.family.latents(state)}


def test_eight_rows_equal_the_eight_drawn_alone(model: Any) -> None:
    rows = make_rows()
    together = run_pass(model, rows, Silent())
    assert {outcome.batch_size for outcome in together.rows} == {7, 1}  # one prompt has a bucket of its own
    lengths = {model.family.encode(row).positive.length for row in rows}
    assert len(lengths) >= 6
    for row in rows:
        assert torch.equal(together.row(row.key).latents.tensor, alone(model, row))


def test_eight_guided_rows_equal_the_eight_drawn_alone(model: Any) -> None:
    rows = make_rows(negative_prompt="a dull picture", true_cfg_scale=3.7, num_inference_steps=3)
    together = run_pass(model, rows, Silent())
    for row in rows:
        assert torch.equal(together.row(row.key).latents.tensor, alone(model, row))


def test_joining_at_step_2_and_dropping_at_step_3_changes_nobody(model: Any) -> None:
    first, second, late = (make_row(key, seed=seed) for key, seed in (("a", 1), ("b", 2), ("c", 3)))
    family, state = model.family, begin(model, first, second)
    family.step(state)
    family.step(state)
    family.join(state, begin(model, late))
    family.step(state)
    family.drop(state, {"b"})
    family.step(state)
    assert state.finished == ["a"]
    done = {latents.key: latents.tensor for latents in family.latents(state)}
    family.drop(state, {"a"})
    done |= finish(model, state)
    assert set(done) == {"a", "c"}
    assert torch.equal(done["a"], alone(model, first))
    assert torch.equal(done["c"], alone(model, late))


def test_join_and_drop_with_cfg_and_other_steps(model: Any) -> None:
    guided = {"negative_prompt": "blue", "true_cfg_scale": 2.0}
    rows = [make_row("a", seed=1, **guided), make_row("b", seed=2, num_inference_steps=6, **guided)]
    family, state = model.family, begin(model, rows[0])
    family.step(state)
    family.join(state, begin(model, rows[1]))
    done = finish(model, state)
    family.drop(state, {"a"})
    done |= finish(model, state)
    for row in rows:
        assert torch.equal(done[row.key], alone(model, row))


def test_park_and_resume_is_exact(model: Any) -> None:
    row = make_row(negative_prompt="blue", true_cfg_scale=2.0)
    family, state = model.family, begin(model, row)
    family.step(state)
    parked = family.park(state)
    family.step(state)  # must not reach into what was parked
    other = finish(model, begin(model, make_row("z", seed=99)))
    resumed = family.resume(parked)
    assert resumed.rows[0].index == 1 and torch.equal(finish(model, resumed)["a"], alone(model, row))
    assert set(other) == {"z"}
    assert torch.equal(finish(model, family.resume(parked))["a"], alone(model, row))  # more than once


def test_steps_past_the_end_and_strange_company_are_refused(model: Any) -> None:
    family, state = model.family, begin(model, make_row(num_inference_steps=1))
    family.step(state)
    with pytest.raises(ValueError, match="rows a are finished"):
        family.step(state)
    with pytest.raises(ValueError, match="cannot join"):
        family.join(state, begin(model, make_row("b", width=96)))
    with pytest.raises(ValueError, match="this key"):
        family.join(state, begin(model, make_row()))
    with pytest.raises(ValueError, match="one size"):
        begin(model, make_row(), make_row("b", width=96))


def test_two_passes_at_once_do_not_meet(model: Any) -> None:
    """All state is in the pass: stepping two in turn is as good as one after the other."""
    one, two = begin(model, make_row("a", seed=1)), begin(model, make_row("b", seed=2, num_inference_steps=4))
    for _ in range(4):
        model.family.step(one)
        model.family.step(two)
    assert torch.equal(finish(model, one)["a"], alone(model, make_row("a", seed=1)))
    assert torch.equal(finish(model, two)["b"], alone(model, make_row("b", seed=2)))


def test_seed_and_prompt_matter(model: Any) -> None:
    """The equalities above would also hold for a model that ignores its input."""
    plain = alone(model, make_row())
    assert not torch.equal(plain, alone(model, make_row(seed=2)))
    assert not torch.equal(plain, alone(model, make_row(prompt="a blue square")))

"""LoRAs in requests: who may name which, at what strength; what becomes of it in row, pass, receipt and cost."""

from __future__ import annotations

import math
from typing import Any

import pytest

from accounts.domain.callers import caller_of_member
from accounts.errors import InvalidRequest
from accounts.tenancy import in_tenant
from generation.domain.claim import Claim, ClaimedRow
from generation.domain.estimate import estimate
from generation.domain.finish import finish_slice
from generation.domain.gallery import get_generation
from generation.domain.grid import GridRequest, grid_of, parse_grid, submit_grid
from generation.domain.request import GenerationRequest, LoraChoice, parse_request
from generation.domain.retry import retry_generation
from generation.errors import KeyReused, QueueFull
from generation.models import Generation, Lora, LoraGrant, Model
from generation.worker.passes import make_pictures
from tests.factories import Person, make_plan
from tests.generation.domain.desk import Look, check_books, claim, draw, submit
from tests.generation.lorafiles import offer_lora

pytestmark = pytest.mark.usefixtures("worker")


def use(name: str = "style", scale: float | None = None) -> tuple[LoraChoice, ...]:
    return (LoraChoice(name=name, scale=scale),)


def row_of(look: Look, identity: Any) -> dict[str, Any]:
    names = ("params", "schema_version", "batch_key", "estimate_ms", "seed")
    (row,) = look(f"SELECT {', '.join(names)} FROM generation_generation WHERE id = %s", identity)
    return dict(zip(names, row, strict=True))


def test_a_lora_is_in_the_row_under_its_name_strength_and_hash(alice: Person, look: Look) -> None:
    lora = offer_lora(default_scale=0.8)
    row = row_of(look, submit(alice.caller, loras=use()))
    assert row["params"]["loras"] == [{"name": "style", "scale": 0.8, "sha256": lora.sha256}]
    assert row["schema_version"] == 2  # a release before LoRAs would draw it without
    assert row_of(look, submit(alice.caller))["schema_version"] == 1
    stated = row_of(look, submit(alice.caller, loras=use(scale=-0.5)))
    assert stated["params"]["loras"][0]["scale"] == -0.5
    check_books(look)


def test_strengths_share_a_pass_and_hashes_part(alice: Person, look: Look) -> None:
    offer_lora("a"), offer_lora("b")
    both = (*use("a", 1.0), *use("b", 0.5))
    keys = [row_of(look, submit(alice.caller, loras=loras))["batch_key"] for loras in (
        both, tuple(reversed(both)), (*use("a", 0.1), *use("b", -2.0)), use("a"), ())]  # fmt: skip
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys)) == 3


def test_who_may_use_one(alice: Person, mallory: Person) -> None:
    offer_lora("private", public=False), offer_lora("off", enabled=False)
    with in_tenant(mallory.tenant.pk):
        LoraGrant.objects.create(lora_id="private")
    assert submit(mallory.caller, loras=use("private"))
    said = {}
    for name in ("private", "off", "never"):
        with pytest.raises(InvalidRequest) as caught:
            submit(alice.caller, loras=use(name))
        assert caught.value.field == "loras"
        said[name] = str(caught.value).replace(name, "it")
    assert len(set(said.values())) == 1  # another tenant's is answered like one that does not exist


@pytest.mark.parametrize(
    ("loras", "says"),
    [
        (use("other"), "'other' was made for another model: it fits large"),
        (use("nothing"), "fits no model that is on offer"),
        (use("style", 1.6), "scale of 'style' must be 0 to 1.5, got 1.6"),
        (use("style", -0.1), "must be 0 to 1.5"),
        ((*use("other"), *use("style", 2.0)), "another model.*, scale of 'style'"),
    ],
)
def test_what_a_lora_refuses(alice: Person, look: Look, loras: Any, says: str) -> None:
    offer_lora("other", fits=["large"]), offer_lora("nothing", fits=[])
    offer_lora(min_scale=0, max_scale=1.5)
    with pytest.raises(InvalidRequest, match=says):
        submit(alice.caller, loras=loras)
    with pytest.raises(InvalidRequest, match=says), in_tenant(alice.tenant.pk):
        estimate(GenerationRequest(model="demo", prompt="x", loras=loras), caller=alice.caller)
    assert look("SELECT count(*) FROM generation_generation") == [(0,)]


def test_a_model_may_take_fewer_or_none(alice: Person) -> None:
    offer_lora("a"), offer_lora("b")
    spec = Model.objects.get(slug="demo").spec
    Model.objects.filter(slug="demo").update(spec=spec | {"max_loras": 1})
    assert submit(alice.caller, loras=use("a"))
    with pytest.raises(InvalidRequest, match="has 2 entries, this model takes 1"):
        submit(alice.caller, loras=(*use("a"), *use("b")))


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf, True, "1", 2.01, -2.01, [1], {}])
def test_strengths_that_are_none(scale: Any) -> None:
    body = {"model": "demo", "prompt": "x", "loras": [{"name": "style", "scale": scale}]}
    with pytest.raises(InvalidRequest) as caught:
        parse_request(body)
    assert caught.value.field == "loras"


def test_a_later_row_repeats_it(alice: Person, look: Look) -> None:
    offer_lora()
    first = submit(alice.caller, loras=use(scale=0.3))
    taken = claim()
    assert taken is not None
    finish_slice(row=taken.rows[0], images=draw(taken.rows[0]), run_ms=55)
    with in_tenant(alice.tenant.pk):
        again = retry_generation(first, alice.caller)
        assert get_generation(again.id)["loras"] == [{"name": "style", "scale": 0.3}]
        Lora.objects.update(enabled=False)
        with pytest.raises(InvalidRequest, match="no LoRA named 'style'"):
            retry_generation(first, alice.caller)
    assert row_of(look, again.id)["batch_key"] == row_of(look, first)["batch_key"]


def test_what_the_engine_is_asked(alice: Person, media: Any) -> None:
    lora = offer_lora()
    submit(alice.caller, n=2, loras=use(scale=0.7))
    taken = claim()
    assert taken is not None
    rows = make_pictures(taken.rows[0])
    assert [row.seed for row in rows] == [7, 8]
    for row in rows:
        (used,) = row.loras
        assert (used.name, used.scale, used.sha256) == ("style", 0.7, lora.sha256)
        assert used.path == str(media / "loras" / lora.sha256[:2] / f"{lora.sha256}.safetensors")


# ---- what it costs


def estimated(person: Person, *names: str) -> int:
    loras = tuple(LoraChoice(name=name) for name in names)
    with in_tenant(person.tenant.pk):
        found: int = estimate(GenerationRequest(model="demo", prompt="x", width=64, height=64, loras=loras),
                              caller=person.caller)["image_ms"]  # fmt: skip
    return found


def end(taken: Claim | None, *, run_ms: int) -> ClaimedRow:
    assert taken is not None
    (row,) = taken.rows
    assert finish_slice(row=row, images=draw(row), run_ms=run_ms) == "finished"
    return row


def test_a_lora_s_cost_is_a_measured_factor(alice: Person, look: Look) -> None:
    offer_lora("a"), offer_lora("b")
    submit(alice.caller)
    end(claim(), run_ms=100)
    assert [estimated(alice), estimated(alice, "a"), estimated(alice, "a", "b")] == [100, 115, 130]  # published figures
    submit(alice.caller, loras=use("a"))
    row = end(claim(), run_ms=150)
    assert row.claimed_ms == 115
    assert look("SELECT loras, factor, samples FROM generation_loracost") == [(1, 1.5, 1)]
    assert look("SELECT ms, samples FROM generation_cost") == [(100.0, 1)]  # a picture without costs what it did
    assert [estimated(alice), estimated(alice, "a"), estimated(alice, "a", "b")] == [100, 150, 130]
    submit(alice.caller, loras=use("a"))
    assert end(claim(), run_ms=150).claimed_ms == 150
    check_books(look)


def test_a_slow_first_pass_is_no_factor_of_fifty(alice: Person, look: Look) -> None:
    offer_lora()
    submit(alice.caller)
    end(claim(), run_ms=100)
    submit(alice.caller, loras=use())
    end(claim(), run_ms=60_000)
    assert look("SELECT factor FROM generation_loracost") == [(10.0,)]


# ---- grids


def grid(**changes: Any) -> GridRequest:
    body = {"model": "demo", "prompt": "a red circle", "width": 64, "height": 64, "n": 2, "seed": 7,
            "lora": "style", "scales": [0, 0.5, 1]}  # fmt: skip
    return parse_grid(body | changes)


def test_a_grid_is_one_generation_for_each_strength_and_one_pass(alice: Person, look: Look) -> None:
    offer_lora(), offer_lora("other")
    made = submit_grid(caller=alice.caller, grid=grid(loras=[{"name": "other", "scale": 0.2}]))
    rows = [row_of(look, identity) for identity in made.ids]
    assert [[(lora["name"], lora["scale"]) for lora in row["params"]["loras"]] for row in rows] == [
        [("other", 0.2), ("style", scale)] for scale in (0, 0.5, 1)
    ]
    assert {row["seed"] for row in rows} == {7}
    assert {row["params"]["grid"] for row in rows} == {str(made.ids[0])}
    taken = claim()
    assert taken is not None
    assert [row.id for row in taken.rows] == list(made.ids)
    assert sum(len(row.seeds) for row in taken.rows) == 6
    with in_tenant(alice.tenant.pk):
        assert get_generation(made.ids[1])["grid"] == str(made.ids[0])
    check_books(look)


def test_a_grid_without_a_seed_has_the_same_at_every_strength(alice: Person, look: Look) -> None:
    offer_lora()
    made = submit_grid(caller=alice.caller, grid=grid(seed=None))
    assert len({row_of(look, identity)["seed"] for identity in made.ids}) == 1


def test_a_grid_is_stored_whole_or_not_at_all(alice: Person, look: Look) -> None:
    offer_lora(default_scale=0.5, max_scale=0.9)
    with pytest.raises(InvalidRequest, match="scale of 'style'"):
        submit_grid(caller=alice.caller, grid=grid())
    plan = make_plan(queue_length=2)
    look("UPDATE accounts_tenant SET plan_id = %s WHERE id = %s RETURNING 1", plan.pk, alice.tenant.pk)
    caller = caller_of_member(user_id=alice.user.pk, tenant_id=alice.tenant.pk)
    with pytest.raises(QueueFull):
        submit_grid(caller=caller, grid=grid(scales=[0, 0.1, 0.2]))
    assert look("SELECT count(*) FROM generation_generation") == [(0,)]
    assert look("SELECT count(*) FROM accounts_ledgerentry") == [(0,)]
    check_books(look)


def test_the_same_key_answers_the_same_grid(alice: Person, look: Look) -> None:
    offer_lora()
    first = submit_grid(caller=alice.caller, grid=grid(), idempotency_key="k")
    second = submit_grid(caller=alice.caller, grid=grid(), idempotency_key="k")
    assert (second.ids, second.replayed, first.replayed) == (first.ids, True, False)
    with pytest.raises(KeyReused):
        submit_grid(caller=alice.caller, grid=grid(scales=[0, 1]), idempotency_key="k")
    assert look("SELECT count(*) FROM generation_generation") == [(3,)]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"lora": None}, "lora"), ({"lora": 3}, "lora"), ({"lora": ""}, "lora"), ({"scales": [1]}, "scales"),
        ({"scales": "0,1"}, "scales"), ({"scales": [0, 0]}, "scales"), ({"scales": [0, math.nan]}, "scales"),
        ({"scales": [0, 3]}, "scales"), ({"scales": [0, True]}, "scales"), ({"scales": list(range(9))}, "scales"),
        ({"loras": [{"name": "style"}]}, "loras"), ({"surprise": 1}, "surprise"), ({"prompt": ""}, "prompt"),
    ],
)  # fmt: skip
def test_what_a_grid_refuses(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        grid(**changes)
    assert field in (caught.value.fields or {})


def test_all_wrong_fields_of_a_grid_are_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_grid({"scales": [], "prompt": ""})
    assert (caught.value.fields or {}).keys() == {"lora", "scales", "prompt", "model"}


def test_a_grid_of_another_tenant_is_not_found(alice: Person, mallory: Person) -> None:
    offer_lora()
    made = submit_grid(caller=alice.caller, grid=grid())
    with in_tenant(mallory.tenant.pk):
        assert grid_of(made.ids[0]) == ()
    with in_tenant(alice.tenant.pk):
        assert grid_of(made.ids[0]) == made.ids
        assert Generation.objects.count() == 3

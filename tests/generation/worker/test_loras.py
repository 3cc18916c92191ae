"""A GPU worker with torch draws a grid of strengths in one pass, and fails only the rows whose LoRA is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.domain.grid import parse_grid, submit_grid
from generation.domain.lorafiles import add_lora, lora_path
from generation.domain.request import LoraChoice
from generation.models import Model
from tests.chaos.rig import Rig, Submit, make_entry, row_of, wait_for
from tests.factories import Person
from tests.generation.lorafiles import DEMO, write_lora


@pytest.mark.timeout(600)
def test_loras_in_a_worker(rig: Rig, alice: Person, submit: Submit, media: Path, tmp_path: Path) -> None:
    Model.objects.filter(slug="demo").update(spec=make_entry() | {"path": str(DEMO), "size_multiple": 32})
    style, broken = (
        add_lora(slug=slug, family="qwen-image", file=write_lora(tmp_path / slug, seed=seed), title=slug)
        for seed, slug in enumerate(("style", "broken"))
    )
    stored = media / lora_path(broken.sha256)
    stored.write_bytes(stored.read_bytes()[:-8])
    before = submit(alice, seed=5)
    wanted = {"model": "demo", "prompt": "a red circle", "width": 64, "height": 64, "seed": 5, "n": 2,
              "lora": "style", "scales": [0, 0.5, 1]}  # fmt: skip
    grid = submit_grid(caller=alice.key_caller, grid=parse_grid(wanted)).ids
    bad = submit(alice, loras=(LoraChoice(name="broken"), LoraChoice(name="style", scale=0.5)))
    child = rig.start_worker(engine="")
    for generation in (before, *grid):
        wait_for(rig, generation, "succeeded", seconds=300)
    wait_for(rig, bad, "failed", seconds=60)
    after = submit(alice, seed=5)
    wait_for(rig, after, "succeeded", seconds=60)

    code, message, attempt = row_of(rig, bad, "error_code, error_message, attempt")
    assert (code, attempt) == ("lora_refused", 1)
    assert str(message).startswith("LoRA broken: the file has ")
    assert str(media) not in str(message)
    pictures = {
        (str(generation), index): sha256
        for generation, index, sha256 in rig.ask("SELECT generation_id, index, sha256 FROM generation_image")
    }
    assert len({pictures[str(generation), 0] for generation in grid}) == 3
    # strength 0 and a request without, before and after: one and the same file
    assert pictures[str(before), 0] == pictures[str(grid[0]), 0] == pictures[str(after), 0]
    receipts = rig.ask(
        "SELECT i.generation_id, r.body FROM generation_receipt r JOIN generation_image i ON i.id = r.image_id"
    )
    bodies = [body for generation, body in receipts if generation in grid]
    assert {body["batch_size"] for body in bodies} == {6}  # three strengths × two seeds: one pass
    assert {use["scale"] for body in bodies for use in body["loras"]} == {0, 0.5, 1}
    assert {use["sha256"] for body in bodies for use in body["loras"]} == {style.sha256}
    child.terminate()
    assert child.wait(60) == 0
    # by their files' hashes, and the one that was refused is none of them
    assert rig.ask("SELECT loras FROM generation_worker") == [([style.sha256],)]

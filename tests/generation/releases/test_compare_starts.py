"""Golden cases that start from another one's picture: both sides from one, faults of that step found, nothing left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from accounts.domain.media import media_path
from generation.domain.claim import ClaimedRow
from generation.engine.families import FAMILIES
from generation.models import ComparedCase, Comparison, GoldenCase, Model
from generation.releases.compare import keep, side
from generation.releases.compare.paths import picture_path
from generation.releases.compare.shipped import add_shipped
from generation.releases.compare.wanted import want
from tests.generation.releases.comparing import add_started_cases, compare, drawing, nan, repaint, wrong
from tests.generation.releases.machine import Machine
from tests.generation.releases.painter import Draw, encode, scene
from tests.generation.releases.test_release_steps import finish, promote, start

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("golden_cases")]


@pytest.fixture(autouse=True)
def _started(golden_cases: None) -> None:
    """The apple, what is made of it, and nothing else: each case is drawn twice."""
    GoldenCase.objects.exclude(slug="apple").delete()
    add_started_cases()


def on(prompt: str, draw: Draw) -> Draw:
    """A fault in one case; the others are drawn as they should be."""
    return lambda row: draw(row) if row.prompt == prompt else repaint(row)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def verdicts(found: Comparison) -> dict[str, str]:
    return {case.slug: case.verdict for case in found.cases.all()}


def codes(found: Comparison, slug: str) -> list[tuple[str, str]]:
    return [(reason["code"], reason["level"]) for reason in found.cases.get(slug=slug).reasons]


def test_both_lanes_start_from_the_old_lanes_picture(machine: Machine, media: Path, look: Callable[..., Any]) -> None:
    start(machine)
    given: dict[str, list[dict[str, Any]]] = {"blue": [], "green": []}

    def note(lane: str, row: ClaimedRow) -> bytes:
        given[lane].append(row.params)
        # Green's apple is a little darker: what starts from it must not suffer from that.
        shade = 60.0 if lane == "green" and row.prompt == "an apple" else 0.0
        return encode(scene(row.seeds[0][1]) - shade) if shade else repaint(row)

    GoldenCase.objects.filter(slug="apple").update(prompt="an apple")
    with drawing(blue=partial(note, "blue"), green=partial(note, "green")):
        found = compare()
    assert verdicts(found)["apple"] in ("yellow", "red")
    assert (verdicts(found)["baked"], verdicts(found)["bitten"]) == ("green", "green")
    apple, baked, bitten = (found.cases.get(slug=slug) for slug in ("apple", "baked", "bitten"))
    assert apple.input_sha256 == ""
    assert baked.input_sha256 == bitten.input_sha256 == apple.old_sha256 != apple.new_sha256
    assert baked.new_sha256 == baked.old_sha256 != ""
    assert media_path(picture_path(apple.old_sha256)).read_bytes() == encode(scene(0))
    for lane in ("blue", "green"):
        text, image, inpaint = sorted(given[lane], key=lambda params: ("images" in params) + ("mask" in params))
        assert "images" not in text
        assert image["strength"] == 0.5
        assert inpaint["strength"] == 0.6, "the usual one"
        assert (inpaint["mask"]["width"], inpaint["mask"]["height"]) == (64, 64)
    assert baked.params["starts_from"] == "apple"
    assert (bitten.params["task"], bitten.params["mask"]) == ("inpaint", "0.25,0.5,0.75,1")
    # Nothing of what was sent is left but errands that delete its files.
    for table in ("generation", "image", "inputfile", "inputuse"):
        assert look(f"SELECT count(*) FROM generation_{table}") == [(0,)], table
    assert look("SELECT stored_bytes FROM accounts_tenant WHERE id = %s", side.TENANT) == [(0,)]
    paths = [path for row in look("SELECT data FROM accounts_errand") for path in row[0]["paths"]]
    files = {file.relative_to(media).as_posix() for file in media.rglob("*") if file.is_file()}
    assert {file for file in files if not file.startswith("comparisons/")} <= set(paths)


@pytest.mark.parametrize(
    ("prompt", "fault", "reasons"),
    [
        ("a bite", partial(repaint, masked=False), ("outside", "red")),
        ("a bite", wrong, ("outside", "red")),
        ("a bite", partial(repaint, strength=0.3), ("colour", "red")),
        ("a baked apple", partial(repaint, strength=0.7), ("colour", "red")),
        ("a baked apple", wrong, ("ssim", "red")),
        ("a baked apple", nan, ("failed", "red")),
    ],
    ids=["no mask", "no input", "inpaint's strength", "strength", "another picture", "NaN"],
)
def test_a_planted_fault_in_a_later_step_is_red(
    machine: Machine, prompt: str, fault: Draw, reasons: tuple[str, str]
) -> None:
    start(machine)
    said: list[str] = []
    slug = {"a bite": "bitten", "a baked apple": "baked"}[prompt]
    with drawing(blue=repaint, green=on(prompt, fault)):
        found = compare(slugs=["apple", slug], say=said.append)
    assert verdicts(found) == {"apple": "green", slug: "red"}
    assert found.verdict == "red"
    assert reasons in codes(found, slug), found.cases.get(slug=slug).reasons
    if reasons[0] == "outside":
        assert any("pixels outside the mask are not those of the picture it starts from" in line for line in said)


def test_that_the_rest_is_kept_is_a_rule_whatever_the_old_lane_does(machine: Machine) -> None:
    start(machine)
    careless = on("a bite", partial(repaint, masked=False))
    with drawing(blue=careless, green=careless):
        found = compare(slugs=["bitten"])
    case = found.cases.get(slug="bitten")
    assert case.new_sha256 == case.old_sha256
    # Three eighths of 64 × 64 pixels are inside; of the others a few may have the same colour by chance.
    [reason] = case.reasons
    assert (reason["code"], reason["level"]) == ("outside", "red")
    assert 2500 <= reason["value"] <= 3072


def test_one_case_alone_gets_its_picture_drawn(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "OLD_ENOUGH_S", -1)  # whatever no comparison names goes at once
    start(machine)
    with drawing(blue=repaint, green=repaint) as painters:
        found = compare(slugs=["baked"])
    assert verdicts(found) == {"baked": "green"}
    assert (len(painters["blue"].batches), len(painters["green"].batches)) == (2, 1)
    file = media_path(picture_path(found.cases.get().input_sha256))
    assert file.read_bytes() == encode(scene(0))


def test_where_the_old_lane_draws_no_picture_the_new_ones_is_taken(machine: Machine) -> None:
    start(machine)
    GoldenCase.objects.filter(slug="bitten").delete()
    with drawing(blue=on("a apple", nan), green=repaint):
        found = compare()
    assert verdicts(found) == {"apple": "yellow", "baked": "green"}
    with drawing(blue=on("a apple", nan), green=on("a apple", nan)):
        found = compare()
    assert codes(found, "baked") == [("no_input", "yellow")]
    assert found.cases.get(slug="baked").new_error == "no_input"


# ---- references


def test_references_bring_what_they_were_drawn_from(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    start(machine)

    def brighter(row: ClaimedRow) -> bytes:
        """As `repaint`, with an apple that is meant to be another one."""
        return encode(scene(row.seeds[0][1]) + 60) if row.prompt == "a apple" else repaint(row)

    with drawing(blue=repaint, green=brighter):
        first = compare("green")
    promote(machine, force="the apple is meant to be brighter")
    finish(machine)
    machine.releases = ["three", *machine.releases]
    start(machine, "blue", release="three")

    with drawing(blue=brighter, green=None):
        found = compare("blue", against="references")
    assert found.against_release == "two"
    assert verdicts(found) == {"apple": "green", "baked": "green", "bitten": "green"}
    for slug in ("baked", "bitten"):  # from blue's apple, though green's is the reference by now
        assert found.cases.get(slug=slug).input_sha256 == first.cases.get(slug="apple").old_sha256

    # A lost input, and an apple that asks for something else: there is nothing to compare with, and that is said.
    GoldenCase.objects.filter(slug="apple").update(seed=99)
    with drawing(blue=repaint, green=None):
        found = compare("blue", against="references", slugs=["apple", "baked"])
    assert codes(found, "baked") == codes(found, "apple") == [("no_reference", "yellow")]
    assert found.cases.get(slug="baked").input_sha256 == found.cases.get(slug="apple").new_sha256
    GoldenCase.objects.filter(slug="apple").update(seed=0)
    media_path(picture_path(first.cases.get(slug="apple").old_sha256)).unlink()
    with drawing(blue=brighter, green=None):
        found = compare("blue", against="references", slugs=["baked"])
    assert codes(found, "baked") == [("no_reference", "yellow")]


def test_a_comparison_that_a_release_of_before_has_made_still_counts(machine: Machine) -> None:
    """What a text case's reference is found by is what it was before cases had tasks."""
    wanted = want(GoldenCase.objects.select_related("model").get(slug="apple"))
    assert wanted.params == {
        "negative_prompt": "", "width": 64, "height": 64, "steps": 4, "seed": 0, "true_cfg_scale": 1.0
    }  # fmt: skip
    assert wanted.input_sha256 == ""


# ---- the shipped file, and the older release on the newer schema


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('starts_from = "none"', "starts_from 'none' is no case before it"),
        ('starts_from = "other"', "starts_from: other is a case of other, it must be one of demo"),
        ('starts_from = "first"\nmask = "0,0,1,1"', "mask: covers the whole picture"),
        ('starts_from = "first"\nmask = "0,0,0.5,1"\nstrength = 2', "strength: must be more than 0, up to 1, got 2"),
        ('starts_from = "first"\nmask = "0,0,0.5,1"\ntolerance = "lax"', "tolerance: Value 'lax' is not a valid"),
    ],
)
def test_a_shipped_file_that_is_wrong_is_refused_by_case_and_field(
    machine: Machine, tmp_path: Path, lines: str, words: str
) -> None:
    GoldenCase.objects.all().delete()
    entry = Model.objects.get(slug="demo").spec
    Model.objects.create(slug="other", title="Other", pool="demo", spec=entry)
    file = tmp_path / "golden.toml"
    text = '[other.other]\nprompt = "a"\nseed = 1\n[demo.first]\nprompt = "a"\nseed = 1\n'
    file.write_text(f'{text}[demo.second]\nprompt = "b"\nseed = 1\ntask = "inpaint"\n{lines}\n')
    with pytest.raises(ValueError, match="second: ") as refused:
        add_shipped(file)
    assert words in str(refused.value)
    assert not GoldenCase.objects.exists()


def test_a_shipped_case_whose_task_the_entry_leaves_out_is_not_written(machine: Machine) -> None:
    GoldenCase.objects.all().delete()
    Model.objects.update(spec=Model.objects.get(slug="demo").spec | {"tasks": ["text-to-image", "inpaint"]})
    assert "circle-turns-blue" not in add_shipped()
    assert GoldenCase.objects.get(slug="circle-painted-over").starts_from == GoldenCase.objects.get(slug="red-circle")
    # A name that is another model's already is left to it, with what starts from it.
    GoldenCase.objects.exclude(slug="red-circle").delete()
    entry = Model.objects.get(slug="demo").spec
    GoldenCase.objects.update(model=Model.objects.create(slug="other", title="Other", pool="demo", spec=entry))
    assert "circle-painted-over" not in add_shipped()
    assert GoldenCase.objects.filter(slug="sky-painted-over", model="demo").exists()


def test_what_an_older_release_writes_and_deletes_is_borne(machine: Machine, look: Callable[..., Any]) -> None:
    """It names no column that it does not know, and deletes a case that others start from."""
    look(
        """INSERT INTO generation_goldencase (id, slug, model_id, prompt, negative_prompt, seed, tolerance, enabled,
           position, note, created_at, updated_at)
           VALUES (gen_random_uuid(), 'old', 'demo', 'an old one', '', 5, 'close', true, 9, '', now(), now())
           RETURNING id"""
    )
    old = GoldenCase.objects.get(slug="old")
    assert (old.task, old.starts_from_id, old.strength, old.mask) == ("text-to-image", None, None, "")
    look("DELETE FROM generation_goldencase WHERE slug = 'apple' RETURNING id")
    start(machine)
    with drawing(blue=repaint, green=repaint):
        found = compare()
    assert {case.slug: (case.verdict, case.new_error) for case in found.cases.all()} == {
        "old": ("green", ""),
        "baked": ("yellow", "refused"),
        "bitten": ("yellow", "refused"),
    }
    look(
        """INSERT INTO generation_comparedcase (id, comparison_id, slug, position, model, prompt, params, params_sha256,
           tolerance, verdict, reasons, new_sha256, old_sha256, new_error, old_error, hardware)
           VALUES (gen_random_uuid(), %s, 'older', 0, 'demo', '', '{}', '', 'close', 'green', '[]', '', '', '', '', '')
           RETURNING id""",
        found.pk,
    )
    assert ComparedCase.objects.get(slug="older").input_sha256 == ""


# ---- models that start from pictures only


def test_a_model_that_only_edits_starts_from_another_models_picture(machine: Machine) -> None:
    from generation.models import Worker

    assert FAMILIES["qwen-image-edit"].tasks == ("edit",)
    entry = Model.objects.get(slug="demo").spec | {"family": "qwen-image-edit", "tasks": ["edit"]}
    entry["length_buckets"] = list(FAMILIES["qwen-image-edit"].length_buckets)
    editor = Model.objects.create(slug="editor", title="Editor", pool="demo", spec=entry, public=False)
    apple = GoldenCase.objects.get(slug="apple")
    case = GoldenCase(slug="peeled", model=editor, prompt="peel it", seed=3, task="edit", starts_from=apple)
    case.full_clean()
    case.save()
    start(machine)
    Worker.objects.update(serves=["demo", "editor"])

    def peel(row: ClaimedRow) -> bytes:
        if row.model != "editor":
            return repaint(row)
        assert row.task == "edit"
        file = media_path(row.params["images"][0]["file"]).read_bytes()
        return encode(scene(int(sha256(file)[:6], 16)))

    with drawing(blue=peel, green=peel) as painters:
        for painter in painters.values():
            painter.serves = {"demo": 8, "editor": 8}
        found = compare(slugs=["peeled"])
    assert verdicts(found) == {"peeled": "green"}
    assert found.cases.get().params["starts_from"] == "apple"

"""`release compare` as it is typed, and the golden cases that come with the studio."""

from __future__ import annotations

import json
from collections import Counter
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from generation.models import Comparison, GoldenCase, Model
from generation.releases.compare.shipped import add_shipped
from generation.releases.compare.wanted import want
from generation.releases.lanes import one_at_a_time
from tests.generation.releases.comparing import drawing, made, only, wrong
from tests.generation.releases.machine import Machine
from tests.generation.releases.test_release_steps import start

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("golden_cases")]


# ---- the shipped set


def test_shipped_cases_are_written_once_and_are_staffs_then(machine: Machine) -> None:
    GoldenCase.objects.all().delete()
    first = add_shipped()
    assert len(first) == 10
    assert "red-circle" in first
    GoldenCase.objects.filter(slug="red-circle").update(prompt="a green circle", enabled=False)
    GoldenCase.objects.filter(slug="yellow-star").delete()
    assert add_shipped() == []
    case = GoldenCase.objects.get(slug="red-circle")
    assert (case.prompt, case.enabled) == ("a green circle", False)
    assert not GoldenCase.objects.filter(slug="yellow-star").exists()


def test_shipped_cases_are_drawn_as_the_demo_allows(machine: Machine) -> None:
    from generation.engine.catalog import read_catalog

    GoldenCase.objects.all().delete()
    specs = {spec.slug: spec for spec in read_catalog("deploy/models.toml")}
    Model.objects.filter(slug="demo").update(spec=specs["demo"].to_table())
    portrait = specs["demo-portrait"].to_table()
    Model.objects.create(slug="demo-portrait", title="Portraits", pool="demo", spec=portrait)
    add_shipped()
    wanted = [want(case) for case in GoldenCase.objects.select_related("model")]
    assert [one.refused for one in wanted] == [""] * 13
    tasks = Counter((one.model, one.params.get("task", "text-to-image")) for one in wanted)
    assert tasks == {
        ("demo", "text-to-image"): 6, ("demo", "image-to-image"): 2, ("demo", "inpaint"): 2,
        ("demo-portrait", "text-to-image"): 1, ("demo-portrait", "image-to-image"): 1, ("demo-portrait", "inpaint"): 1,
    }  # fmt: skip


def test_a_model_that_is_not_on_offer_gets_no_cases(machine: Machine) -> None:
    GoldenCase.objects.all().delete()
    Model.objects.all().delete()
    assert add_shipped() == []


def test_loadmodels_writes_them(machine: Machine) -> None:
    GoldenCase.objects.all().delete()
    out = StringIO()
    call_command("loadmodels", "--dry-run", stdout=out)
    assert not GoldenCase.objects.exists()
    call_command("loadmodels", stdout=out)
    assert "+ golden case red-circle" in out.getvalue()
    assert GoldenCase.objects.count() == 13


# ---- the command


def type_compare(machine: Machine, *words: str) -> tuple[str, str, int]:
    out, err = StringIO(), StringIO()
    path = "tests.generation.releases.test_compare_command:tools_of_this_test"
    made[:] = [machine]
    try:
        call_command("release", "--tools", path, "compare", *words, stdout=out, stderr=err)
    except CommandError as error:
        return out.getvalue(), f"{err.getvalue()}{error}", error.returncode
    return out.getvalue(), err.getvalue(), 0


def tools_of_this_test() -> Any:
    return made[0].tools()


def test_the_command(machine: Machine) -> None:
    start(machine)
    with drawing():
        out, _, code = type_compare(machine)
    assert code == 0
    assert "drawing 3 golden pictures of demo" in out
    assert "green with two against blue: GREEN" in out
    found = Comparison.objects.get()
    assert f"/admin/generation/comparison/{found.pk}/change/" in out
    assert found.by != ""


def test_the_command_as_json_and_its_exit_code(machine: Machine) -> None:
    start(machine)
    with drawing(green=only("a boat", wrong)):
        out, err, code = type_compare(machine, "green", "--json", "--cases", "boat,apple", "--against", "blue")
    assert code == 3
    assert "is red: release promote green refuses" in err
    report = json.loads(out)
    assert (report["verdict"], report["whole"]) == ("red", False)
    boat = next(case for case in report["cases"] if case["slug"] == "boat")
    assert boat["reasons"][0]["level"] == "red"
    assert "SSIM" in boat["reasons"][0]["words"]
    assert boat["prompt"] == "a boat"


def test_one_release_command_at_a_time(machine: Machine) -> None:
    import threading

    start(machine)
    seen: list[tuple[str, str, int]] = []
    with one_at_a_time():
        thread = threading.Thread(target=lambda: seen.append(type_compare(machine)))
        thread.start()
        thread.join(30)
    assert seen[0][2] == 1
    assert "another release command is at work" in seen[0][1]

"""What promotions make of comparisons: red is refused, and where nobody has compared they compare themselves."""

from __future__ import annotations

import pytest

from generation.domain.pools import pause_pool
from generation.enums import ReleaseMode
from generation.errors import ReleaseRefused
from generation.models import Comparison, Pool
from generation.releases.status import say_status
from tests.generation.releases.comparing import compare, drawing, drawing_later, wrong
from tests.generation.releases.machine import Machine
from tests.generation.releases.painter import paint
from tests.generation.releases.test_release_steps import finish, promote, start

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("golden_cases")]


def test_a_promotion_that_nobody_has_compared_compares(machine: Machine) -> None:
    start(machine)
    refusal = pytest.raises(ReleaseRefused, match=r"the comparison says no: two against blue \(one\) is red: apple")
    with drawing(green=wrong), refusal:
        promote(machine)
    assert Comparison.objects.get().cases.count() == 1, "the first case of the model, and no more"
    assert machine.serves() == "blue one"
    # What was red stays so until this stay of the release has a better verdict.
    with drawing(), pytest.raises(ReleaseRefused, match="is red: apple"):
        promote(machine)
    with drawing():
        compare()
        promote(machine)
    assert machine.serves() == "green two"


def test_a_promotion_where_nobody_can_draw_is_warned_of(machine: Machine) -> None:
    start(machine)
    Pool.objects.update_or_create(lane="green", name="demo")
    pause_pool(lane="green", name="demo", reason="maintenance", by=None)
    promote(machine)
    assert machine.serves() == "green two"
    assert any("two could not be compared: no worker of green draws now" in one for one in machine.said)


def test_a_verdict_of_an_earlier_stay_says_nothing(machine: Machine) -> None:
    start(machine)
    with drawing(green=wrong):
        assert compare().verdict == "red"
    finish(machine)
    start(machine)
    with drawing():
        promote(machine)
    assert "two against blue (one) is green" in machine.said


def test_a_green_verdict_is_said(machine: Machine) -> None:
    start(machine)
    with drawing():
        compare()
    assert any(
        "compared on" in line and "two against blue (one) is green" in line for line in say_status(machine.tools())
    )
    promote(machine)
    assert "two against blue (one) is green" in machine.said


def test_status_names_compare_as_the_next_step(machine: Machine) -> None:
    start(machine)
    assert "next: release compare green, then release promote green" in "\n".join(say_status(machine.tools()))


def test_a_hand_over_compares_one_picture_while_nobody_is_led_there(machine: Machine) -> None:
    say_status(machine.tools())  # notes which release blue is
    with drawing(green=None):
        compare("blue")
    start(machine, mode=ReleaseMode.HAND_OVER)
    refusal = pytest.raises(ReleaseRefused, match=r"the comparison says no: two against references .* is red: apple")
    with drawing_later(green=wrong) as painter, refusal:
        promote(machine, timeout_s=10.0)
    assert painter.batches == [1], "the first case of the model, and no more"
    assert machine.serves() == "blue one"
    assert machine.draws() == {"blue"}
    # Green draws as it should now.
    finish(machine)
    start(machine, mode=ReleaseMode.HAND_OVER)
    with drawing_later(green=paint):
        promote(machine, timeout_s=10.0)
    assert machine.serves() == "green two"
    assert "two against references (one) is green" in machine.said


def test_a_hand_over_without_references_is_warned_of(machine: Machine) -> None:
    start(machine, mode=ReleaseMode.HAND_OVER)
    promote(machine)
    assert machine.serves() == "green two"
    assert "two was not compared: no references are stored yet" in machine.said

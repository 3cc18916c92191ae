"""How long ago something was, and limits with their units, as pages say them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django.utils.translation import override

from accounts.templatetags.amounts import age, amount_of


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0, "less than a minute", "不到 1 分钟"),
        (30, "less than a minute", "不到 1 分钟"),
        (61, "1\xa0minute", "1 分钟"),
        (86_400 * 16, "2\xa0weeks", "2 周"),
    ],
)
def test_age_is_one_unit_and_never_nothing(seconds: int, english: str, chinese: str) -> None:
    moment = timezone.now() - timedelta(seconds=seconds)
    assert age(moment) == english
    with override("zh-hans"):
        assert age(moment).replace("\xa0", " ") == chinese


def test_a_limit_has_the_unit_of_what_it_bounds() -> None:
    assert amount_of(1500, "gpu_ms_per_day") == "1.5 s"
    assert amount_of(1500, "images_per_day") == "1,500"

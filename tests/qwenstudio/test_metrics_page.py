"""`docs/metrics.md` has every series, as the code declares it."""

from __future__ import annotations

import re

from tests.series import PAGE, all_series, with_table

UNITS = ("_seconds", "_bytes", "_celsius", "_ratio")


def test_the_page_is_printed_from_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_table(text) == text, "print it anew: python -m tests.series"


def test_every_name_on_the_page_exists() -> None:
    known = {sample for series in all_series() for sample in series.samples} | {series.name for series in all_series()}
    named = set(re.findall(r"`(studio_[a-z_]+)", PAGE.read_text(encoding="utf-8")))
    assert {name for name in named if not name.endswith("_")} <= known  # `studio_gpu_…` names several


def test_names_follow_the_conventions() -> None:
    """https://prometheus.io/docs/practices/naming/: base units at the end, `_total` for counters alone."""
    found = all_series()
    assert len(found) == len({series.name for series in found}) > 40
    for series in found:
        assert re.fullmatch(r"studio_[a-z]+(_[a-z]+)*", series.name), series.name
        assert series.name.endswith("_total") == (series.type == "counter"), series.name
        if re.search(r"_(age|time|duration|oldest|wait|timestamp)(_|$)", series.name):
            assert series.name.endswith("_seconds"), series.name
        if "memory" in series.name or "disk" in series.name:
            assert series.name.endswith("_bytes"), series.name
        assert not {"tenant", "user", "key", "path", "id", "address", "worker"} & set(series.labels), series.name
        assert series.text.endswith("."), series.name

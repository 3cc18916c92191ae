"""Alert rules and dashboard name series and labels that `/metrics` has, and every alert says what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.series import Series, all_series

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
NAME = re.compile(r"\bstudio_[a-z0-9_]+")
PICKED = re.compile(r"\b(studio_[a-z0-9_]+)\{([^}]*)\}")
GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")
OF_PROMETHEUS = {"instance", "job", "le"}


def rules() -> list[dict[str, Any]]:
    content = yaml.safe_load((FOLDER / "studio-alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    """Every query of both files."""
    board = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
    drawn = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in rules()] + drawn


def series_by_sample() -> dict[str, Series]:
    return {sample: series for series in all_series() for sample in series.samples}


def unknown_words(query: str, known: dict[str, Series]) -> list[str]:
    """Names and labels in a query that no series has."""
    names = set(NAME.findall(query))
    wrong = sorted(names - known.keys())
    labels = OF_PROMETHEUS.union(*(known[name].labels for name in names & known.keys()))
    used = [(words, labels) for words in GROUPED.findall(query)]
    used += [
        (",".join(re.findall(r"([a-z_]+)\s*[=!~]", picked)), {*known[name].labels, *OF_PROMETHEUS})
        for name, picked in PICKED.findall(query)
        if name in known
    ]
    for words, allowed in used:
        wrong += [word.strip() for word in words.split(",") if word.strip() and word.strip() not in allowed]
    return wrong


def test_queries_name_what_there_is() -> None:
    known = series_by_sample()
    found = queries()
    assert len(found) > 40
    assert [(query, wrong) for query in found if (wrong := unknown_words(query, known))] == []
    assert all(NAME.search(query) or "up{" in query for query in found)


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("rate(studio_images[5m])", ["studio_images"]),  # its samples end in _total
        ("sum by (tenant) (studio_queue_depth)", ["tenant"]),
        ('studio_workers{status="failed"} > 0', ["status"]),
        ("max by (lane, pool) (studio_queue_depth)", []),
    ],
)
def test_the_reader_sees_wrong_names(query: str, wrong: list[str]) -> None:
    assert unknown_words(query, series_by_sample()) == wrong


def test_every_alert_says_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) > 15
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "warn"), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "cure"}, rule["alert"]
        assert all(len(text) > 15 for text in rule["annotations"].values()), rule["alert"]
        # `$labels.x` must be a label that the query leaves.
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"] + rule["annotations"]["cure"]):
            groups = GROUPED.findall(rule["expr"])
            assert groups and label in groups[0].replace(" ", "").split(","), f"{rule['alert']}: {label}"


def test_values_in_queries_exist() -> None:
    """States and routes that queries pick by."""
    from generation.enums import WorkerState
    from tests.series import find_routes

    text = "\n".join(queries())
    states = {state for words in re.findall(r'state=~?"([^"]*)"', text) for state in words.split("|")}
    assert states <= {*WorkerState.values, "due", "running", "later", "failed"}
    assert set(re.findall(r'route!?="([^"]*)"', text)) <= find_routes()


def test_the_sample_reads_the_rules() -> None:
    sample = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    assert sample["rule_files"] == ["studio-alerts.yml"]
    assert sample["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:18787", "127.0.0.1:18788"]

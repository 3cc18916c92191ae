"""A migration that takes something away is refused while two lanes run on the database."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import migrations as ops
from django.db import models
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.functions import Now

from generation.models import Lane
from generation.releases import migrations
from generation.releases.migrations import check_two_lanes, judge, judge_all, read_unapplied
from generation.releases.tools import Migration


def before() -> ProjectState:
    state = ProjectState()
    fields: list[tuple[str, models.Field[Any, Any]]] = [
        ("id", models.BigAutoField(primary_key=True)),
        ("name", models.CharField(max_length=40)),
        ("note", models.CharField(max_length=40, null=True)),
        ("size", models.IntegerField(default=0)),
    ]
    state.add_model(ModelState("shop", "Thing", fields))
    return state


EXPANDING: list[Operation] = [
    ops.CreateModel("Other", [("id", models.BigAutoField(primary_key=True))]),
    ops.AddField("thing", "extra", models.IntegerField(null=True)),
    ops.AddField("thing", "extra", models.IntegerField(db_default=0)),
    ops.AddField("thing", "extra", models.DateTimeField(db_default=Now())),
    ops.AddField("thing", "others", models.ManyToManyField("shop.Thing")),
    ops.AlterField("thing", "name", models.CharField(max_length=80, verbose_name="other words", choices=[("a", "A")])),
    ops.AlterField("thing", "name", models.CharField(max_length=40, null=True)),
    ops.AddIndex("thing", models.Index(fields=["name"], name="thing_name")),
    ops.AlterModelOptions("thing", {"verbose_name": "a thing"}),
    ops.SeparateDatabaseAndState(state_operations=[ops.RemoveField("thing", "size")]),
]
CONTRACTING: list[Operation] = [
    ops.RemoveField("thing", "size"),
    ops.DeleteModel("Thing"),
    ops.RenameField("thing", "size", "length"),
    ops.RenameModel("Thing", "Item"),
    ops.AddField("thing", "extra", models.IntegerField(default=0)),  # Django keeps no default in the database
    ops.AlterField("thing", "note", models.CharField(max_length=40)),
    ops.AlterField("thing", "name", models.CharField(max_length=20)),
    ops.AlterField("thing", "size", models.TextField()),
    ops.AlterField("thing", "name", models.CharField(max_length=40, unique=True)),
    ops.AddConstraint("thing", models.UniqueConstraint("name", name="thing_unique")),
    ops.AlterModelTable("thing", "other_table"),
    ops.RunSQL("DROP TABLE shop_thing"),
    ops.RunPython(lambda apps, editor: None),
    ops.SeparateDatabaseAndState(database_operations=[ops.RemoveField("thing", "size")]),
]


@pytest.mark.parametrize("operation", EXPANDING, ids=lambda one: one.describe())
def test_what_adds_is_let_through(operation: Operation) -> None:
    assert list(judge(operation, "shop", before())) == []


@pytest.mark.parametrize("operation", CONTRACTING, ids=lambda one: one.describe())
def test_what_takes_away_is_named(operation: Operation) -> None:
    reasons = list(judge(operation, "shop", before()))
    assert len(reasons) == 1
    assert "shop" in reasons[0]


def test_a_table_that_is_made_in_the_same_breath_is_nobodys_yet() -> None:
    fields = [("id", models.BigAutoField(primary_key=True)), ("size", models.IntegerField())]
    made: list[Operation] = [ops.CreateModel("Fresh", fields), ops.RemoveField("fresh", "size")]
    assert list(judge_all(made, "shop", before(), set(), trusted=False)) == []
    old: list[Operation] = [ops.RemoveField("thing", "size"), ops.RemoveField("thing", "note")]
    assert len(list(judge_all(old, "shop", before(), set(), trusted=False))) == 2
    assert list(judge_all(old, "shop", before(), set(), trusted=True)) == []


def test_the_migrations_of_before_are_read_too(admin_sql: Any, worker: None) -> None:
    """With the newest ones unapplied: one of ours says that it expands, and 0003 that it does not."""
    assert read_unapplied() == []
    newest = "app = 'generation' AND name >= '0003'"
    kept = admin_sql.execute(f"SELECT * FROM django_migrations WHERE {newest}").fetchall()
    admin_sql.execute(f"DELETE FROM django_migrations WHERE {newest}")
    try:
        found = {one.name: one.contracting for one in read_unapplied()}
    finally:
        for row in kept:
            admin_sql.execute("INSERT INTO django_migrations VALUES (%s, %s, %s, %s)", row)
    assert found["generation.0003_receipt_unique_per_tenant"] == (
        "runs SQL of its own (without expands = True) in generation",
    )
    assert found["generation.0005_lanes_and_releases"] == found["generation.0006_golden_cases"] == ()
    assert found["generation.0009_loras"] == ()
    assert found["generation.0010_worker_resident"] == found["generation.0018_golden_tasks"] == ()


def test_migrate_is_refused_while_two_lanes_run(worker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    less, more = Migration("shop.0002_less", ("removes shop.thing.size",)), Migration("shop.0003_more")
    monkeypatch.setattr(migrations, "read_unapplied", lambda: [less, more])
    assert check_two_lanes(databases=["default"]) == [], "one lane runs"
    Lane.objects.filter(name="green").update(state="ready")
    (found,) = check_two_lanes(databases=["default"])
    assert "shop.0002_less takes something away while two lanes run: removes shop.thing.size" in found.msg
    assert check_two_lanes(databases=None) == [], "a check that may not ask the database"
    Lane.objects.filter(name="green").update(state="failed")
    assert len(check_two_lanes(databases=["default"])) == 1, "its processes may run still"

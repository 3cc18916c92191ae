"""Which migrations two releases can share a database over: those that only add. Read from their operations.

A migration expands when the release before it can go on working: what it reads and writes is still there, and rows that
it writes are still taken. Statements of one's own (`RunSQL`, `RunPython`) cannot be read; their author says
`expands = True` in the migration's class. Everything that cannot be judged counts as contracting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connection, models
from django.db.migrations import operations as ops
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models.fields import NOT_PROVIDED, Field

from accounts.domain.sql import fetch_one
from generation.enums import LaneState
from generation.releases.tools import Migration

# Nothing that a release reads or writes changes with these.
HARMLESS = (
    ops.CreateModel,
    ops.AddIndex,
    ops.RemoveIndex,
    ops.RenameIndex,
    ops.RemoveConstraint,
    ops.AlterModelOptions,
    ops.AlterModelManagers,
    ops.AlterModelTableComment,
)
# What a field may say differently without the database doing so.
_WORDS = {"null", "default", "auto_now", "auto_now_add", "max_length", "to_fields", "choices"}
_RUNNING_SQL = "SELECT count(*)::int AS lanes FROM generation_lane WHERE state <> %(stopped)s"


def read_unapplied() -> list[Migration]:
    """The migrations of this code that the database lacks, in their order."""
    executor = MigrationExecutor(connection)
    loader = executor.loader
    plan = executor.migration_plan(loader.graph.leaf_nodes())
    applied = [node for node in loader.applied_migrations if node in loader.graph.nodes]
    state: ProjectState = loader.project_state(applied) if applied else ProjectState()
    created: set[tuple[str, str]] = set()
    found = []
    for migration, _ in plan:
        trusted = bool(getattr(migration, "expands", False))
        name = f"{migration.app_label}.{migration.name}"
        reasons = tuple(judge_all(migration.operations, migration.app_label, state, created, trusted=trusted))
        found.append(Migration(name=name, contracting=reasons))
    return found


def judge_all(
    operations: Sequence[Operation],
    app: str,
    state: ProjectState,
    created: set[tuple[str, str]],
    *,
    trusted: bool,
) -> Iterator[str]:
    """What contracts, as sentences; moves `state` on behind each operation."""
    for operation in operations:
        if not trusted:
            yield from judge(operation, app, state, created)
        if isinstance(operation, ops.CreateModel):
            created.add((app, operation.name_lower))
        operation.state_forwards(app, state)


def judge(
    operation: Operation, app: str, state: ProjectState, created: set[tuple[str, str]] | None = None
) -> Iterator[str]:
    """Why the release before could not bear this operation; nothing where it can. `state` is the one before it."""
    name = getattr(operation, "model_name", getattr(operation, "name", "")) or ""
    if isinstance(operation, HARMLESS) or (app, name.lower()) in (created or ()):
        return
    where = f"{app}.{name}" if name else app
    if isinstance(operation, ops.SeparateDatabaseAndState):
        # What only the state says, the database does not hear of.
        yield from judge_all(operation.database_operations, app, state.clone(), set(created or ()), trusted=False)
    elif isinstance(operation, ops.AddField):
        if not _may_be_left_out(operation.field):
            yield f"adds {where}.{operation.name}, which the running release does not fill: give it null or db_default"
    elif isinstance(operation, ops.AlterField):
        old = state.models[app, name.lower()].fields[operation.name]
        if why := _narrows(old, operation.field):
            yield f"{why} {where}.{operation.name}"
    else:
        yield f"{_say(operation)} {where}{_part(operation)}"


def _may_be_left_out(field: Field[Any, Any]) -> bool:
    """Whether an INSERT that does not name the column is taken: Django drops a Python default behind itself."""
    return bool(field.null or field.many_to_many or getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED)


def _narrows(old: Field[Any, Any], new: Field[Any, Any]) -> str:
    """What an altered column takes no longer; empty where it takes all that it took."""
    if old.null and not new.null:
        return "no longer takes nothing in"
    if (old.max_length or 0) > (new.max_length or 0):
        return "shortens"
    _, old_path, old_arguments, old_words = old.deconstruct()
    _, new_path, new_arguments, new_words = new.deconstruct()
    skipped = _WORDS | set(models.Field.non_db_attrs)
    kept = [{key: value for key, value in words.items() if key not in skipped} for words in (old_words, new_words)]
    same = (old_path, list(old_arguments), kept[0]) == (new_path, list(new_arguments), kept[1])
    return "" if same else "changes"


def _say(operation: Operation) -> str:
    words = {
        ops.RemoveField: "removes",
        ops.DeleteModel: "deletes",
        ops.RenameField: "renames in",
        ops.RenameModel: "renames",
        ops.AddConstraint: "adds a rule to",
        ops.RunSQL: "runs SQL of its own (without expands = True) in",
        ops.RunPython: "runs Python of its own (without expands = True) in",
    }
    return next((text for kind, text in words.items() if isinstance(operation, kind)), type(operation).__name__)


def _part(operation: Operation) -> str:
    if isinstance(operation, ops.RemoveField):
        return f".{operation.name}"
    if isinstance(operation, ops.RenameField):
        return f".{operation.old_name}"
    return ""


@register(Tags.database)
def check_two_lanes(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """`manage.py migrate` refuses a contracting migration while two lanes run on the database."""
    if not databases:
        return []
    known = fetch_one("SELECT to_regclass('generation_lane') IS NOT NULL AS there")
    if not known or not known["there"]:  # an empty database, or one from before there were lanes
        return []
    running = fetch_one(_RUNNING_SQL, stopped=LaneState.STOPPED.value)
    if not running or running["lanes"] < 2:
        return []
    return [
        Error(
            f"{migration.name} takes something away while two lanes run: {'; '.join(migration.contracting)}.",
            hint="End the release first (manage.py release finish), then migrate.",
            id="studio.E020",
        )
        for migration in read_unapplied()
        if migration.contracting
    ]

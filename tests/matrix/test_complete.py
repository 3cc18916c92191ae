"""The table knows every operation and every input, and nothing that is not there."""

from __future__ import annotations

import pytest

from tests.matrix.house import KINDS
from tests.matrix.routes import all_routes, described_inputs, form_fields, read_names
from tests.matrix.table import OPEN, OPERATIONS, PERSONAL, PLAIN


def test_every_operation_has_an_entry() -> None:
    there = {operation for route in all_routes() if not route.is_admin for operation in route.operations}
    listed = OPERATIONS.keys() | OPEN.keys() | {operation for operation in there if path_of(operation) in PERSONAL}
    assert there - listed == set(), "add them to tests/matrix/table.py"
    assert listed - there == set(), "gone: take them out of tests/matrix/table.py"
    assert OPERATIONS.keys() & OPEN.keys() == set()
    assert PERSONAL.keys() <= {path_of(operation) for operation in there - OPERATIONS.keys() - OPEN.keys()}
    assert all((*OPEN.values(), *PERSONAL.values(), *PLAIN.values()))
    assert len(there) > 40


def path_of(operation: str) -> str:
    return operation.partition(" ")[2]


def test_every_part_of_a_path_is_an_id_with_an_entry() -> None:
    for route in all_routes():
        for operation in route.operations if not route.is_admin else ():
            if operation in OPERATIONS:
                op = OPERATIONS[operation]
                given = {name for place, name in op.spots if place == "path"}
                assert given | op.fixed.keys() == set(route.variables), operation
            assert path_of(operation) not in PERSONAL or not route.variables, operation


def test_every_input_of_the_api_has_an_entry() -> None:
    missing = []
    for operation, inputs in described_inputs().items():
        op = OPERATIONS.get(operation)
        for place, name in inputs if op else ():
            if (place, name) not in op.spots and name not in op.plain and name not in PLAIN:
                missing.append(f"{operation}: {name} ({place})")
    assert not missing, "an id or not? Say so in tests/matrix/table.py: " + "; ".join(missing)


def test_every_name_that_a_view_reads_has_an_entry() -> None:
    known = {*PLAIN, *(name for op in OPERATIONS.values() for _, name in op.spots)}
    known |= {name for op in OPERATIONS.values() for name in op.plain}
    missing = {where for where in read_names() | form_fields() if where[1] not in known}
    assert not missing, f"an id or not? Say so in tests/matrix/table.py: {sorted(missing)}"


def test_every_kind_is_known() -> None:
    assert {spot.kind for op in OPERATIONS.values() for spot in op.spots.values()} == KINDS.keys()


@pytest.mark.parametrize("operation", ["GET /healthz", "GET /files/{image}", "POST /keys/{key}/revoke/"])
def test_the_reader_finds_operations(operation: str) -> None:
    assert operation in {found for route in all_routes() if not route.is_admin for found in route.operations}

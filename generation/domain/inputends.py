"""When inputs go: with the last generation that uses them, or a day after they were sent and not used."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from accounts.domain.errands import add_errand
from accounts.domain.sql import execute, fetch_all
from accounts.domain.stored import move_stored
from accounts.enums import ErrandKind
from accounts.tenancy import in_tenant
from generation.domain.inputs import LOCK_SQL, USED_SQL
from generation.models import InputUse

_BATCH = 500

# Of those that are locked: a second statement, so that it sees what the one that held the lock before has committed.
_DROP_SQL = """
DELETE FROM generation_inputfile i WHERE i.id = ANY(%(ids)s) AND (i.unused_since IS NULL OR %(unused)s)
   AND NOT EXISTS (SELECT FROM generation_inputuse u WHERE u.tenant_id = i.tenant_id AND u.input_id = i.id)
RETURNING file, bytes
"""
_OLD_SQL = """
SELECT tenant_id AS tenant, array_agg(id) AS ids FROM (
  SELECT tenant_id, id FROM generation_inputfile WHERE unused_since < now() - interval '1 day'
   ORDER BY unused_since LIMIT %(most)s) old
 GROUP BY tenant_id
"""
_LOCK_OLD_SQL = """
SELECT id FROM generation_inputfile WHERE id = ANY(%(ids)s) AND unused_since < now() - interval '1 day'
 ORDER BY id FOR UPDATE SKIP LOCKED
"""


def release_inputs(generations: Sequence[UUID]) -> tuple[int, list[str]]:
    """Let go of what generations use that are about to be deleted; in their transaction.

    Returns the bytes of the inputs that were used by none but them, which are gone, and their files.
    """
    uses = InputUse.objects.filter(generation_id__in=generations)
    ids = sorted(set(uses.values_list("input_id", flat=True)))
    if not ids:
        return 0, []
    uses.delete()
    fetch_all(LOCK_SQL, ids=ids)
    gone = fetch_all(_DROP_SQL, ids=ids, unused=False)
    return sum(row["bytes"] for row in gone), [row["file"] for row in gone]


def forget_unused_inputs() -> int:
    """Delete inputs that nobody has used within a day, with their files; returns how many. Under the worker's role."""
    forgotten = 0
    for row in fetch_all(_OLD_SQL, most=_BATCH):
        with in_tenant(row["tenant"]), transaction.atomic():
            ids = [old["id"] for old in fetch_all(_LOCK_OLD_SQL, ids=row["ids"])]
            gone = fetch_all(_DROP_SQL, ids=ids, unused=True)
            execute(USED_SQL, ids=ids)  # those that are left are used: the last generation takes them along
            if gone:
                move_stored(tenant=row["tenant"], size=-sum(one["bytes"] for one in gone))
                paths = [one["file"] for one in gone]
                add_errand(kind=ErrandKind.DELETE_FILES, data={"paths": paths}, tenant=row["tenant"])
        forgotten += len(gone)
    return forgotten

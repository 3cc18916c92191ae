"""Zips that hold a picture which is deleted: they go with it, in the deletion's own transaction.

From its commit on nobody can fetch them; their files go by the quick errand that the same transaction inserts, as the
picture's own file does. A zip that is being made at that moment is not ready yet: whoever finishes it looks whether its
pictures are all still there (`selections.finish_zip`), under locks for which a deletion waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from accounts.domain.sql import execute, fetch_all
from accounts.tenancy import current_tenant

DELETED = "pictures in it were deleted; ask for it anew to have those that are left"

# A zip that does not say what it holds was made by a release before this one, and may hold anything: it goes as well.
# Locked in one order, so that two deletions do not wait for each other in a circle.
_HOLDING_SQL = """
SELECT id, file FROM generation_selection AS zip
 WHERE tenant_id = %(tenant)s AND act = 'zip' AND status = 'ready'
   AND (ids = '{}' OR EXISTS (SELECT FROM unnest(zip.ids) AS held (id) WHERE held.id = ANY(%(ids)s)))
 ORDER BY id FOR UPDATE
"""
_WITHDRAW_SQL = """
UPDATE generation_selection SET status = 'withdrawn', error = %(error)s, file = '', ids = '{}', expires_at = NULL
 WHERE id = ANY(%(zips)s)
"""


def withdraw_zips(ids: Sequence[UUID]) -> list[str]:
    """Take back every ready zip of the scope's tenant that holds one of these generations; returns their files.

    Runs in the transaction that deletes the generations, after it has locked them; the caller sees to the files.
    """
    rows = fetch_all(_HOLDING_SQL, tenant=current_tenant(), ids=list(ids))
    if rows:
        execute(_WITHDRAW_SQL, zips=[row["id"] for row in rows], error=DELETED)
    return [row["file"] for row in rows if row["file"]]

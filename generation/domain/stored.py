"""What a tenant's pictures take, those that others start from among them, counted anew from their rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from accounts.domain.media import media_path
from accounts.domain.sql import execute, fetch_all, fetch_one
from accounts.ids import NO_ID

logger = logging.getLogger(__name__)

_BATCH = 1000

_LOCK_SQL = "SELECT stored_bytes FROM accounts_tenant WHERE id = %(tenant)s FOR NO KEY UPDATE"
_SUM_SQL = """
SELECT (SELECT coalesce(sum(bytes + thumbnail_bytes), 0) FROM generation_image WHERE tenant_id = %(tenant)s)::bigint
     + (SELECT coalesce(sum(bytes), 0) FROM generation_inputfile WHERE tenant_id = %(tenant)s)::bigint AS bytes
"""
_WRITE_SQL = "UPDATE accounts_tenant SET stored_bytes = %(bytes)s WHERE id = %(tenant)s"

# Rows of before thumbnails were counted.
_UNMEASURED_SQL = """
SELECT id, thumbnail FROM generation_image
 WHERE tenant_id = %(tenant)s AND thumbnail_bytes = 0 AND id > %(after)s ORDER BY id LIMIT %(limit)s
"""
_MEASURED_SQL = """
UPDATE generation_image i SET thumbnail_bytes = m.size
  FROM unnest(%(ids)s::uuid[], %(sizes)s::bigint[]) AS m (id, size)
 WHERE i.id = m.id AND i.tenant_id = %(tenant)s
"""


def rebuild_stored(tenant: UUID) -> int:
    """Set what a tenant's pictures take to the sum of their rows; returns by how many bytes it was wrong.

    The tenant's row is locked first and the rows are summed in a second statement: whoever adds or removes pictures has
    either committed, and is seen, or waits for the row, and moves it afterwards.
    """
    _measure_thumbnails(tenant)
    with transaction.atomic():
        before = fetch_one(_LOCK_SQL, tenant=tenant)
        if before is None:
            return 0
        truth = fetch_one(_SUM_SQL, tenant=tenant)
        right = int(truth["bytes"]) if truth else 0
        wrong = int(before["stored_bytes"]) - right
        if wrong:
            execute(_WRITE_SQL, tenant=tenant, bytes=right)
    return wrong


def rebuild_all_stored() -> int:
    """The same for every tenant, under the worker's role; returns how many were wrong."""
    wrong = [tenant for tenant in all_tenants() if rebuild_stored(tenant)]
    if wrong:
        logger.warning("the storage of %d tenants was counted anew", len(wrong))
    return len(wrong)


def all_tenants() -> Sequence[UUID]:
    """Every tenant's id; under the worker's role."""
    return [row["id"] for row in fetch_all("SELECT id FROM accounts_tenant ORDER BY id")]


def _measure_thumbnails(tenant: UUID) -> None:
    """Look at the files where a row does not know its thumbnail's size."""
    last = NO_ID
    while rows := fetch_all(_UNMEASURED_SQL, tenant=tenant, after=last, limit=_BATCH):
        last = rows[-1]["id"]
        sizes = {row["id"]: _size_of(row["thumbnail"]) for row in rows}
        known = {id: size for id, size in sizes.items() if size}
        if known:
            execute(_MEASURED_SQL, tenant=tenant, ids=list(known), sizes=list(known.values()))


def _size_of(path: str) -> int:
    try:
        return media_path(path).stat().st_size
    except OSError:  # the janitor tells of files that are gone
        return 0

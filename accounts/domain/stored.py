"""What a tenant's pictures take on the disk: files and thumbnails, as the rows of images have their sizes.

`Tenant.stored_bytes` is moved in the transactions that add and remove those rows. The row of the tenant is locked after
generation, counters and clock; inserting what points to a tenant does not wait for it.
"""

from __future__ import annotations

from uuid import UUID

from accounts.domain.callers import Caller
from accounts.domain.sql import execute
from accounts.errors import StorageFull

_MOVE_SQL = """
UPDATE accounts_tenant SET stored_bytes = greatest(0, stored_bytes + %(bytes)s) WHERE id = %(tenant)s
"""
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def move_stored(*, tenant: UUID, size: int) -> None:
    """Add to what a tenant's pictures take, in bytes; less than zero where some are removed."""
    if size:
        execute(_MOVE_SQL, tenant=tenant, bytes=size)


def check_stored(caller: Caller) -> None:
    """Raise `StorageFull` when the tenant's pictures take as much as its plan allows.

    A picture's size is known when it is there: what was accepted before is drawn and kept, so a tenant may pass its
    bound by what waited then, and is refused from there on.
    """
    quota, used = caller.plan.storage_bytes, caller.stored_bytes
    if quota is not None and used >= quota:
        raise StorageFull(
            f"the pictures of your organisation take {format_bytes(used)} of the {format_bytes(quota)} that its plan "
            "has: delete some, or ask an admin of your organisation for another plan",
            used=used,
            quota=quota,
        )


def format_bytes(size: int) -> str:
    """For people: "3.2 GB"."""
    amount, unit = float(size), 0
    while abs(amount) >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{size} bytes"

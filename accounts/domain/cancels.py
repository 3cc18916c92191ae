"""What was cancelled while it waited costs nothing, but its rows stay: so a day has room for so many and no more.

Everything else that makes rows has a pace of its own: what is drawn takes quota and time, what waits is bounded by the
queue's length. Only submit-and-cancel would go on for ever. What failed by our own fault does not count, and cancelling
itself is never refused.
"""

from __future__ import annotations

from accounts.errors import QuotaExceeded

CANCELED = "canceled"  # the reason of a refund for what was cancelled while it waited

# How much a tenant has cancelled today, as far as the limit. Parameters: tenant, most_cancels (none: nothing is read).
# Uses: today of the relation `clock`; served by the index accounts_ledger_cancels.
COUNT_CANCELS = f"""(
  SELECT count(*) FROM (
    SELECT FROM accounts_ledgerentry
     WHERE tenant_id = %(tenant)s AND charged_on = (SELECT today FROM clock)
       AND kind = 'refund' AND metric = 'images' AND reason = '{CANCELED}'
     LIMIT coalesce(%(most_cancels)s::bigint, 0)) e)"""  # noqa: S608  (a constant of this module)


def too_many_cancels(*, limit: int, resets_in_s: int) -> QuotaExceeded:
    """The refusal of anything new until tomorrow."""
    return QuotaExceeded(
        f"{limit} requests of your organisation were cancelled today while they waited, which is its limit: try again "
        f"in {resets_in_s} s, or ask an admin of your organisation for another plan",
        limit="cancels_per_day",
        retry_after_s=resets_in_s,
        quota=limit,
        window_s=86_400,
    )

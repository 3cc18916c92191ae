"""Who: people, tenants, keys, limits. `docs/data.md` describes every table."""

from accounts.models.audit import AuditEvent
from accounts.models.errand import Errand
from accounts.models.key import ApiKey, KeyDirectory, KeySecret, TokenDirectory
from accounts.models.ledger import Counter, LedgerEntry, LimitNotice
from accounts.models.tenant import Export, Invitation, MemberBudget, Membership, Plan, Tenant
from accounts.models.user import User

__all__ = [
    "ApiKey",
    "AuditEvent",
    "Counter",
    "Errand",
    "Export",
    "Invitation",
    "KeyDirectory",
    "KeySecret",
    "LedgerEntry",
    "LimitNotice",
    "MemberBudget",
    "Membership",
    "Plan",
    "Tenant",
    "TokenDirectory",
    "User",
]

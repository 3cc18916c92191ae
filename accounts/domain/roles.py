"""What each role may do: the one table of rights.

A right has the weakest role that holds it and the scope that a key needs for it. Nothing else decides: pages, API and
domain ask `Caller.has`, keys get their scopes from `ROLE_SCOPES`, and `docs/roles.md` is printed from here.
"""

from __future__ import annotations

from enum import Enum

from django.utils.translation import gettext_noop as _

from accounts.enums import Role, Scope

# Strongest first, as the enum stands.
STRENGTH = {role: len(Role) - place for place, role in enumerate(Role)}


class Right(Enum):
    """A right as (what it is called, the weakest role that has it, the scope that a key needs for it)."""

    SEE_IMAGES = (_("see the organisation's pictures"), Role.VIEWER, Scope.IMAGES_READ)
    SEE_USAGE = (_("see one's own usage and what is left of the limits"), Role.VIEWER, Scope.USAGE_READ)
    MAKE_IMAGES = (_("ask for pictures, cancel, star and delete them"), Role.MEMBER, Scope.IMAGES_WRITE)
    CHAT = (_("chat"), Role.MEMBER, Scope.CHAT)
    SENTIMENT = (_("judge the sentiment of texts"), Role.MEMBER, Scope.SENTIMENT)
    MAKE_KEYS = (_("make, rotate and revoke one's own API keys"), Role.MEMBER, Scope.KEYS_WRITE)
    SEE_MEMBERS = (_("see who belongs to the organisation"), Role.ADMIN, Scope.ADMIN)
    MANAGE_KEYS = (_("see and revoke everybody's API keys"), Role.ADMIN, Scope.ADMIN)
    SEE_ALL_USAGE = (_("see everybody's usage"), Role.ADMIN, Scope.ADMIN)
    MANAGE_MEMBERS = (_("invite people, change roles, take people out"), Role.ADMIN, Scope.ADMIN)
    SET_BUDGETS = (_("set budgets of members and keys"), Role.ADMIN, Scope.ADMIN)
    SEE_AUDIT = (_("read and export the audit log"), Role.ADMIN, Scope.ADMIN)
    CHANGE_TENANT = (_("change the organisation's name, logo and networks"), Role.ADMIN, Scope.ADMIN)
    MANAGE_STYLES = (_("make, change and delete the organisation's styles"), Role.ADMIN, Scope.ADMIN)
    MANAGE_RULES = (_("make, change and delete the organisation's rules for answers"), Role.ADMIN, Scope.ADMIN)
    MANAGE_OWNERS = (_("make and unmake owners"), Role.OWNER, Scope.ADMIN)
    EXPORT_TENANT = (_("export everything that the organisation has"), Role.OWNER, Scope.ADMIN)
    DELETE_TENANT = (_("delete the organisation, and change one's mind"), Role.OWNER, Scope.ADMIN)

    def __init__(self, title: str, weakest: Role, scope: Scope) -> None:
        self.title = title
        self.weakest = weakest
        self.scope = scope

    def is_held_by(self, role: str) -> bool:
        """Whether a role has it."""
        return STRENGTH[Role(role)] >= STRENGTH[self.weakest]


# What a key of a member with this role may be given at most; a session has all of it.
ROLE_SCOPES: dict[str, frozenset[str]] = {
    role.value: frozenset(right.scope.value for right in Right if right.is_held_by(role)) for role in Role
}


def right_over(role: str) -> Right:
    """What somebody needs who gives this role, takes it away, or takes out a person who has it."""
    return Right.MANAGE_OWNERS if role == Role.OWNER else Right.MANAGE_MEMBERS

"""The base of every refusal the domain can give, and those of accounts.

An error carries what a person needs (`message`), what a program needs (`code`) and, where it has them, the field, the
bound and how long to wait. It knows no HTTP: the doors map `kind` to a status.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

Kind = Literal["invalid", "unauthenticated", "denied", "missing", "conflict", "mismatch", "limited", "unavailable"]


class StudioError(Exception):
    """A refusal with a reason; nothing was changed when it is raised."""

    kind: Kind = "invalid"
    code = "invalid"
    limit: str | None = None  # the limit that refused, where one did: "images_per_day"
    repeats: bool | None = None  # whether a program may simply send it again; None: as its kind says
    tenant: UUID | None = None  # whose log a refused credential belongs into; set where it was looked up
    key: UUID | None = None

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after_s: int | None = None,
        fields: dict[str, list[str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s
        self.fields = fields or ({field: [message]} if field else {})


class NoTenant(RuntimeError):
    """A tenant's data was touched outside a tenant's scope: a bug in our code, never a user's mistake."""


class InvalidKey(StudioError):
    """No, bad, expired or revoked API key. One message for all: which of them it was is nobody else's business."""

    kind = "unauthenticated"
    code = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("invalid api key")


class NotSignedIn(StudioError):
    kind = "unauthenticated"
    code = "not_signed_in"


class NotAllowed(StudioError):
    """The caller is known but may not do this: scope, role, network, suspended tenant."""

    kind = "denied"
    code = "not_allowed"


class TenantSuspended(NotAllowed):
    """Staff have closed the tenant for a time."""

    code = "tenant_suspended"

    def __init__(self) -> None:
        super().__init__("this organisation is suspended; ask the operators of this studio")


class TenantClosing(NotAllowed):
    """An owner has asked for the tenant's end; `until` is the last moment in which an owner can undo that."""

    code = "tenant_closing"

    def __init__(self, until: datetime) -> None:
        super().__init__(f"this organisation will be deleted after {until:%Y-%m-%d}; its owners can still keep it")
        self.until = until


class TenantSwitched(NotAllowed):
    """A page of one tenant asks, and the person works in another one since: nothing may land in the wrong place."""

    code = "tenant_switched"

    def __init__(self) -> None:
        super().__init__("you work in another organisation since this page was opened: load it again")


class OwnRole(NotAllowed):
    """Nobody changes their own role: an owner could lose the tenant by a wrong click, an admin rise."""

    code = "own_role"

    def __init__(self) -> None:
        super().__init__("you cannot change your own role; ask another owner or admin")


class QuotaExceeded(StudioError):
    """A plan's limit is used up; `limit` names it."""

    kind = "limited"
    code = "quota_exceeded"

    def __init__(
        self, message: str, *, limit: str, retry_after_s: int, quota: int | None = None, window_s: int | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.limit = limit
        self.quota = quota  # what the limit allows in one window, where there is a number
        self.window_s = window_s


class RateLimited(StudioError):
    kind = "limited"
    code = "rate_limited"


class TooManyWrongKeys(RateLimited):
    """Many keys from one place were wrong. The answer to one more of them; right keys never meet it."""

    code = "too_many_wrong_keys"


class TooManyReports(RateLimited):
    """More leaked keys from one place than somebody finds."""

    code = "too_many_reports"


class InvalidField(StudioError):
    """A value that accounts cannot take; the message names the bound."""

    kind = "invalid"
    code = "invalid_field"


class InvalidRequest(StudioError):
    """A request that cannot be read, or asks for a value out of range; the message names the field and the bound."""

    kind = "invalid"
    code = "invalid_request"


class NotFound(StudioError):
    """Absent, or another tenant's: the two answers are the same."""

    kind = "missing"
    code = "not_found"


class KeyEnded(StudioError):
    """A key that was revoked or has come to its end cannot be changed or brought back."""

    kind = "conflict"
    code = "key_ended"

    def __init__(self) -> None:
        super().__init__("this api key has ended and stays so; make a new one")


class RotationOverlaps(StudioError):
    """A key has two live secrets at most: the last rotation's old one has not ended yet."""

    kind = "conflict"
    code = "rotation_overlaps"

    def __init__(self, ends_at: datetime) -> None:
        super().__init__(
            f"this key still has the old secret of its last rotation, until {ends_at:%Y-%m-%d %H:%M} UTC: "
            "wait for that, or end the old secret now"
        )
        self.ends_at = ends_at


class InvalidToken(StudioError):
    """A one-time link that is unknown, used or expired: the three answers are the same."""

    kind = "unauthenticated"
    code = "invalid_link"

    def __init__(self) -> None:
        super().__init__("this link has been used or has expired; ask for a new one")


class TenantNotClosing(StudioError):
    """There is nothing to undo, or it is too late."""

    kind = "conflict"
    code = "tenant_not_closing"

    def __init__(self) -> None:
        super().__init__("this organisation is not about to be deleted, or its time is over")


class AlreadyClosing(StudioError):
    kind = "conflict"
    code = "already_closing"

    def __init__(self) -> None:
        super().__init__("this organisation will be deleted already")


class NameDiffers(StudioError):
    """Deleting a tenant wants its name, typed as it stands."""

    kind = "invalid"
    code = "name_differs"

    def __init__(self) -> None:
        super().__init__("type the organisation's name exactly as it stands to confirm", field="confirm")


class OwnAddressShutOut(StudioError):
    """Networks that would shut out whoever sets them."""

    kind = "conflict"
    code = "own_address_shut_out"

    def __init__(self, address: str | None) -> None:
        super().__init__(
            f"your own address ({address or 'unknown'}) is in none of these networks: you would be shut out with the "
            "next request",
            field="networks",
        )


class TooManyTenants(StudioError):
    kind = "conflict"
    code = "too_many_tenants"

    def __init__(self, most: int) -> None:
        super().__init__(f"one person may own {most} organisations at most here; ask the operators of this studio")


class TooManyKeys(StudioError):
    kind = "conflict"
    code = "too_many_keys"

    def __init__(self, most: int) -> None:
        super().__init__(f"one member has {most} live keys at most; revoke those that nobody uses")


class SignUpClosed(StudioError):
    """`STUDIO_SIGNUP` does not let anybody make a tenant."""

    kind = "denied"
    code = "sign_up_closed"

    def __init__(self) -> None:
        super().__init__("organisations are made by the operators of this studio; ask them")


class ExportUnderWay(StudioError):
    kind = "conflict"
    code = "export_under_way"

    def __init__(self) -> None:
        super().__init__("an export of this organisation is under way already; wait until it is ready")


class LastOwner(StudioError):
    """A tenant without an owner could not be managed by anybody."""

    kind = "conflict"
    code = "last_owner"

    def __init__(self, tenants: Sequence[str] = ()) -> None:
        which = f" ({', '.join(tenants)})" if tenants else ""
        super().__init__(
            f"the last owner of an organisation{which} cannot leave or lose the role; make somebody else owner first"
        )


class AlreadyMember(StudioError):
    kind = "conflict"
    code = "already_member"


class AlreadyInvited(StudioError):
    """An address has one open invitation to a tenant at most."""

    kind = "conflict"
    code = "already_invited"


class InvitationNotFound(StudioError):
    """A link that is none of ours, or that a newer one has replaced."""

    kind = "missing"
    code = "invitation_not_found"

    def __init__(self) -> None:
        super().__init__("this invitation is not known here; if you were sent another one later, use that")


class InvitationUsed(StudioError):
    kind = "conflict"
    code = "invitation_used"

    def __init__(self) -> None:
        super().__init__("this invitation has been accepted already; sign in to get to the organisation")


class InvitationRevoked(StudioError):
    kind = "conflict"
    code = "invitation_revoked"

    def __init__(self) -> None:
        super().__init__("this invitation was taken back; ask an admin of the organisation")


class InvitationExpired(StudioError):
    kind = "conflict"
    code = "invitation_expired"

    def __init__(self) -> None:
        super().__init__("this invitation has expired; ask an admin of the organisation to send it again")


class InvitationClosed(StudioError):
    """The tenant is suspended or about to be deleted: it takes nobody in."""

    kind = "conflict"
    code = "invitation_closed"

    def __init__(self) -> None:
        super().__init__("this organisation takes nobody in at present; ask one of its owners")


class InvitationForAnother(StudioError):
    kind = "denied"
    code = "invitation_for_another"

    def __init__(self, email: str) -> None:
        super().__init__(f"this invitation is for {email}; sign in with that address to accept it")


class AlreadySettled(StudioError):
    """A piece of work was settled or refunded before: each is charged once."""

    kind = "conflict"
    code = "already_settled"


class Unavailable(StudioError):
    """Something the studio stands on does not answer just now; trying again later will help."""

    kind = "unavailable"
    code = "unavailable"


class StorageFull(StudioError):
    """A tenant's pictures take as much as its plan allows. No waiting helps, deleting does: so it is no 429."""

    kind = "conflict"
    code = "storage_full"

    def __init__(self, message: str, *, used: int, quota: int) -> None:
        super().__init__(message)
        self.limit = "storage_bytes"
        self.used = used
        self.quota = quota


class BelowUse(StudioError):
    """A limit would be below what is used already; whoever means it confirms."""

    kind = "conflict"
    code = "below_present_use"

    def __init__(self, message: str, *, above: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.above = tuple(above)  # of `accounts.domain.overrides.Above`

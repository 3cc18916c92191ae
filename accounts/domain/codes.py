"""The catalogue of codes: what each `code` of an answer means for a person, what to do, and whether to try again.

Whoever adds a code adds its entry: a test reads the codes from the error classes and the syntax trees and fails on one
without an entry, and on an entry without a code. `docs/errors.md` is printed from here (`python -m tests.codes`), and
pages show the sentence in their own language. Other apps add theirs from a module that their `AppConfig` imports
(`generation/domain/codes.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from accounts.errors import StudioError


class Retry(Enum):
    """Whether the same may be tried again, in words for both sides."""

    NO = _("no")
    LATER = _("yes, after Retry-After")
    CHANGED = _("yes, with a corrected request")
    STATE = _("yes, once the state has changed")
    ANEW = _("yes, as a new request")


class Place(Enum):
    """Where an answer carries the code."""

    PROBLEM = "code"  # of a refusal (RFC 9457)
    GENERATION = "error.code"  # of a generation that failed
    QUEUE = "queue.reason.code"  # of a generation that waits
    WARNING = "warnings[].code"  # of a generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One code. `status` is the HTTP status of refusals, 0 elsewhere.

    With `whole` the sentence says everything; otherwise the answer's own detail (the field, the bound) is shown too.
    """

    code: str
    place: Place
    status: int
    retry: Retry
    sentence: str | Promise
    action: str | Promise
    whole: bool = False


CATALOGUE: dict[str, Entry] = {}


def add_code(
    code: str,
    status: int,
    retry: Retry,
    sentence: str | Promise,
    action: str | Promise,
    *,
    place: Place = Place.PROBLEM,
    whole: bool = False,
) -> None:
    """Put a code into the catalogue. Raises ValueError for one that is there: a code has one meaning."""
    if code in CATALOGUE:
        raise ValueError(f"the code {code!r} is in the catalogue already")
    CATALOGUE[code] = Entry(
        code=code, place=place, status=status, retry=retry, sentence=sentence, action=action, whole=whole
    )


def speaks_english() -> bool:
    """Whether the page's language is that of the answers' details."""
    return (get_language() or "en").startswith("en")


def sentences_here() -> dict[str, tuple[str, bool]]:
    """For scripts: each code's sentence in the page's language and whether it is whole; nothing in English."""
    if speaks_english():
        return {}
    return {code: (str(entry.sentence), entry.whole) for code, entry in CATALOGUE.items()}


def say_code(code: str, detail: str) -> str:
    """A refusal for a person, in the page's language; `detail` is the answer's own text, which is English.

    Elsewhere than in English the sentence comes first and the detail, which names field and bound, stays with it.
    """
    entry = CATALOGUE.get(code)
    if entry is None or (detail and speaks_english()):
        return detail
    return str(entry.sentence) if entry.whole or not detail else f"{entry.sentence} ({detail})"


def say_error(error: StudioError) -> str:
    """The same for a refusal of the domain: what a page shows instead of `error.message`."""
    return say_code(error.code, error.message)


# ---- who is calling
add_code(
    "invalid_api_key",
    401,
    Retry.NO,
    _("This API key is not valid: it is unknown, has expired or was revoked."),
    _("Send a key that is listed on the page of API keys, whole and unchanged, or make a new one."),
    whole=True,
)
add_code(
    "not_signed_in",
    401,
    Retry.CHANGED,
    _("You are not signed in."),
    _("Sign in, or send an API key."),
    whole=True,
)
add_code(
    "invalid_link",
    401,
    Retry.NO,
    _("This link has been used or has expired."),
    _("Ask for a new link."),
    whole=True,
)
add_code(
    "not_allowed",
    403,
    Retry.NO,
    _("You may not do this."),
    _("Use another key, scope, role or network; an admin of your organisation can give you what is missing."),
)

# ---- what was asked
add_code(
    "invalid",
    400,
    Retry.CHANGED,
    _("The request cannot be understood."),
    _("Correct what the detail names; nothing was stored."),
)
add_code(
    "invalid_field",
    400,
    Retry.CHANGED,
    _("A value is not possible here."),
    _("Correct the fields that `errors` names, within the bounds it gives."),
)
add_code(
    "malformed_json",
    400,
    Retry.CHANGED,
    _("The body is no JSON that the studio takes."),
    _("Send UTF-8 JSON without repeated names, NaN or NUL characters; the detail says where it went wrong."),
)
add_code(
    "unknown_host",
    400,
    Retry.NO,
    _("The studio does not answer under this host name."),
    _("Use the studio's own address; its operators list host names in ALLOWED_HOSTS."),
    whole=True,
)
add_code(
    "not_found",
    404,
    Retry.NO,
    _("There is no such thing, or it is not yours."),
    _("Look at the address and the id; another organisation's ids answer exactly like ids that do not exist."),
    whole=True,
)
add_code(
    "method_not_allowed",
    405,
    Retry.CHANGED,
    _("This address does not know that method."),
    _("Use one of the methods that the header Allow and the API's description name."),
)
add_code(
    "not_acceptable",
    406,
    Retry.CHANGED,
    _("The studio cannot answer in the format that was asked for."),
    _("Accept application/json."),
)
add_code(
    "body_too_slow",
    408,
    Retry.CHANGED,
    _("The body took too long to arrive."),
    _("Send it again over a quicker connection, or a smaller one."),
    whole=True,
)
add_code(
    "body_too_large",
    413,
    Retry.CHANGED,
    _("The body is too large."),
    _("Send fewer bytes; the detail names the most that this address takes."),
)
add_code(
    "unsupported_media_type",
    415,
    Retry.CHANGED,
    _("The studio does not take this type of content here."),
    _("Send application/json with the header Content-Type."),
)
add_code(
    "headers_too_large",
    431,
    Retry.CHANGED,
    _("The request's headers are too large."),
    _("Send fewer or shorter headers; in a browser, delete this site's cookies."),
    whole=True,
)

# ---- what stands in the way
add_code(
    "last_owner",
    409,
    Retry.STATE,
    _("An organisation must keep an owner: its last one can neither leave nor lose the role."),
    _("Make somebody else owner first."),
    whole=True,
)
add_code(
    "already_member",
    409,
    Retry.NO,
    _("This person is a member already."),
    _("Change the member's role instead."),
    whole=True,
)
add_code(
    "already_settled",
    409,
    Retry.NO,
    _("This piece of work was charged or refunded before."),
    _("Nothing is to be done: each is charged once."),
    whole=True,
)

add_code(
    "storage_full",
    409,
    Retry.STATE,
    _("Your organisation's pictures take as much room as its plan has."),
    _("Delete pictures that nobody needs, or ask an admin of your organisation for a larger plan."),
)
add_code(
    "below_present_use",
    409,
    Retry.CHANGED,
    _("The limit would be below what is used already."),
    _("Choose a higher one, or confirm it: then everything new is refused until the period ends."),
)
add_code(
    "key_ended",
    409,
    Retry.NO,
    _("This API key was revoked or has come to its end, and stays so."),
    _("Make a new key."),
    whole=True,
)
add_code(
    "rotation_overlaps",
    409,
    Retry.STATE,
    _("The old secret of this key's last rotation still works, and a key has two secrets at most."),
    _("Wait until it ends (the detail says when), or end the old secret now."),
)

# ---- limits and outages
add_code(
    "quota_exceeded",
    429,
    Retry.LATER,
    _("A limit of your plan, budget or key is used up."),
    _("Wait until it begins anew, ask for less, or ask an admin of your organisation for more; the detail names it."),
)
add_code(
    "rate_limited",
    429,
    Retry.LATER,
    _("Too many requests in a short time."),
    _("Wait as long as Retry-After says, then go on more slowly."),
)
add_code(
    "too_many_wrong_keys",
    429,
    Retry.LATER,
    _("Many wrong API keys came from your address."),
    _("Check the key: a right one works at once, also from there. Else wait as long as Retry-After says."),
    whole=True,
)
add_code(
    "too_many_reports",
    429,
    Retry.LATER,
    _("Many leaked keys were reported from your address."),
    _("Wait as long as Retry-After says, or write to the studio's operators."),
    whole=True,
)
add_code(
    "internal",
    500,
    Retry.NO,
    _("Something went wrong on the studio's side."),
    _("Give the request id to the studio's operators: with it they find the reason in the log."),
    whole=True,
)
add_code(
    "unavailable",
    503,
    Retry.LATER,
    _("The studio cannot answer just now; nothing was stored."),
    _("Try again after a moment; with the same Idempotency-Key that is safe."),
)
# The proxy's own words (qwenstudio/proxy/refusals.py): it cannot know how far the request came.
add_code(
    "no_answer",
    502,
    Retry.LATER,
    _("The studio does not answer just now: it is starting, or being updated."),
    _(
        "Wait a few seconds and try again. What was accepted before goes on; sent again with the same Idempotency-Key, "
        "a request counts once."
    ),
    whole=True,
)
add_code(
    "answer_too_slow",
    504,
    Retry.LATER,
    _("The studio took too long to answer."),
    _(
        "Wait a few seconds and look whether it was done before you try again; sent again with the same "
        "Idempotency-Key, a request counts once."
    ),
    whole=True,
)

# ---- tenants and members
add_code(
    "tenant_suspended",
    403,
    Retry.NO,
    _("This organisation is suspended."),
    _("Ask the operators of this studio; nothing of it was removed."),
    whole=True,
)
add_code(
    "tenant_closing",
    403,
    Retry.NO,
    _("This organisation is about to be deleted."),
    _("Its owners can keep it until the day that the detail names: sign in and open “Organisations”."),
)
add_code(
    "tenant_not_closing",
    409,
    Retry.NO,
    _("This organisation is not about to be deleted, or it is too late to keep it."),
    _("Look at its state in the list of your organisations."),
    whole=True,
)
add_code(
    "already_closing",
    409,
    Retry.NO,
    _("This organisation will be deleted already."),
    _("Wait for the day, or keep it."),
    whole=True,
)
add_code(
    "name_differs",
    400,
    Retry.CHANGED,
    _("The name that was typed is not the organisation's."),
    _("Type it exactly as it stands."),
    whole=True,
)
add_code(
    "own_address_shut_out",
    409,
    Retry.CHANGED,
    _("These networks would shut you out: your own address is in none of them."),
    _("Add a network that holds your address, or make the change from one that may stay."),
    whole=True,
)
add_code(
    "too_many_tenants",
    409,
    Retry.NO,
    _("You own as many organisations as one person may own here."),
    _("Hand one over or delete one, or ask the operators of this studio."),
)
add_code(
    "too_many_keys",
    409,
    Retry.CHANGED,
    _("You have as many API keys as one member may have."),
    _("Revoke the keys that nobody uses; the page shows when each was last used."),
)
add_code(
    "sign_up_closed",
    403,
    Retry.NO,
    _("Nobody can make an organisation here by themselves."),
    _("Ask the operators of this studio, or somebody who can invite you."),
    whole=True,
)
add_code(
    "tenant_switched",
    403,
    Retry.ANEW,
    _("You work in another organisation since this page was opened."),
    _("Load the page again, or switch back."),
    whole=True,
)
add_code(
    "own_role",
    403,
    Retry.NO,
    _("You cannot change your own role."),
    _("Ask another owner or admin of your organisation."),
    whole=True,
)
add_code(
    "export_under_way",
    409,
    Retry.STATE,
    _("An export of this organisation is under way already."),
    _("Wait until it is ready, then ask for the next one."),
    whole=True,
)

# ---- invitations
add_code(
    "already_invited",
    409,
    Retry.CHANGED,
    _("This address has an open invitation already."),
    _("Send that one again instead."),
    whole=True,
)
add_code(
    "invitation_not_found",
    404,
    Retry.NO,
    _("This invitation is not known here."),
    _("Use the newest e-mail: an invitation that was sent again has a new link."),
    whole=True,
)
add_code(
    "invitation_used",
    409,
    Retry.NO,
    _("This invitation has been accepted already."),
    _("Sign in to get to the organisation."),
    whole=True,
)
add_code(
    "invitation_revoked",
    409,
    Retry.NO,
    _("This invitation was taken back."),
    _("Ask an admin of the organisation."),
    whole=True,
)
add_code(
    "invitation_expired",
    409,
    Retry.STATE,
    _("This invitation has expired."),
    _("Ask an admin of the organisation to send it again."),
    whole=True,
)
add_code(
    "invitation_closed",
    409,
    Retry.STATE,
    _("This organisation takes nobody in at present."),
    _("Ask one of its owners."),
    whole=True,
)
add_code(
    "invitation_for_another",
    403,
    Retry.NO,
    _("This invitation is for another address."),
    _("Sign in with the address that the invitation was sent to."),
)

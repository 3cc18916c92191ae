"""The audit log in words: every action that is recorded has a sentence here (a test reads the source for them)."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.domain.amounts import say_limit

ACTIONS: dict[str, str | Promise] = {
    "account.deleted": _("deleted their account"),
    "admin.tenant.added": _("made the organisation (staff)"),
    "admin.tenant.changed": _("changed the organisation (staff)"),
    "audit.exported": _("exported the audit log"),
    "budget.set": _("set a budget"),
    "confirm": _("confirmed who they are"),
    "denied": _("was refused"),
    "email.change_asked": _("asked for another e-mail address"),
    "email.changed": _("changed their e-mail address"),
    "email.verified": _("verified their e-mail address"),
    "errand.dropped": _("dropped an errand"),
    "errand.retried": _("tried an errand again"),
    "export.asked": _("asked for an export"),
    "export.failed": _("an export could not be made"),
    "export.fetched": _("fetched an export"),
    "export.ready": _("an export is ready"),
    "factor.added": _("added a second factor"),
    "factor.removed": _("removed a second factor"),
    "generation.cancelled_by_staff": _("cancelled a picture (staff)"),
    "generation.retried_by_staff": _("asked for a picture again (staff)"),
    "invitation.accepted": _("accepted an invitation"),
    "invitation.made": _("invited somebody"),
    "invitation.renewed": _("sent an invitation again"),
    "invitation.revoked": _("took an invitation back"),
    "key.changed": _("changed an API key"),
    "key.leaked": _("an API key was found and reported"),
    "key.made": _("made an API key"),
    "key.refused": _("an API key was refused"),
    "key.revoked": _("revoked an API key"),
    "key.revoked_itself": _("an API key revoked itself"),
    "key.rotated": _("rotated an API key"),
    "key.rotation_finished": _("ended the old secret of an API key"),
    "lane.moved": _("moved a lane of the studio on"),
    "lane.switched": _("looked at another lane"),
    "member.added": _("joined"),
    "member.left": _("left"),
    "member.removed": _("took a member out"),
    "member.role": _("changed a role"),
    "password.changed": _("changed their password"),
    "password.reset": _("set a new password by e-mail"),
    "password.reset_asked": _("asked for a new password"),
    "pictures.deleted": _("deleted a person's pictures"),
    "pictures.expired": _("pictures were deleted, as the plan keeps them no longer"),
    "pictures.selected": _("deleted selected pictures"),
    "pool.paused": _("paused a pool of workers"),
    "pool.resumed": _("let a pool of workers go on"),
    "queue.handed_over": _("gave waiting pictures to the other lane"),
    "release.compared": _("compared the pictures of two lanes"),
    "release.step": _("took a step of a release"),
    "rule.changed": _("changed a rule for answers"),
    "rule.deleted": _("deleted a rule for answers"),
    "rule.made": _("made a rule for answers"),
    "second_factor": _("showed a second factor"),
    "secret.rotated": _("put a new secret of the studio in place of the old one"),
    "session.ended": _("ended a session"),
    "sign_in": _("signed in"),
    "sign_out": _("signed out"),
    "sign_up": _("signed up"),
    "sign_up.forgotten": _("an unfinished sign-up was forgotten"),
    "style.changed": _("changed a style"),
    "style.deleted": _("deleted a style"),
    "style.made": _("made a style"),
    "tenant.changed": _("changed the organisation"),
    "tenant.closing": _("asked to delete the organisation"),
    "tenant.credited": _("credited the organisation"),
    "tenant.deleted": _("an organisation was deleted"),
    "tenant.kept": _("kept the organisation"),
    "tenant.logo": _("changed the logo"),
    "tenant.made": _("made the organisation"),
    "tenant.restored": _("let the organisation work again"),
    "tenant.suspended": _("suspended the organisation"),
    "worker.drained": _("asked a GPU worker to finish"),
    "worker.undrained": _("let a GPU worker go on"),
}
RESULTS: dict[str, str | Promise] = {
    "ok": _("done"),
    "denied": _("denied"),
    "refused": _("refused"),
    "failed": _("failed"),
    "unknown": _("no such account"),
}
# The parts of an event's detail; one that is not named here keeps its name.
PARTS: dict[str, str | Promise] = {
    "address": _("address"),
    "amount": _("amount"),
    "bytes": _("bytes"),
    "code": _("code"),
    "email": _("e-mail"),
    "expires_at": _("ends"),
    "factor": _("second factor"),
    "filters": _("filters"),
    "generations": _("requests"),
    "images": _("pictures"),
    "limits": _("limits"),
    "metric": _("of"),
    "name": _("name"),
    "networks": _("networks"),
    "others": _("others"),
    "overlap_s": _("seconds until the old one ends"),
    "owner": _("owner"),
    "pictures": _("pictures"),
    "plan": _("plan"),
    "prefix": _("begins with"),
    "reason": _("reason"),
    "role": _("role"),
    "scopes": _("may"),
    "way": _("by"),
}


def part_words(name: str) -> str:
    """What a part of an event's detail is called; limits by their own names."""
    return str(PARTS.get(name) or say_limit(name))


def action_words(action: str) -> str:
    """What somebody did; the bare name of an action that this release does not know."""
    if action in ACTIONS or not action.startswith("admin."):
        return str(ACTIONS.get(action, action))
    # admin.plan.changed: any model that staff may change
    return _now("staff, in the admin: %(what)s") % {"what": action.removeprefix("admin.")}


def result_words(result: str) -> str:
    """How it ended."""
    return str(RESULTS.get(result, result))

"""What the matrix must know of each operation: whose it is, what a good call looks like, and which inputs are ids.

A route, a method or an input without its entry here fails `test_complete.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from accounts.domain.roles import Right
from tests.matrix.house import LOGO, fresh_email

BODY = {"model": "demo", "prompt": "a white house", "width": 64, "height": 64}
GRID = {**BODY, "lora": "style", "scales": [0, 1]}
OPENAI_BODY = {"model": "demo", "prompt": "a white house", "size": "64x64"}


@dataclass(frozen=True)
class Spot:
    """A place for an id: `kind` is one of `KINDS`.

    `answer` is what an id gets that is not one's own, `malformed` what a text gets that is no id. An id that nobody can
    have yet has no control (`exists=False`); one that narrows a list may be left out (`optional`).
    """

    kind: str
    answer: int = 404
    malformed: int = 404
    exists: bool = True
    optional: bool = False


@dataclass(frozen=True)
class Op:
    """One operation. `right` is what a caller needs (None: to be known), `ok` what a good call is answered.

    `spots` are its ids by (place, name), `plain` the inputs that are none, each with the reason, beside `PLAIN`.
    """

    right: Right | None
    ok: int = 200
    body: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None
    spots: Mapping[tuple[str, str], Spot] = field(default_factory=dict)
    plain: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)  # parts of the path that are no ids
    by_key: bool = True  # the API; pages are for people
    anonymous: tuple[int, ...] = (401,)
    denied: tuple[int, ...] = (403,)
    suspended: tuple[int, ...] = ()  # answers beside 403 while the tenant is suspended
    key_right: Right | None = None  # what a key needs, where that is more than its member does
    of_person: bool = False  # about the person, whatever tenants they belong to
    once: bool = False  # a second good call is refused: something is under way


def path(name: str, kind: str) -> dict[tuple[str, str], Spot]:
    """An id in the path."""
    return {("path", name): Spot(kind)}


def narrow(name: str) -> dict[tuple[str, str], Spot]:
    """An id in the query that narrows a list."""
    return {("query", name): Spot(name, optional=True)}


def page(right: Right | None, ok: int = 200, **more: Any) -> Op:
    """A page: who is not signed in is led to the sign-in page."""
    return Op(right, ok, by_key=False, **({"anonymous": (302,)} | more))


SEE, MAKE, KEYS = Right.SEE_IMAGES, Right.MAKE_IMAGES, Right.MAKE_KEYS
MEMBERS, USAGE, BUDGETS, EXPORT = Right.MANAGE_MEMBERS, Right.SEE_USAGE, Right.SET_BUDGETS, Right.EXPORT_TENANT
STYLES, RULES = Right.MANAGE_STYLES, Right.MANAGE_RULES
CHAT = Right.CHAT
SAID = {"text": "a question"}
TALK = path("conversation", "conversation")
MANY = {("body", "ids"): Spot("ended")}
WEBHOOK = {("body", "webhook"): Spot("webhook", malformed=400, exists=False)}
IMAGE = {("body", "image"): Spot("input", malformed=400)}
PICTURES = {**IMAGE, ("body", "mask"): Spot("mask", malformed=400)}
# Events of a person: whoever it is, those of one's own tenant's log, and none for whom it does not name.
FILTER = {("query", "person"): Spot("member", answer=200, malformed=200, optional=True)}
HIDDEN: dict[str, Any] = {"anonymous": (404,), "denied": (404,), "suspended": (404,)}
KEY_BODY = {"name": "a key", "scopes": ["keys:write"]}

OPERATIONS: dict[str, Op] = {
    # ---- pictures
    "GET /api/v1/images": Op(SEE, spots=narrow("member")),
    "POST /api/v1/images": Op(MAKE, 202, BODY, {**PICTURES, **WEBHOOK}),
    "GET /api/v1/images/{generation}": Op(SEE, spots=path("generation", "ended")),
    "PATCH /api/v1/images/{generation}": Op(MAKE, 200, {"starred": True}, path("generation", "ended")),
    "DELETE /api/v1/images/{generation}": Op(MAKE, 204, spots=path("generation", "ended")),
    "POST /api/v1/images/{generation}/cancel": Op(MAKE, spots=path("generation", "waiting")),
    "POST /api/v1/images/{generation}/retry": Op(MAKE, 202, spots=path("generation", "ended")),
    "POST /api/v1/images/{generation}/vary": Op(MAKE, 202, spots=path("generation", "ended")),
    "GET /api/v1/images/{generation}/events": Op(SEE, spots=path("generation", "ended")),
    "GET /api/v1/events": Op(SEE),
    "POST /api/v1/estimates": Op(SEE, 200, BODY, {**PICTURES, **WEBHOOK}),
    "POST /api/v1/grids": Op(MAKE, 202, GRID, {**PICTURES, **WEBHOOK}),
    "POST /api/v1/inputs": Op(
        MAKE, 201, {}, IMAGE, plain={"mask": "stands instead of image, and is read by the same line (`test_inputs.py`)"}
    ),
    "GET /api/v1/loras": Op(SEE),
    "GET /api/v1/models": Op(SEE),
    "GET /api/v1/styles": Op(SEE),
    "POST /api/v1/styles": Op(STYLES, 201, lambda: {"name": fresh_email(), "prompt": "a {prompt}"}),
    "GET /api/v1/styles/{style}": Op(SEE, spots=path("style", "style")),
    "PATCH /api/v1/styles/{style}": Op(STYLES, 200, {"prompt": "the {prompt}"}, path("style", "style")),
    "DELETE /api/v1/styles/{style}": Op(STYLES, 204, spots=path("style", "style")),
    "GET /api/v1/rules": Op(RULES),
    "POST /api/v1/rules": Op(RULES, 201, lambda: {"text": fresh_email()}),
    "GET /api/v1/rules/{rule}": Op(RULES, spots=path("rule", "rule")),
    "PATCH /api/v1/rules/{rule}": Op(RULES, 200, {"enabled": False}, path("rule", "rule")),
    "DELETE /api/v1/rules/{rule}": Op(RULES, 204, spots=path("rule", "rule")),
    # ---- conversations, each one member's own
    "GET /api/v1/conversations": Op(CHAT),
    "POST /api/v1/conversations": Op(CHAT, 201, SAID),
    "GET /api/v1/conversations/{conversation}": Op(CHAT, spots=TALK),
    "PATCH /api/v1/conversations/{conversation}": Op(CHAT, 200, {"title": "Another"}, TALK),
    "DELETE /api/v1/conversations/{conversation}": Op(CHAT, 204, spots=TALK),
    "GET /api/v1/conversations/{conversation}/messages": Op(CHAT, spots=TALK),
    "POST /api/v1/conversations/{conversation}/messages": Op(CHAT, 202, SAID, TALK),
    "POST /api/v1/conversations/{conversation}/answer": Op(CHAT, 202, {}, TALK),
    "POST /api/v1/conversations/{conversation}/stop": Op(CHAT, 200, {}, TALK),
    "GET /api/v1/conversations/{conversation}/events": Op(CHAT, spots=TALK),
    "PUT /api/v1/messages/{message}": Op(CHAT, 202, SAID, path("message", "message")),
    "GET /api/v1/presets": Op(CHAT),
    "POST /api/v1/presets": Op(CHAT, 201, lambda: {"name": fresh_email(), "text": "Be short."}),
    "GET /api/v1/presets/{preset}": Op(CHAT, spots=path("preset", "preset")),
    "PATCH /api/v1/presets/{preset}": Op(CHAT, 200, {"text": "Be long."}, path("preset", "preset")),
    "DELETE /api/v1/presets/{preset}": Op(CHAT, 204, spots=path("preset", "preset")),
    "GET /api/v1/me": Op(None),
    # ---- pictures, as OpenAI's API has them
    "POST /v1/images/generations": Op(MAKE, 202, OPENAI_BODY),
    "POST /v1/images/edits": Op(MAKE, 202, OPENAI_BODY, PICTURES),
    "GET /v1/models": Op(SEE),
    "GET /v1/models/{model}": Op(SEE, fixed={"model": "demo"}),
    # ---- many pictures at once
    "GET /api/v1/zips": Op(SEE),
    "POST /api/v1/zips": Op(SEE, 202, {}, MANY, once=True),
    "GET /api/v1/zips/{zip}": Op(SEE, spots=path("zip", "zip")),
    "GET /api/v1/deletions": Op(MAKE),
    "POST /api/v1/deletions": Op(MAKE, 202, {}, MANY),
    "GET /api/v1/deletions/{deletion}": Op(MAKE, spots=path("deletion", "deletion"), denied=(403, 404)),
    # ---- keys
    "GET /api/v1/keys": Op(KEYS),
    "POST /api/v1/keys": Op(KEYS, 201, KEY_BODY),
    "GET /api/v1/keys/{key}": Op(KEYS, spots=path("key", "key"), denied=(403, 404)),
    "PATCH /api/v1/keys/{key}": Op(KEYS, 200, {"limits": {"images_per_day": 5}}, path("key", "key"), denied=(403, 404)),
    "DELETE /api/v1/keys/{key}": Op(KEYS, 204, spots=path("key", "key"), denied=(403, 404)),
    "POST /api/v1/keys/{key}/rotate": Op(KEYS, 200, {}, path("key", "key"), denied=(403, 404)),
    "POST /api/v1/keys/{key}/finish-rotation": Op(KEYS, 200, {}, path("key", "key"), denied=(403, 404)),
    # ---- people
    "GET /api/v1/members": Op(Right.SEE_MEMBERS),
    "GET /api/v1/members/{member}": Op(Right.SEE_MEMBERS, spots=path("member", "member")),
    "PATCH /api/v1/members/{member}": Op(MEMBERS, 200, {"role": "viewer"}, path("member", "member")),
    "DELETE /api/v1/members/{member}": Op(MEMBERS, 204, spots=path("member", "member")),
    "GET /api/v1/members/{member}/budget": Op(BUDGETS, spots=path("member", "member"), denied=(404,)),
    "PUT /api/v1/members/{member}/budget": Op(BUDGETS, 200, {"images_per_day": 5}, path("member", "member")),
    "GET /api/v1/invitations": Op(MEMBERS),
    "POST /api/v1/invitations": Op(MEMBERS, 201, lambda: {"email": fresh_email(), "role": "member"}),
    "GET /api/v1/invitations/{invitation}": Op(MEMBERS, spots=path("invitation", "invitation")),
    "DELETE /api/v1/invitations/{invitation}": Op(MEMBERS, 204, spots=path("invitation", "invitation")),
    "POST /api/v1/invitations/{invitation}/renew": Op(MEMBERS, 200, {}, path("invitation", "invitation")),
    # ---- the tenant
    "GET /api/v1/tenant": Op(None),
    "PATCH /api/v1/tenant": Op(Right.CHANGE_TENANT, 200, {"name": "Another name"}),
    "GET /api/v1/exports": Op(EXPORT),
    "POST /api/v1/exports": Op(EXPORT, 202, {}, once=True),
    "GET /api/v1/exports/{export}": Op(EXPORT, spots=path("export", "export")),
    "GET /api/v1/usage": Op(USAGE, spots=narrow("member") | narrow("key")),
    # ---- files: whoever may not see one gets the answer of one that does not exist
    "GET /files/{image}": Op(SEE, spots=path("image", "image"), **HIDDEN),
    "GET /files/{image}/thumbnail": Op(SEE, spots=path("image", "image"), **HIDDEN),
    "GET /files/{image}/receipt": Op(SEE, spots=path("image", "image"), **HIDDEN),
    "GET /files/inputs/{input}": Op(SEE, spots=path("input", "input"), **HIDDEN),
    "GET /files/zips/{zip}": Op(SEE, spots=path("zip", "zip"), **HIDDEN),
    "GET /files/exports/{export}": Op(EXPORT, spots=path("export", "export"), **HIDDEN),
    "GET /files/logos/{tenant}/{name}": Op(None, spots=path("tenant", "logo"), fixed={"name": LOGO}, **HIDDEN),
    # ---- pages
    "GET /studio/": page(
        SEE, spots={("query", "again"): Spot("ended"), ("query", "start"): Spot("image", optional=True)}
    ),
    "GET /studio/state/": page(None, anonymous=(401,), suspended=(401,)),
    "POST /studio/words/": page(SEE, body={"model": "demo", "prompt": "x"}),
    "GET /gallery/": page(SEE, spots=narrow("member")),
    "GET /gallery/ids/": page(SEE, spots=narrow("member")),
    "GET /gallery/work/": page(SEE),
    "POST /gallery/zip/": page(SEE, 302, spots={("body", "id"): Spot("ended")}, once=True),
    "POST /gallery/delete/": page(MAKE, 302, body={"sure": "1"}, spots={("body", "id"): Spot("ended")}),
    "GET /gallery/compare/": page(SEE, spots={("query", "left"): Spot("ended"), ("query", "right"): Spot("ended")}),
    # leads to the page above, or back where there are not two
    "POST /gallery/compare/": page(SEE, 302, spots={("body", "id"): Spot("ended", answer=302, malformed=302)}),
    "GET /gallery/{generation}/": page(SEE, spots=path("generation", "ended")),
    "POST /gallery/{generation}/again/": page(MAKE, 302, spots=path("generation", "ended")),
    "POST /gallery/{generation}/vary/": page(MAKE, 302, spots=path("generation", "ended")),
    "POST /gallery/{generation}/delete/": page(MAKE, 302, spots=path("generation", "ended")),
    "GET /chat/": page(SEE),  # a viewer is told whom to ask
    "GET /chat/all.jsonl": page(CHAT),
    "GET /chat/{conversation}/": page(CHAT, spots=TALK),
    "GET /chat/{conversation}/file.md": page(CHAT, spots=TALK),
    "GET /chat/{conversation}/file.json": page(CHAT, spots=TALK),
    "GET /sentiment/": page(SEE),
    "GET /keys/": page(SEE),
    "POST /keys/": page(KEYS, 201, body={**KEY_BODY, "scopes": ["images:read"]}),
    "GET /keys/{key}/": page(KEYS, spots=path("key", "key"), denied=(403, 404)),
    "POST /keys/{key}/": page(
        KEYS, 302, body={"name": "new", "scopes": ["keys:write"]}, spots=path("key", "key"), denied=(403, 404)
    ),
    "POST /keys/{key}/rotate/": page(KEYS, body={"overlap_s": "3600"}, spots=path("key", "key"), denied=(403, 404)),
    "POST /keys/{key}/finish-rotation/": page(KEYS, 302, spots=path("key", "key"), denied=(403, 404)),
    "POST /keys/{key}/revoke/": page(KEYS, 302, spots=path("key", "key"), denied=(403, 404)),
    "GET /usage/": page(USAGE, spots=narrow("member") | narrow("key")),
    "GET /usage/csv/": page(USAGE, spots=narrow("member") | narrow("key")),
    "GET /usage/budgets/{member}/": page(BUDGETS, spots=path("member", "member")),
    "POST /usage/budgets/{member}/": page(BUDGETS, 302, body={"images_per_day": "5"}, spots=path("member", "member")),
    # ---- the team and its organisation
    "GET /team/": page(SEE),
    "POST /team/": page(MEMBERS, 302, body=lambda: {"email": fresh_email(), "role": "member"}),
    "POST /team/members/{member}/role/": page(MEMBERS, 302, body={"role": "viewer"}, spots=path("member", "member")),
    "POST /team/members/{member}/remove/": page(MEMBERS, 302, spots=path("member", "member")),
    "POST /team/invitations/{invitation}/renew/": page(MEMBERS, 302, spots=path("invitation", "invitation")),
    "POST /team/invitations/{invitation}/revoke/": page(MEMBERS, 302, spots=path("invitation", "invitation")),
    "POST /team/leave/": page(SEE, 302),
    "GET /team/styles/": page(SEE),
    "POST /team/styles/": page(STYLES, 302, body=lambda: {"name": fresh_email(), "prompt": "a {prompt}"}),
    "GET /team/styles/{style}/": page(STYLES, spots=path("style", "style")),
    "POST /team/styles/{style}/": page(
        STYLES, 302, body=lambda: {"name": fresh_email(), "prompt": "the {prompt}"}, spots=path("style", "style")
    ),
    "POST /team/styles/{style}/move/": page(STYLES, 302, body={"way": "up"}, spots=path("style", "style")),
    "POST /team/styles/{style}/delete/": page(STYLES, 302, spots=path("style", "style")),
    "GET /team/rules/": page(RULES),
    "POST /team/rules/": page(RULES, 302, body=lambda: {"text": fresh_email(), "kind": "word", "action": "redact"}),
    "POST /team/rules/try/": page(RULES, body={"answer": "a word"}),
    "POST /team/rules/{rule}/switch/": page(RULES, 302, body={"enabled": "false"}, spots=path("rule", "rule")),
    "POST /team/rules/{rule}/delete/": page(RULES, 302, spots=path("rule", "rule")),
    "GET /team/organisation/": page(Right.CHANGE_TENANT),
    "POST /team/organisation/": page(Right.CHANGE_TENANT, 302, body={"name": "Another name"}),
    "POST /team/organisation/export/": page(EXPORT, 302, once=True),
    "POST /team/organisation/delete/": page(Right.DELETE_TENANT, 302, body={"confirm": "A"}, once=True),
    "GET /team/audit/": page(Right.SEE_AUDIT, spots=FILTER),
    "GET /team/audit/csv/": page(Right.SEE_AUDIT, spots=FILTER),
    "POST /organisations/switch/": page(None, 302, spots={("body", "tenant"): Spot("place")}, of_person=True),
    "POST /organisations/{tenant}/keep/": page(None, 302, spots=path("tenant", "closing"), of_person=True),
    "POST /account/sessions/{session}/end/": page(None, 302, spots=path("session", "session"), of_person=True),
}

# Pages about the person who is signed in and nobody else: they take no id. A program's key is no person.
PERSONAL: dict[str, str] = {
    "/organisations/": "the tenants that one belongs to",
    "/organisations/new/": "a further one of one's own, where the studio is open",
    "/account/": "one's name and language",
    "/account/sessions/": "where one is signed in",
    "/account/sessions/end-others/": "all but the session that asks",
    "/account/delete/": "oneself, after the password",
    "/account/confirm/": "one's own password once more",
    "/account/email/": "one's own address",
    "/account/password/": "one's own password",
    "/account/password/set/": "one's own password, where there is none",
    "/account/second-factor/": "one's own factors",
    "/account/second-factor/confirm/": "one's own code once more",
    "/account/second-factor/set-up/": "one's own app",
    "/account/second-factor/remove/": "one's own app",
    "/account/second-factor/recovery-codes/": "one's own codes",
    "/account/second-factor/recovery-codes/new/": "one's own codes",
    "/account/second-factor/recovery-codes/download/": "one's own codes",
}

# Operations that take no credential, each with what keeps it from telling or changing anything of a tenant's.
OPEN: dict[str, str] = {
    "GET /healthz": "this process answers, and that is all it says",
    "GET /readyz": "whether database and storage answer; holds nothing of a tenant",
    "GET /api/schema/": "the description of the API, the same for everybody",
    "GET /api/docs/": "its page",
    "GET /sign-in/": "the form",
    "POST /sign-in/": "known and unknown addresses get one answer; throttled by place",
    "GET /sign-in/link/{token}/": "a page with a button, whatever the token is",
    "POST /sign-in/link/{token}/": "a secret of 200 random bits; unknown, used and expired get one answer",
    "GET /sign-in/code/": "leads away unless a right password was given in this very session",
    "POST /sign-in/code/": "the code of whoever gave the right password in this session",
    "GET /sign-up/": "the form, or whom to ask",
    "POST /sign-up/": "known and unknown addresses get one answer; throttled by place",
    "GET /sign-up/{token}/": "a secret of 256 random bits, mailed to one address",
    "POST /sign-up/{token}/": "the same; it works once, and for that address only",
    "GET /join/{token}/": "a secret of 256 random bits, mailed to one address",
    "POST /join/{token}/": "the same; it works once, and for that address only",
    "GET /account/inactive/": "says that one's account is off",
    "GET /account/verify/": "says that a mail is on its way",
    "POST /account/verify/": "the same",
    "GET /account/verify/{key}/": "a signed key, mailed to one address",
    "POST /account/verify/{key}/": "the same",
    "GET /account/password/reset/": "the form",
    "POST /account/password/reset/": "known and unknown addresses get one answer; throttled by place",
    "GET /account/password/reset/sent/": "says that a mail is on its way",
    "GET /account/password/reset/done/": "says that it is done",
    "GET /account/password/reset/{uidb36}-{key}/": "a signed key, mailed to one person; the number opens nothing",
    "POST /account/password/reset/{uidb36}-{key}/": "the same",
    "POST /sign-out/": "ends the session that asks, if there is one",
    "GET /switch/{lane}": "staff's: leads anybody else to the admin's sign-in page",
    "POST /switch/{lane}": "staff's: a cookie of the browser that asks, with one of two words",
    "POST /language/": "a cookie of the browser that asks, and the language of whoever is signed in",
    "GET /": "leads to the studio or to the sign-in page",
    "GET /keys/leaked/": "the form",
    "POST /keys/leaked/": "whoever has found a key may report it; the answer never says whether there was one",
    "POST /api/v1/keys/leaked": "whoever holds a key may end it; the answer never says whether there was one",
    "POST /api/v1/keys/self/revoke": "a key ends itself; a session has no key to end",
}

# Inputs that are no ids, whichever operation takes them.
PLAIN: dict[str, str] = {
    # of a request for pictures
    "model": "a name on offer; staff's, not a tenant's",
    "prompt": "text",
    "negative_prompt": "text",
    "width": "a number",
    "height": "a number",
    "num_inference_steps": "a number",
    "true_cfg_scale": "a number",
    "seed": "a number",
    "n": "a number",
    "loras": "a list",
    "lora": "a name on offer; staff's, not a tenant's",
    "scales": "numbers",
    "loras.name": "a name on offer; staff's, not a tenant's",
    "loras.scale": "a number",
    "output_format": "one of three words",
    "output_compression": "a number",
    "size": "two numbers",
    "quality": "one of a few words",
    "background": "one of a few words",
    "moderation": "one of a few words",
    "style": "a name, looked up among one's own tenant's (`tests/generation/api/test_styles.py`); or one of two words",
    "complexity": "one of a few words",
    "response_format": "one of two words",
    "strength": "a number",
    "input_fidelity": "one of two words",
    "markup": "refused, whatever it is",
    "stream": "a flag",
    "partial_images": "a number",
    "user": "text that only comes back",
    "safety_identifier": "text that only comes back",
    "guidance_scale": "a number",
    "token": "a signed word that names its tenant and one picture (`tests/generation/web/test_links.py`)",
    "metadata": "text that only comes back",
    "starred": "a flag",
    # of a conversation
    "title": "text",
    "system": "text",
    # of lists
    "q": "words that are searched for in one's own tenant's rows",
    "status": "one of five words",
    "created_after": "a time",
    "created_before": "a time",
    "before": "a place in a list, as `cursor`",
    "cursor": "a place in a list: only compared with one's own tenant's rows",
    "limit": "a number",
    "revoked": "a flag",
    # of keys
    "name": "text",
    "scopes": "words of a fixed set, never above the caller's own",
    "networks": "IP networks",
    "limits": "numbers by name",
    "expires_at": "a time",
    "expires_on": "a day",
    "overlap_s": "a number",
    "key": "a secret that somebody has found: looked up by its hash, with one answer for known and unknown ones",
    # of rules for answers
    "answer": "text that they are tried on",
    "kind": "one of two words",
    "action": "one of two words",
    "text": "text",
    "enabled": "a flag",
    "keeps_chats": "a flag",
    # of pages
    "here": "the tenant whose page it is: compared with one's own",
    "ask": "the words of a question, shown again",
    "ask-text": "the words of a question, shown again",
    "ask-yes": "the word on its button",
    "ask-back": "a path of this site, checked to be one",
    "download": "a flag",
    "image": "a number: which image of a generation; or a file that is sent",
    "i": "a number: which image of a generation",
    "j": "a number: which image of a generation",
    "sure": "a flag",
    "way": "one of two words",
    "position": "a number",
    "language": "one of two words",
    "next": "a path of this site, checked to be one",
    "email": "an address that is compared, with one answer for known and unknown ones",
    "password": "a secret that is compared",
    "days": "one of three numbers",
    "from": "a day",
    "to": "a day",
    "by": "one of a few words",
    "group_by": "words of a fixed set",
    "metric": "one of a few words",
    "gpu_seconds_per_day": "a number",
    "gpu_seconds_per_month": "a number",
    "role": "one of four words",
    "logo": "a picture",
    "pictures": "one of two words",
    "without_logo": "a flag",
    "confirm": "the tenant's name, typed",
    "as": "one word",
    "oldpassword": "a secret that is compared",
    "password1": "a new secret",
    "password2": "a new secret",
    "code": "a secret that is compared",
    # headers
    "HTTP_USER_AGENT": "text that one's own list of sessions shows",
    "Idempotency-Key": "the caller's own word: looked up with the caller's tenant and id (`test_headers.py`)",
    "Prefer": "a number of seconds",
    "Last-Event-ID": "a place in the stream: only compared (`test_headers.py`)",
    "If-None-Match": "a hash, compared after the file was found to be the caller's (`test_headers.py`)",
    "HX-Target": "which part of a page is wanted",
    "HTTP_AUTHORIZATION": "the credential itself",
    "HTTP_X_API_KEY": "the credential itself",
    "HTTP_X_FORWARDED_FOR": "counts only from a trusted proxy",
    "REMOTE_ADDR": "the server's own word",
    "CONTENT_LENGTH": "a number",
    "Allow": "a header of our own answer",
    "studio.sendfile": "the server's own word",
}
# Limits by name, in the body of a key and in the forms of pages.
PLAIN |= {
    f"{prefix}{name}": "a number"
    for prefix in ("", "limits.")
    for name in (
        "gpu_ms_per_day", "gpu_ms_per_month", "images_per_day", "images_per_month", "tokens_per_day", "max_pixels",
        "max_steps", "requests_per_minute", "concurrent_chats",
    )
}  # fmt: skip

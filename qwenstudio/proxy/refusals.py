"""What nginx answers by itself: one calm page in both languages, problems for programs, OpenAI's errors under `/v1/`.

Words come from the catalogue of codes, so that a refusal reads the same whoever made it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from http import HTTPStatus

from django.utils.functional import Promise
from django.utils.translation import gettext, override
from django.utils.translation import gettext_lazy as _

from accounts.api.openai.errors import openai_body as openai_body_of
from accounts.domain.codes import CATALOGUE

# Which code says what happened, and the Retry-After in seconds. nginx's own 494 (headers too large) is answered as 431.
# For a request line that it cannot read (400, 414) it has a page of its own: without an address it knows no place to
# take another from. A client that is too slow gets no answer.
FAULTS: tuple[tuple[int, str, int], ...] = (
    (403, "not_allowed", 0),
    (404, "not_found", 0),
    (405, "method_not_allowed", 0),
    (413, "body_too_large", 0),
    (429, "rate_limited", 1),
    (431, "headers_too_large", 0),
    (500, "internal", 0),
    (502, "no_answer", 5),
    (503, "unavailable", 5),
    (504, "answer_too_slow", 5),
)
# For people: what programs are told would be Greek to them.
WORDS: dict[int, tuple[str | Promise, str | Promise]] = {
    403: (
        _("Not from here"),
        _("This part of the studio opens only from the networks that its operators have named."),
    ),
    404: (_("Nothing here"), _("This address does not lead anywhere, or not any more.")),
    413: (_("That is too large"), _("Nothing was stored. Choose a smaller file, then send it again.")),
    429: (
        _("A little too fast"),
        _("Many requests came from your network within a moment. Wait a few seconds, then go on."),
    ),
    502: (
        _("Back in a moment"),
        _("The studio is starting or being updated. Wait a few seconds, then load this page again; your work is safe."),
    ),
    503: (
        _("Back in a moment"),
        _("The studio is starting or being updated. Wait a few seconds, then load this page again; your work is safe."),
    ),
    504: (
        _("This takes too long"),
        _("The studio did not answer in time. Wait a few seconds, then load this page again; your work is safe."),
    ),
}
CHINESE = "zh-hans"
STYLE = """
:root{color-scheme:light dark;--bg:#f6f5f1;--card:#fff;--line:#e2dfd7;--ink:#1d1b19;--soft:#56524b;--accent:#4138b8}
@media(prefers-color-scheme:dark){:root{--bg:#131216;--card:#1c1b20;--line:#2e2c34;--ink:#f2f0f5;--soft:#bdb8c6;
--accent:#c0baff}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:24px;background:var(--bg);color:var(--ink);
font:16px/1.6 ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","PingFang SC","Microsoft YaHei",
"Noto Sans CJK SC",sans-serif}
main{width:100%;max-width:460px;padding:32px;background:var(--card);border:1px solid var(--line);border-radius:16px}
h1{margin:0 0 4px;font-size:20px;line-height:1.35}
p{margin:0 0 12px;color:var(--soft)}
section+section{margin-top:20px;padding-top:20px;border-top:1px solid var(--line)}
a{color:var(--accent)}
small{color:var(--soft);font:12px ui-monospace,monospace;overflow-wrap:anywhere}
""".replace("\n", "")
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of what nginx makes: nothing runs, and the page's own style is named by its hash."""

HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<meta name="robots" content="noindex"><title>QwenStudio</title><style>{STYLE}</style></head><body><main>'
)


_BYTES = "@bytes@"


def render_refusals(*, body_bytes: int, picture_bytes: int, picture_paths: Sequence[str]) -> str:
    """The maps behind nginx's own answers, and what they are put together from (http context)."""
    details = {status: _detail(code) for status, code, _wait in FAULTS}
    details[413] = f"the body is longer than {_BYTES} bytes, the most that this address takes"
    longer = "".join(f"    {path} {picture_bytes};\n" for path in picture_paths)
    return "\n".join(
        [
            f"map $studio_path $studio_body_bytes {{\n    default {body_bytes};\n{longer}}}",
            _map("$status", "$studio_code", {status: code for status, code, _wait in FAULTS}, default="invalid"),
            _map(
                "$status",
                "$studio_title",
                {status: HTTPStatus(status).phrase for status, _code, _wait in FAULTS},
                default="",
            ),
            _map("$status", "$studio_detail", details, default="").replace(_BYTES, "$studio_body_bytes"),
            *_openai_maps(),
            _map(
                "$status", "$studio_words", {status: _words(status, code) for status, code, _wait in FAULTS}, default=""
            ),
            _map("$status", "$studio_wait", {status: str(wait) for status, _code, wait in FAULTS if wait}, default=""),
            f'map "" $studio_page_head {{ default {quote(HEAD)}; }}',
        ]
    )


def _openai_maps() -> list[str]:
    """Type and code as the application's own errors under `/v1/` have them."""
    errors = {status: openai_body_of(status, code, "")["error"] for status, code, _wait in FAULTS}
    return [
        _map(
            "$status",
            f"$studio_openai_{name}",
            {status: error[name] for status, error in errors.items()},
            default=usual,
        )
        for name, usual in (("type", "invalid_request_error"), ("code", "invalid"))
    ]


def page_body() -> str:
    """The page, as one parameter of nginx's `return`."""
    end = "<p><small>$studio_own_status · $studio_request_id</small></p></main></body></html>\\n"
    return f'"$studio_page_head$studio_words{end}"'


def problem_body() -> str:
    """The problem (RFC 9457), as one parameter of nginx's `return`."""
    members = [
        ("type", '"urn:qwenstudio:problem:$studio_code"'),
        ("title", '"$studio_title"'),
        ("status", "$studio_own_status"),
        ("detail", '"$studio_detail"'),
        ("instance", '"$studio_instance"'),
        ("code", '"$studio_code"'),
        ("request_id", '"$studio_request_id"'),
    ]
    return "'{" + ",".join(f'"{name}":{value}' for name, value in members) + "}'"


def openai_body() -> str:
    """OpenAI's error, likewise."""
    members = '"message":"$studio_detail","type":"$studio_openai_type","param":null,"code":"$studio_openai_code"'
    return f"'{{\"error\":{{{members}}}}}'"


def quote(text: str) -> str:
    """A text as one quoted parameter of nginx's; raises ValueError for what nginx would take for a variable."""
    if "$" in text or "\n" in text:
        raise ValueError(f"not a plain text: {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _map(source: str, name: str, values: dict[int, str], *, default: str) -> str:
    rows = [f"    {status} {quote(text)};" for status, text in values.items()]
    return "\n".join([f"map {source} {name} {{", f"    default {quote(default)};", *rows, "}"])


def _detail(code: str) -> str:
    """For programs: in English, what it means and what to do."""
    with override("en"):
        return re.sub(r'["\\]', "'", f"{CATALOGUE[code].sentence} {CATALOGUE[code].action}")


def _words(status: int, code: str) -> str:
    """For people: the same in both languages."""
    return _section(status, code, "en") + _section(status, code, CHINESE)


def _section(status: int, code: str, language: str) -> str:
    head, advice = WORDS.get(status, (CATALOGUE[code].sentence, CATALOGUE[code].action))
    with override(language):
        sentence, action = escape(str(head)), escape(str(advice))
        back = escape(gettext("Back to the studio"))
    lang = "zh-Hans" if language == CHINESE else "en"
    return f'<section lang="{lang}"><h1>{sentence}</h1><p>{action}</p><p><a href="/">{back}</a></p></section>'

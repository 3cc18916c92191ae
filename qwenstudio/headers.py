"""The security headers of every answer, in one place: the WSGI middleware and the async door both take them from here.

Our own pages run under a policy without `unsafe-inline` and `unsafe-eval`: scripts and styles are files of ours. The
admin and the API page come from packages that write styles into their markup, so each has a policy of its own. None of
them names another host.
"""

from __future__ import annotations


def _policy(**directives: str) -> str:
    return "; ".join(f"{name.replace('_', '-')} {value}".strip() for name, value in directives.items())


_COMMON = {
    "default_src": "'none'",
    "script_src": "'self'",
    "style_src": "'self'",
    # data: carries the previews that sharpen while a picture is drawn, blob: a file that is about to be saved
    "img_src": "'self' data: blob:",
    "font_src": "'self'",
    "connect_src": "'self'",
    "manifest_src": "'self'",
    "form_action": "'self'",
    "base_uri": "'none'",
    "frame_ancestors": "'none'",
    "object_src": "'none'",
}
PAGE_POLICY = _policy(**_COMMON)
# Django's admin sets style attributes; its scripts are files.
ADMIN_POLICY = _policy(**_COMMON | {"style_src": "'self' 'unsafe-inline'"})
# Swagger UI builds its styles in the browser; its page starts it with a script of its own address.
DOCS_POLICY = _policy(**_COMMON | {"style_src": "'self' 'unsafe-inline'"})
# What programs read: nothing in it may run, should a browser open it.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"

_POLICY_BY_PREFIX = (
    ("/admin/", ADMIN_POLICY),
    ("/api/docs/", DOCS_POLICY),
    ("/api/", DATA_POLICY),
    ("/v1/", DATA_POLICY),
    ("/files/", DATA_POLICY),
)

SECURITY_HEADERS: dict[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
}


def content_policy(path: str) -> str:
    """The Content-Security-Policy of the answer to `path`."""
    return next((policy for prefix, policy in _POLICY_BY_PREFIX if path.startswith(prefix)), PAGE_POLICY)


def security_headers(path: str) -> dict[str, str]:
    """Every security header of the answer to `path`; an answer that set one of them itself keeps its own."""
    return SECURITY_HEADERS | {"Content-Security-Policy": content_policy(path)}

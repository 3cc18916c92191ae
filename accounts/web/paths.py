"""Where a request may send somebody next: to a path of ours, nowhere else."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


def own_path(path: str) -> str:
    """The path if it leads nowhere but here, else nothing."""
    return path if path.startswith("/") and url_has_allowed_host_and_scheme(path, allowed_hosts=None) else ""


def public_link(name: str, **parts: str) -> str:
    """The address of a page as it stands in mails: under `STUDIO_URL`, whatever Host a request came with."""
    return settings.STUDIO_URL + reverse(name, kwargs=parts)

"""Who may read `/metrics`: the networks of `STUDIO_METRICS_NETWORKS`, by the client's true address."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from accounts.domain.addresses import address_is_in, client_address

# Whoever sends one of these speaks for somebody else.
PROXY_HEADERS = ("x-forwarded-for", "x-real-ip", "forwarded", "via")


def may_read(*, remote: str, headers: Mapping[str, str]) -> bool:
    """Whether the peer, or whom a trusted proxy names, may. Header names are lower case.

    A proxy on this machine that nobody trusts would make everybody look like loopback: what it brings is refused.
    """
    trusted = settings.STUDIO_TRUSTED_PROXIES
    forwarded = headers.get("x-forwarded-for", "")
    if any(name in headers for name in PROXY_HEADERS):
        peer = client_address(remote=remote, forwarded="", trusted=())
        last = client_address(remote=forwarded.rpartition(",")[2].strip(), forwarded="", trusted=())
        if last is None or not trusted or not address_is_in(peer, trusted):
            return False
    address = client_address(remote=remote, forwarded=forwarded, trusted=trusted)
    return address_is_in(address, settings.STUDIO_METRICS_NETWORKS)

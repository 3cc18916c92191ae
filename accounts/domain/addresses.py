"""The client's address, also behind proxies, and never a forged one."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(*, remote: str, forwarded: str, trusted: Sequence[Network]) -> str | None:
    """The address that asked; `None` where there is none (a Unix socket without a proxy's word).

    `remote` is the peer of the connection, `forwarded` its `X-Forwarded-For`, which counts only when the peer is a
    trusted proxy: from the right, the first address that is no trusted proxy is the client. What stands left of it
    anybody can write.
    """
    found = _parse(remote)
    if found is not None and not _is_trusted(found, trusted):
        return str(found)
    if not trusted:
        return str(found) if found is not None else None
    for word in reversed(forwarded.split(",")):
        hop = _parse(word.strip())
        if hop is None:
            break
        found = hop
        if not _is_trusted(hop, trusted):
            break
    return str(found) if found is not None else None


def _parse(word: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(word)
    except ValueError:
        return None
    # A dual-stack socket shows an IPv4 client as ::ffff:192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: ipaddress.IPv4Address | ipaddress.IPv6Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)

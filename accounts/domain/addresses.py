"""The client's address, also behind proxies, and never a forged one; and the networks that people write down."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

from accounts.errors import InvalidField

MAX_NETWORKS = 50
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")

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


def is_trusted_proxy(remote: str, *, trusted: Sequence[Network]) -> bool:
    """Whether the peer of a connection is a proxy whose word about its clients is believed."""
    found = _parse(remote)
    return found is not None and _is_trusted(found, trusted)


def read_networks(words: Iterable[str], *, field: str = "networks") -> list[str]:
    """Networks as people write them, each in its one spelling and once; raises `InvalidField` with what is none.

    `192.0.2.7` is `192.0.2.7/32`, `192.0.2.7/24` is `192.0.2.0/24`, and an IPv4 network in IPv6's clothes is the IPv4
    network, because that is how clients' addresses are read too.
    """
    found = list(dict.fromkeys(str(_read_network(word, field)) for word in words))
    if len(found) > MAX_NETWORKS:
        raise InvalidField(f"{field} must name {MAX_NETWORKS} networks at most", field=field)
    return found


def address_is_in(address: str | None, networks: Sequence[str | Network]) -> bool:
    """Whether an address may pass: it lies in one of the networks, or there are none. An unknown one lies in none."""
    if not networks:
        return True
    if address is None:
        return False
    found = ipaddress.ip_address(address)
    return any(found in ipaddress.ip_network(network, strict=False) for network in networks)


def is_inside(network: str, networks: Iterable[str]) -> bool:
    """Whether a network lies within one of the others."""
    own = ipaddress.ip_network(network, strict=False)
    others = [ipaddress.ip_network(other, strict=False) for other in networks]
    return any(
        own.network_address in other and own.prefixlen >= other.prefixlen
        for other in others
        if own.version == other.version
    )


def _read_network(word: str, field: str) -> Network:
    try:
        if "%" in word:  # the name of an interface means nothing here
            raise ValueError
        network = ipaddress.ip_network(word.strip(), strict=False)
    except ValueError:
        raise InvalidField(
            f"{word[:60]!r} is no IP network; write 192.0.2.0/24 or 2001:db8::/32", field=field
        ) from None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        address = network.network_address.ipv4_mapped
        return ipaddress.ip_network(f"{address}/{network.prefixlen - 96}")
    return network


@lru_cache(maxsize=4096)
def _parse(word: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        # Without the name of an interface (fe80::1%eth0): nobody's network has one, and the database takes none.
        address = ipaddress.ip_address(word.partition("%")[0])
    except ValueError:
        return None
    # A dual-stack socket shows an IPv4 client as ::ffff:192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: ipaddress.IPv4Address | ipaddress.IPv6Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)

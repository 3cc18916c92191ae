"""Where a host's connections may go. Staff choose upstreams, so private networks are fine; metadata services are not.

A cloud's metadata service hands the machine's own credentials to whoever asks from it, and lives at a link-local
address (or one of those below). The name is resolved here and the connection goes to the address that was looked at, so
that a name cannot be turned in between.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from generation.chat.wire.errors import AddressRefused, CannotConnect

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# What hands out a machine's credentials, as the clouds' documents have it. Link-local: nearly everybody's, those for
# containers of Amazon's (ECS, EKS), Tencent's, Scaleway's, OpenStack's over IPv6. The others: Amazon's (and EKS's),
# Google's and Scaleway's over IPv6, Azure's, Alibaba's, Oracle's.
METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            *("169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.23", "169.254.42.42", "fe80::a9fe:a9fe"),
            *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42"),
            *("168.63.129.16", "100.100.100.200", "192.0.0.192"),
        ),
    )
)
# Networks whose last 32 bits are an IPv4 address (RFC 6052, 8215, 4291).
_EMBEDDING = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))


async def resolve(host: str, port: int, *, link_local: bool = False) -> list[str]:
    """The host's addresses that may be connected to, in the resolver's order.

    Raises `CannotConnect` for an unknown name and `AddressRefused` where none of them may be. `link_local` lets
    link-local addresses through (never metadata services').
    """
    found = await _look_up(host, port)
    allowed = [address for address in found if is_allowed(ipaddress.ip_address(address), link_local=link_local)]
    if not allowed:
        raise AddressRefused(f"{host} resolves to {', '.join(found)}, which no upstream may have")
    return allowed


async def _look_up(host: str, port: int) -> list[str]:
    try:
        return [str(ipaddress.ip_address(host))]  # most upstreams are written so; a thread would cost more than they
    except ValueError:
        pass
    try:
        rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CannotConnect(f"cannot resolve {host}: {error}") from None
    return list(dict.fromkeys(str(row[4][0]).split("%")[0] for row in rows))


def is_allowed(address: _Address, *, link_local: bool = False) -> bool:
    """Whether an upstream may have this address."""
    address = _inner(address)
    if address in METADATA:
        return False
    if address.is_multicast or address.is_unspecified or str(address) == "255.255.255.255":
        return False
    return link_local or not address.is_link_local


def _inner(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, ipaddress.IPv6Address):
        address = ipaddress.IPv6Address(int(address))  # without its zone
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and int(address) > 1 and any(address in network for network in _EMBEDDING):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        return inner or address
    return address

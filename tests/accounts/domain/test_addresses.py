"""The client's address: proxies are believed when they are ours, and nobody else is."""

from __future__ import annotations

import ipaddress

import pytest

from accounts.domain.addresses import client_address

OURS = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),  # a stranger's word
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.1", "198.51.100.1"),  # the left one is the client's own invention
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),  # two proxies of ours
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # all inside
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("", "198.51.100.1", "198.51.100.1"),  # our proxy over a Unix socket
        ("", "", None),
        ("fe80::1%eth0", "", "fe80::1"),
        ("fd00::1%eth0", "fe80::7%eth1", "fe80::7"),
    ],
)
def test_address_behind_our_proxies(remote: str, forwarded: str, expected: str | None) -> None:
    assert client_address(remote=remote, forwarded=forwarded, trusted=OURS) == expected


@pytest.mark.parametrize(("remote", "expected"), [("127.0.0.1", "127.0.0.1"), ("", None), ("@", None)])
def test_without_trusted_proxies_the_header_counts_for_nothing(remote: str, expected: str | None) -> None:
    assert client_address(remote=remote, forwarded="198.51.100.1", trusted=[]) == expected

"""nftables: 22, 80 and 443, in a table of our own; shown and asked about before it is applied."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from installer import files
from installer.machine import call, is_installed
from installer.plan import InstallError, Step
from installer.site import Site

RULES = """#!/usr/sbin/nft -f
# QwenStudio: what may come in. A table of its own: other tables stay as they are.
table inet qwenstudio
delete table inet qwenstudio
table inet qwenstudio {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        ct state invalid drop
        iif lo accept
        meta l4proto { icmp, ipv6-icmp } accept
        udp sport 67 udp dport 68 accept
        ip6 saddr fe80::/10 udp dport 546 accept
        tcp dport { 22, 80, 443 } accept
    }
}
"""
MAIN = Path("/etc/nftables.conf")


def steps(site: Site, *, say: Callable[[str], None]) -> list[Step]:
    """Ask, then write the file, name it in nftables' own, and apply it."""
    file = site.layout.etc / "nftables.conf"
    line = f'include "{file}"'

    def name_it() -> None:
        MAIN.write_text(MAIN.read_text(encoding="utf-8").rstrip("\n") + f"\n{line}\n", encoding="utf-8")

    def install() -> None:
        call(["apt-get", "install", "--yes", "nftables"])

    def apply() -> None:
        call(["nft", "-f", str(file)])
        call(["systemctl", "enable", "nftables"])

    def is_written() -> bool:
        return file.read_text(encoding="utf-8") == RULES

    return [
        Step("package nftables", lambda: is_installed("nftables"), install),
        Step(f"firewall {file}: 22, 80 and 443 come in", is_written, lambda: ask(site, file, say)),
        Step(f"{MAIN} includes it", lambda: line in MAIN.read_text(encoding="utf-8"), name_it),
        Step("firewall applied, now and at every start", applied, apply),
    ]


def applied() -> bool:
    """Whether the kernel has our table."""
    call(["nft", "list", "table", "inet", "qwenstudio"])
    return "enabled" in call(["systemctl", "is-enabled", "nftables"])


def ask(site: Site, file: Path, say: Callable[[str], None]) -> None:
    """Nothing is closed that nobody has agreed to."""
    say(RULES)
    if not sys.stdin.isatty():
        raise InstallError("the firewall is applied only after a yes at the keyboard: run this in a terminal")
    if input("Close every other port of this machine? Type yes: ").strip() != "yes":
        raise InstallError("the firewall was not wanted; everything before it is installed")
    files.write(site, file, RULES, mode=0o644)

"""manage.py proxy: nginx's configuration, where it sends people, and its certificate."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from qwenstudio.proxy.certificates import obtain, read_certificate, read_served, wait_until_served
from qwenstudio.proxy.check import Finding, check_proxy
from qwenstudio.proxy.errors import ProxyError
from qwenstudio.proxy.files import replace_file
from qwenstudio.proxy.lanes import read_lanes
from qwenstudio.proxy.places import Places
from qwenstudio.proxy.site import read_site, render_main, render_site
from qwenstudio.proxy.write import write_all


class Command(BaseCommand):
    help = "nginx in front of the studio: its configuration, its lanes, its certificate."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One word says what to do."""
        parser.set_defaults(what="status")
        words = parser.add_subparsers(dest="what", metavar="render | write | status | check | certificate")
        render = words.add_parser("render", help="print the site, or write it to a file")
        render.add_argument("--main", action="store_true", help="the lines for nginx's main context instead")
        render.add_argument("--out", type=Path, metavar="FILE")
        words.add_parser("write", help="write everything that nginx reads to its place; a second time does nothing")
        words.add_parser("status", help="which lane takes whom, in the file and in nginx")
        words.add_parser("check", help="look whether nginx does what the settings say; exit code 1 if something fails")
        certificate = words.add_parser("certificate", help="who issued it and the days left; exit code 1 if it is bad")
        certificate.add_argument("--obtain", action="store_true", help="fetch one by ACME with certbot, and use it")
        certificate.add_argument("--email", default="", help="where the authority writes before a certificate ends")
        certificate.add_argument("--server", default="", help="another authority than Let's Encrypt: its directory URL")
        certificate.add_argument("--certbot-option", action="append", default=[], help="one more option for certbot")

    def handle(self, *args: Any, what: str | None, **options: Any) -> None:
        """Do what the word says."""
        self.layout = Places(Path(os.environ.get("STUDIO_ROOT", "/")).absolute())
        try:
            getattr(self, f"_{what or 'status'}")(options)
        except (ProxyError, OSError) as error:
            raise CommandError(str(error)) from None

    def _render(self, options: dict[str, Any]) -> None:
        site = read_site(self.layout)
        text = render_main(site) if options["main"] else render_site(site)
        if options["out"] is None:
            self.stdout.write(text, ending="")
        else:
            replace_file(options["out"].absolute(), text)

    def _write(self, options: dict[str, Any]) -> None:
        changed = False
        for line in write_all(self.layout):
            changed = True
            self.stdout.write(line)
        if not changed:
            self.stdout.write("nothing to do")

    def _status(self, options: dict[str, Any]) -> None:
        state, serial = read_lanes(self.layout)
        cookies = "people keep their lane by cookie" if state.sticky else "cookies do not count"
        self.stdout.write(f"new visitors: {state.default}   live: {', '.join(sorted(state.live))}   {cookies}")
        for finding in check_proxy(self.layout, only="lanes"):
            self._print(finding)
        self.stdout.write(f"serial {serial}")

    def _check(self, options: dict[str, Any]) -> None:
        self._report(check_proxy(self.layout))

    def _certificate(self, options: dict[str, Any]) -> None:
        site = read_site(self.layout)
        if options["obtain"]:
            obtain(
                self.layout,
                site.domain,
                email=options["email"],
                server=options["server"],
                options=options["certbot_option"],
            )
            wait_until_served(self.layout, site.domain, site.https_port)
        try:
            found = read_served(site.domain, site.https_port)
        except ProxyError as error:
            self.stdout.write(f"{error}; the file says:")
            found = read_certificate(self.layout)
        self.stdout.write(f"for {', '.join(found.names)}   issued by {found.issuer}   serial {found.serial:x}")
        self.stdout.write(f"until {found.until:%Y-%m-%d %H:%M} UTC, {found.days_left:.0f} days left")
        level, text, remedy = found.judge(site.domain)
        self._report(iter([Finding(level, "certificate", text, remedy)]))

    def _report(self, findings: Iterator[Finding]) -> None:
        bad = False
        for finding in findings:
            self._print(finding)
            bad = bad or finding.level == "fail"
        if bad:
            raise SystemExit(1)

    def _print(self, finding: Finding) -> None:
        style = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "fail": self.style.ERROR}[finding.level]
        remedy = f"\n{'':20}→ {finding.remedy}" if finding.remedy else ""
        self.stdout.write(f"{style(f'{finding.level:4}')}  {finding.name:<12}  {finding.text}{remedy}")

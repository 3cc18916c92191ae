"""Arguments; then plan, install or uninstall."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from pathlib import Path

from installer import firewall, release, removal, services, settings, units
from installer.machine import count_cores, count_gpus, operator_address, read_distribution
from installer.plan import AGAIN, InstallError, Step, carry_out, show
from installer.settings import admin_networks
from installer.site import Site
from qwenstudio.units.layout import LANES, Layout

DOMAIN = re.compile(r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
URLS = {
    "database": "postgresql://studio_web:…@host/name: use this PostgreSQL, not one on this machine (then all three)",
    "database-worker": "the same database for studio_worker",
    "database-owner": "the same database for studio_owner",
    "redis": "redis://:…@host:port/0: use this Redis or Valkey instead of one on this machine",
    "email": "smtp://user:password@host:587; without it e-mails lie in /var/lib/qwenstudio/mail",
}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="deploy/install", description="Install QwenStudio on this machine. Run it again at any time: it goes on."
    )
    parser.add_argument("--domain", help="the name that people type, such as studio.example.org")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    parser.add_argument("--uninstall", action="store_true", help="remove code and units; data and settings stay")
    parser.add_argument("--firewall", action="store_true", help="close all ports but 22, 80 and 443 (asks first)")
    parser.add_argument("--pool", default="demo", help="the pool that the GPUs serve (default: demo)")
    parser.add_argument("--root", type=Path, help="write into this folder instead; needs --no-start")
    parser.add_argument("--no-start", action="store_true", help="neither migrate nor start anything")
    parser.add_argument("--venv", type=Path, help="link to this virtual environment instead of making one")
    for name, text in URLS.items():
        parser.add_argument(f"--{name}-url", metavar="URL", help=text)
    options = parser.parse_args(arguments)
    if not options.uninstall and not DOMAIN.fullmatch(options.domain or ""):
        parser.error("--domain is missing, or no domain name: deploy/install --domain studio.example.org")
    if options.root and not options.no_start:
        parser.error("--root writes into a folder, from which nothing can be started: add --no-start")
    named = [bool(getattr(options, f"{name}_url")) for name in ("database", "database_worker", "database_owner")]
    if any(named) and not all(named):
        parser.error("--database-url, --database-worker-url and --database-owner-url go together")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: as it should be; 1: could not go on."""
    options = parse(arguments)
    os.umask(0o022)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # through a pipe too: each step is seen while it lasts
    layout = Layout(options.root.absolute() if options.root else Path("/"))
    try:
        if layout.is_machine and not options.dry_run and os.geteuid() != 0:
            raise InstallError("installing on this machine needs root: sudo deploy/install …")
        if options.uninstall:
            return uninstall(layout, dry_run=options.dry_run)
        return install(make_site(layout, options), options)
    except InstallError as error:
        print(error, file=sys.stderr)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print(f"\nStopped. {AGAIN}", file=sys.stderr)
    return 1


def make_site(layout: Layout, options: argparse.Namespace) -> Site:
    """What can be found out is not asked."""
    names = {name: getattr(options, f"{name.replace('-', '_')}_url") for name in URLS}
    return Site(
        layout=layout,
        domain=options.domain,
        distribution=read_distribution() if layout.is_machine else None,
        start=not options.no_start,
        venv=options.venv.absolute() if options.venv else None,
        urls={name: url for name, url in names.items() if url},
        pool=options.pool,
        processes=max(1, min(4, count_cores() // 2)),
        gpus=count_gpus(),
        operator=operator_address() if layout.is_machine else "",
    )


def all_steps(site: Site, *, with_firewall: bool) -> list[Step]:
    """The whole plan, in the order in which one needs the other."""
    found = [*services.package_steps(site), *services.account_steps(site), *release.steps(site), *settings.steps(site)]
    found += services.redis_steps(site)
    if site.start:
        found += [*services.database_steps(site), *services.dump_steps(site)]
    found += units.steps(site)
    return found + (firewall.steps(site, say=print) if with_firewall else [])


def install(site: Site, options: argparse.Namespace) -> int:
    """Show the plan; unless that was all that was wanted, carry it out."""
    first = not site.is_installed
    steps = all_steps(site, with_firewall=options.firewall)
    where = "this machine" if site.layout.is_machine else site.layout.root
    print(f"QwenStudio {site.release} on {where}, as https://{site.domain}:")
    left = show(steps, say=print)
    if options.dry_run or not left:
        print(f"{left} steps to do; nothing was changed." if left else "Nothing changes: all of it is done.")
    else:
        print("\nInstalling:")
        changed = carry_out(steps, say=print)
        print(f"\nInstalled: {changed} steps.")
    if not options.dry_run:
        say_next(site, first=first)
    return 0


def say_next(site: Site, *, first: bool) -> None:
    """What to type now."""
    if site.is_beside:
        other = LANES[1 - LANES.index(site.lane)]
        print(f"Release {site.release} lies beside {site.serving}, which serves in {site.lane}; nothing was stopped.")
        print(f"`studio release start {other} --release {site.release}` starts it, and says what to type next. When it")
        print("serves, run this line again: then units, the command and nginx's site become its own.")
    elif site.start and first:
        print("`studio proxy certificate --obtain --email you@example.org` fetches a certificate that browsers trust,")
        if admin_networks(site.operator):
            print(f"/admin is open to private networks and to {site.operator}, from where you install this")
            print("(STUDIO_ADMIN_NETWORKS in studio.env; after a change: studio proxy write, systemctl reload nginx).")
        print("`studio createsuperuser` makes the first person of staff, `studio doctor` says how it is.")


def uninstall(layout: Layout, *, dry_run: bool) -> int:
    """Likewise backwards."""
    steps = removal.steps(layout)
    left = show(steps, say=print)
    if not dry_run and left:
        carry_out(steps, say=print)
    elif not left:
        print("Nothing is installed here.")
    removal.say_what_stays(layout, say=print)
    return 0

"""Steps: secrets, environment files, folders of state. What somebody has changed by hand stays."""

from __future__ import annotations

import ipaddress
import secrets
from urllib.parse import urlsplit

from installer import files
from installer.machine import count_cores
from installer.plan import Step
from installer.site import ACCOUNT, CHECKOUT, PROXY_GROUP, Site
from qwenstudio.units.layout import LANES, STREAM_PORTS, WEB_PORTS
from qwenstudio.units.unitfile import quote, read_environment

DATABASE = "qwenstudio"
REDIS_PORT = 18791
LOOPBACK = ("127.0.0.0/8", "::1/128")
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
"""Who reaches /metrics and /admin by default, as in `qwenstudio/settings.py`."""
ROLES = {"database": "studio_web", "database-worker": "studio_worker", "database-owner": "studio_owner"}


def steps(site: Site) -> list[Step]:
    """In order."""
    at = site.layout
    found = [
        files.folder(site, at.etc, group=ACCOUNT, mode=0o750),
        files.folder(site, at.secrets, group=ACCOUNT, mode=0o750),
        files.folder(site, at.lane_settings, group=ACCOUNT, mode=0o750),
        files.folder(site, at.gpu_settings, group=ACCOUNT, mode=0o750),
        files.folder(site, at.proxy_settings),
        # nginx's group may pass through, to pictures and static files; nobody else gets in.
        files.folder(site, at.var, user=ACCOUNT, group=PROXY_GROUP, mode=0o710),
        # Whatever is made in it belongs to nginx's group too.
        files.folder(site, at.media, user=ACCOUNT, group=PROXY_GROUP, mode=0o2750),
        files.folder(site, at.static),
        files.folder(site, at.backups, mode=0o700),
    ]
    found += [secret(site, name, text) for name, text in secrets_of(site).items()]
    found += [settings_step(site)]
    for lane in LANES:
        lines = f"STUDIO_LANE={lane}\nSTUDIO_PORT={WEB_PORTS[lane]}\nSTUDIO_STREAM_PORT={STREAM_PORTS[lane]}\n"
        found.append(files.file(site, at.lane_env(lane), lines, mode=0o640, group=ACCOUNT, keep=True))
    for number in range(max(1, site.gpus)):
        lines = gpu_lines(site, number)
        found.append(files.file(site, at.gpu_env(number), lines, mode=0o640, group=ACCOUNT, keep=True))
    models = (CHECKOUT / "deploy/models.toml").read_text(encoding="utf-8")
    found.append(files.file(site, at.etc / "models.toml", models, keep=True))
    upstreams = (CHECKOUT / "deploy/upstreams.toml").read_text(encoding="utf-8")
    found.append(files.file(site, at.etc / "upstreams.toml", upstreams, keep=True))
    return found


def secrets_of(site: Site) -> dict[str, str]:
    """What each secret is where it does not exist yet: random, a URL around a random password, or what was named."""
    found = {"secret-key": secrets.token_urlsafe(50), "encryption-keys": secrets.token_hex(32)}
    for name, role in ROLES.items():
        own = f"postgresql://{role}:{secrets.token_hex(24)}@127.0.0.1:5432/{DATABASE}"
        found[f"{name}-url"] = site.urls.get(name, own)
    found["redis-url"] = site.urls.get("redis", f"redis://:{secrets.token_hex(24)}@127.0.0.1:{REDIS_PORT}/0")
    if "email" in site.urls:
        found["email-url"] = site.urls["email"]
    return found


def secret(site: Site, name: str, text: str) -> Step:
    """One file; made once. The owner's database is for root alone: no page can reach what row-level security binds."""
    path = site.layout.secret(name)
    alone = name == "database-owner-url"
    return files.file(
        site, path, text + "\n", mode=0o600 if alone else 0o640, group="root" if alone else ACCOUNT, keep=True
    )


def settings_step(site: Site) -> Step:
    """studio.env: missing names are added, the address follows `--domain`, everything else stays."""
    path = site.layout.settings

    def wanted() -> dict[str, str]:
        at = site.layout
        found = {
            "STUDIO_ROOT": str(at.root),
            "STUDIO_URL": f"https://{site.domain}",
            "STUDIO_VAR": str(at.var),
            "STUDIO_MEDIA": str(at.media),
            "STUDIO_MODELS": str(at.etc / "models.toml"),
            "STUDIO_UPSTREAMS": str(at.etc / "upstreams.toml"),
            "STUDIO_TRUSTED_PROXIES": "127.0.0.1/32",
            "STUDIO_ACCEL_PREFIX": "/protected/",
            "STUDIO_METRICS_NETWORKS": " ".join(LOOPBACK),
            "STUDIO_WEB_PROCESSES": str(site.processes),
            "SECRET_KEY_FILE": str(at.secret("secret-key")),
            "STUDIO_ENCRYPTION_KEYS_FILE": str(at.secret("encryption-keys")),
            "DATABASE_URL_FILE": str(at.secret("database-url")),
            "DATABASE_WORKER_URL_FILE": str(at.secret("database-worker-url")),
            "REDIS_URL_FILE": str(at.secret("redis-url")),
        }
        if "email" in site.urls:
            found["EMAIL_URL_FILE"] = str(at.secret("email-url"))
        if networks := admin_networks(site.operator):
            found["STUDIO_ADMIN_NETWORKS"] = networks
        return found

    def is_ours(address: str) -> bool:
        """A port that somebody has put there stays."""
        parts = urlsplit(address)
        return (parts.scheme, parts.hostname) == ("https", site.domain)

    def is_done() -> bool:
        present = read_environment(path)
        right = all(name in present for name in wanted())
        right = right and (site.is_beside or is_ours(present["STUDIO_URL"]))
        return right and files.file(site, path, "", mode=0o640, group=ACCOUNT, keep=True).is_done()

    def do() -> None:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else [HEAD]
        present = read_environment(path) if path.is_file() else {}
        address = f"STUDIO_URL={quote(wanted()['STUDIO_URL'])}"
        if not site.is_beside and not is_ours(present.get("STUDIO_URL", "")):
            lines = [address if line.strip().startswith("STUDIO_URL=") else line for line in lines]
        lines += [f"{name}={quote(value)}" for name, value in wanted().items() if name not in present]
        files.write(site, path, "\n".join(lines) + "\n", mode=0o640, group=ACCOUNT)

    return Step(f"file {path} (https://{site.domain})", is_done, do)


def admin_networks(operator: str) -> str:
    """The networks of /admin: the default ones and whoever installs this, so that its first page is not a refusal;
    empty where the default is enough.
    """
    try:
        address = ipaddress.ip_address(operator.partition("%")[0])
    except ValueError:
        return ""
    known = [ipaddress.ip_network(network) for network in (*LOOPBACK, *PRIVATE)]
    if any(address in network for network in known) or address.is_link_local:
        return ""
    return " ".join([*LOOPBACK, *PRIVATE, str(ipaddress.ip_network(address))])


HEAD = (
    "# Settings of all processes; docs/operations.md has the list. Secrets are named by file.\n"
    "# After a change: studio restart"
)


def gpu_lines(site: Site, number: int) -> str:
    """One GPU; on a machine without any the processor draws the demo, with half of its cores."""
    if site.gpus:
        return f"CUDA_VISIBLE_DEVICES={number}\nSTUDIO_POOL={site.pool}\n"
    return f"CUDA_VISIBLE_DEVICES=\nSTUDIO_POOL={site.pool}\nOMP_NUM_THREADS={max(1, count_cores() // 2)}\n"

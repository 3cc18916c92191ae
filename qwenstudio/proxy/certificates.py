"""The certificate: self-signed until the authority has given one, then certbot's, which renews it by itself.

nginx reads one folder, a link. certbot keeps the newest certificate under the same names in its own folder, so that a
renewal is a reload and nothing else.
"""

from __future__ import annotations

import shlex
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings

from qwenstudio.proxy.errors import Level, ProxyError
from qwenstudio.proxy.files import replace_file, replace_link
from qwenstudio.proxy.places import HasRoot, places_of
from qwenstudio.proxy.traffic import ASK_EVERY_S, IN_A_ROW, WAIT_S, reload_nginx, test_configuration

NAME = "qwenstudio"
"""certbot's name for our certificate, whatever the host is called."""
CHAIN, KEY = "fullchain.pem", "privkey.pem"
SELF_SIGNED_DAYS = 3650
RENEWED_AT_DAYS = 30
"""certbot renews when fewer days are left."""
WARN_DAYS, FAIL_DAYS = 21, 7
"""Renewals begin earlier: by then one has failed for more than a week, or for three."""
CERTBOT_S = 300
OBTAIN = "studio proxy certificate --obtain --email you@example.org"
RENEW = "certbot renew; why it was not done by itself: systemctl status certbot.timer"


@dataclass(frozen=True)
class Certificate:
    """What a certificate says."""

    names: tuple[str, ...]
    """Host names, also `*.example.org`, and addresses."""
    issuer: str
    serial: int
    since: datetime
    until: datetime
    self_signed: bool

    @property
    def days_left(self) -> float:
        """Negative once it has expired."""
        return (self.until - datetime.now(UTC)) / timedelta(days=1)

    def is_for(self, domain: str) -> bool:
        """Whether its names hold the host, by itself or by a wildcard for its first word."""
        return bool({domain, f"*.{domain.partition('.')[2]}"} & {name.lower() for name in self.names})

    def judge(self, domain: str) -> tuple[Level, str, str]:
        """How it is, what was seen, and what to do."""
        left = f"{self.days_left:.0f} days left, issued by {self.issuer}"
        if self.since > datetime.now(UTC):
            begins = f"not valid before {self.since:%Y-%m-%d %H:%M} UTC"
            return "fail", begins, "set this machine's clock right (timedatectl), or wait"
        if not self.is_for(domain):
            return "fail", f"for {', '.join(self.names) or 'no name'}, not for {domain}", OBTAIN
        if self.days_left <= 0:
            return "fail", f"it ended on {self.until:%Y-%m-%d}", RENEW
        if self.days_left < FAIL_DAYS:
            return "fail", left, RENEW
        if self.self_signed:
            return "warn", f"self-signed, browsers refuse it; {left}", OBTAIN
        if self.days_left < WARN_DAYS:
            return "warn", left, f"certbot renews at {RENEWED_AT_DAYS} days: see systemctl status certbot.timer"
        return "ok", left, ""


def parse_certificate(pem: bytes) -> Certificate:
    """The first certificate of a chain. Raises ValueError."""
    found = x509.load_pem_x509_certificate(pem)
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = tuple(extension.value.get_values_for_type(x509.DNSName))
        names += tuple(map(str, extension.value.get_values_for_type(x509.IPAddress)))
    except x509.ExtensionNotFound:
        names = ()
    return Certificate(
        names=names,
        issuer=found.issuer.rfc4514_string(),
        serial=found.serial_number,
        since=found.not_valid_before_utc,
        until=found.not_valid_after_utc,
        self_signed=found.issuer == found.subject,
    )


def find_certificate(layout: HasRoot, *, timeout_s: float = 5.0) -> tuple[str, Certificate] | None:
    """Where the certificate of this studio is, and it: the file that `STUDIO_CERTIFICATE` names, else what nginx shows
    to clients (its files are for root alone); None where there is neither. Raises `ProxyError`.

    What everybody looks at: `doctor`, `daily` and `/metrics`.
    """
    if settings.STUDIO_CERTIFICATE is not None:
        return str(settings.STUDIO_CERTIFICATE), read_file(settings.STUDIO_CERTIFICATE)
    if not places_of(layout).site_link.exists():
        return None
    url = urlsplit(settings.STUDIO_URL)
    domain, port = url.hostname or "", url.port or 443
    return f"nginx, port {port}", read_served(domain, port, timeout_s=timeout_s)


def read_certificate(layout: HasRoot) -> Certificate:
    """The one in the folder that nginx reads. Raises `ProxyError`."""
    return read_file(places_of(layout).certificate / CHAIN)


def read_file(path: Path) -> Certificate:
    """The first one of a file. Raises `ProxyError`."""
    try:
        return parse_certificate(path.read_bytes())
    except OSError as error:
        raise ProxyError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise ProxyError(f"{path} holds no certificate") from None


def read_served(domain: str, port: int, *, timeout_s: float = 5.0) -> Certificate:
    """The one that nginx shows to clients. Raises `ProxyError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # we look at it, whoever has signed it
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=domain) as plug,
        ):
            shown = plug.getpeercert(binary_form=True) or b""
    except OSError as error:
        raise ProxyError(f"nginx does not speak TLS on port {port}: {error}") from None
    return parse_certificate(ssl.DER_cert_to_PEM_cert(shown).encode())


def wait_until_served(layout: HasRoot, domain: str, port: int, *, seconds: float = WAIT_S) -> None:
    """Until nginx shows the certificate of its folder to new clients. Raises `ProxyError` when the time is up."""
    wanted = read_certificate(layout).serial
    deadline = time.monotonic() + seconds
    seen = 0
    while seen < IN_A_ROW:
        if time.monotonic() > deadline:
            raise ProxyError(f"nginx was reloaded and shows another certificate after {seconds:g} s: see its error log")
        seen = seen + 1 if read_served(domain, port).serial == wanted else 0
        time.sleep(ASK_EVERY_S)


def ensure_certificate(layout: HasRoot, domain: str) -> bool:
    """A self-signed certificate where nginx has none to start with; whether one was made. Raises OSError."""
    places = places_of(layout)
    if (places.certificate / CHAIN).exists() and (places.certificate / KEY).exists():
        return False
    chain, key = self_sign(domain)
    places.self_signed.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(places.self_signed / KEY, key, mode=0o600)
    replace_file(places.self_signed / CHAIN, chain)
    replace_link(places.certificate, places.self_signed)
    return True


def self_sign(domain: str) -> tuple[str, str]:
    """Certificate and key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "QwenStudio, not yet certified")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def certbot_line(
    layout: HasRoot, domain: str, *, email: str = "", server: str = "", options: Sequence[str] = ()
) -> list[str]:
    """certbot's command line. It keeps webroot, hook and server for the renewals, which its own timer starts."""
    places = places_of(layout)
    return [
        "certbot", "certonly", "--non-interactive", "--agree-tos", "--keep-until-expiring",
        "--config-dir", str(places.letsencrypt),
        "--work-dir", str(places.root / "var/lib/letsencrypt"),
        "--logs-dir", str(places.root / "var/log/letsencrypt"),
        "--cert-name", NAME, "--domain", domain,
        "--webroot", "--webroot-path", str(places.acme),
        "--deploy-hook", f"{settings.STUDIO_NGINX_TEST} && {settings.STUDIO_NGINX_RELOAD}",
        *(["--email", email] if email else ["--register-unsafely-without-email"]),
        *(["--server", server] if server else []),
        *options,
    ]  # fmt: skip


def obtain(layout: HasRoot, domain: str, *, email: str = "", server: str = "", options: Sequence[str] = ()) -> None:
    """Let certbot fetch a certificate and nginx take it. Raises `ProxyError`; then nginx keeps what it has."""
    places = places_of(layout)
    places.acme.mkdir(parents=True, exist_ok=True)
    line = certbot_line(layout, domain, email=email, server=server, options=options)
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CERTBOT_S)
    except FileNotFoundError:
        raise ProxyError("certbot is missing: apt-get install certbot") from None
    except subprocess.TimeoutExpired:
        raise ProxyError(f"certbot has not ended within {CERTBOT_S} s: {shlex.join(line)}") from None
    if done.returncode != 0:
        raise ProxyError(f"certbot could not fetch a certificate:\n{(done.stderr or done.stdout).strip()}")
    use_certificate(layout, places.letsencrypt / "live" / NAME)


def use_certificate(layout: HasRoot, folder: Path) -> None:
    """Let nginx read another folder; if it refuses, the one of before stays. Raises `ProxyError`."""
    places = places_of(layout)
    before = places.certificate.readlink() if places.certificate.is_symlink() else None
    replace_link(places.certificate, folder)
    try:
        test_configuration()
        reload_nginx()
    except ProxyError:
        if before is not None:
            replace_link(places.certificate, before)
        raise

"""The certificates of HTTPS: how long they last, and whether they are for our name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from django.conf import settings

from qwenstudio.doctor import places
from qwenstudio.doctor.finding import Finding

SOON_DAYS = 21  # renewals begin 30 days before the end: by then one has failed for more than a week
NOW_DAYS = 7
ENDINGS = (".pem", ".crt", ".cer")
RENEW = "certbot renew, then reload nginx; why it was not done by itself: systemctl status certbot.timer"
SERVED = Path("nginx", "certificate", "fullchain.pem")  # below /etc/qwenstudio: what nginx reads, through a link


def check_certificates() -> Iterator[Finding]:
    """Each file with a certificate."""
    files, named = find_files(), settings.STUDIO_CERTIFICATE is not None
    for path in files:
        try:
            chain = x509.load_pem_x509_certificates(path.read_bytes())
        except OSError as error:
            if named:
                yield Finding("fail", f"certificate {path.name}", f"{path}: {error.strerror}", RENEW)
            continue  # a file of somebody else's, not for us to read
        except ValueError:
            if named:
                yield Finding("fail", f"certificate {path.name}", f"{path} holds no certificate", RENEW)
            continue  # a key or a request beside it
        if named or not is_authority(chain[0]):
            yield judge(chain[0], path)
    if not files and settings.PRODUCTION:
        text = f"none in {places.configuration()}, and STUDIO_CERTIFICATE is not set"
        yield Finding("warn", "certificate", text, "set STUDIO_CERTIFICATE to the file that nginx serves")


def find_files() -> list[Path]:
    """The file that `STUDIO_CERTIFICATE` names, else the one that nginx serves, else all under /etc/qwenstudio."""
    if settings.STUDIO_CERTIFICATE is not None:
        return [settings.STUDIO_CERTIFICATE]
    served = places.configuration() / SERVED
    try:
        if served.exists():
            return [served]
        return sorted(path for path in places.configuration().rglob("*") if path.suffix in ENDINGS and path.is_file())
    except OSError:
        return []


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it signs others: the rest of a chain, which lies beside many a server's own."""
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def days_left(certificate: x509.Certificate) -> float:
    """Days until its end; negative after it."""
    return (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 86_400


def judge(certificate: x509.Certificate, path: Path) -> Finding:
    """One certificate, the first of its file."""
    name, left = f"certificate {path.name}", days_left(certificate)
    text = f"{path}: {left:.0f} days left"
    host = urlsplit(settings.STUDIO_URL).hostname or ""
    if left <= 0:
        return Finding("fail", name, f"{path}: ended on {certificate.not_valid_after_utc:%Y-%m-%d}", RENEW)
    if certificate.not_valid_before_utc > datetime.now(UTC):
        text = f"{path}: not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return Finding("fail", name, text, "set this machine's clock right (timedatectl), or wait")
    if settings.PRODUCTION and not is_for(certificate, host):
        return Finding("fail", name, f"{path}: not for {host}", f"get one for {host}, the host of STUDIO_URL")
    if left < NOW_DAYS:
        return Finding("fail", name, text, RENEW)
    if settings.PRODUCTION and certificate.issuer == certificate.subject:
        return Finding(
            "warn", name, f"{path}: self-signed, browsers refuse it", f"get one from an authority for {host}"
        )
    return Finding("warn" if left < SOON_DAYS else "ok", name, text, RENEW if left < SOON_DAYS else "")


def is_for(certificate: x509.Certificate, host: str) -> bool:
    """Whether its names hold the host, by itself or by a wildcard for its first word."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    wanted = {host, f"*.{host.partition('.')[2]}"}
    if wanted & {name.lower() for name in names.get_values_for_type(x509.DNSName)}:
        return True
    return host in {str(address) for address in names.get_values_for_type(x509.IPAddress)}

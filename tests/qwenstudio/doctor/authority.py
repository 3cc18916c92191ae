"""Certificates for tests: an authority of our own, and what it signs."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates and writes them into a folder; `file` is its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.file = folder, folder / "authority.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority for tests")])
        own = self._builder(self._name, self._key, days=3650).add_extension(x509.BasicConstraints(True, None), True)
        self.file.write_bytes(_pem(own.sign(self._key, hashes.SHA256())))

    def sign(
        self, name: str, *, hosts: tuple[str, ...] = (), addresses: tuple[str, ...] = (), days: float = 90,
        begins_in_days: float = -1, self_signed: bool = False, chain: bool = True,
    ) -> tuple[Path, Path]:  # fmt: skip
        """`<name>.pem` (with the authority's behind it) and `<name>.key`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        builder = self._builder(subject, key, days=days, begins=begins_in_days, itself=self_signed)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        made = builder.sign(key if self_signed else self._key, hashes.SHA256())
        file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        file.write_bytes(_pem(made) + (self.file.read_bytes() if chain else b""))
        plain = serialization.NoEncryption()
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
        return file, key_file

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: float, begins: float = -1,
        itself: bool = False,
    ) -> x509.CertificateBuilder:  # fmt: skip
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if itself else self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=min(begins, days - 1)))
            .not_valid_after(now + timedelta(days=days))
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)

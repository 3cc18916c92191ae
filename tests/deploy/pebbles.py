"""Debian's pebble: a real ACME authority on loopback, with a name server that knows every name as this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from qwenstudio.embedded.ports import free_port

START_S = 60.0


@dataclass(frozen=True)
class Authority:
    """A running pebble."""

    directory: str
    """The URL that clients are told."""
    bundle: Path
    """What signs pebble's own HTTPS."""


@contextmanager
def running_pebble(folder: Path, *, http_port: int) -> Iterator[Authority]:
    """Start it; it will look for answers to its challenges on `http_port`."""
    folder.mkdir()
    certificate, key = folder / "cert.pem", folder / "key.pem"
    write_certificate(certificate, key)
    acme, management, names, names_management = (free_port() for _ in range(4))
    configuration = {
        "listenAddress": f"127.0.0.1:{acme}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": http_port,
        "tlsPort": 1,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": configuration}))
    lines = [
        ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{names}", "-management", f"127.0.0.1:{names_management}",
         "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""],
        ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{names}"],
    ]  # fmt: skip
    environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with (folder / "pebble.log").open("wb") as log:
        processes = [
            subprocess.Popen(line, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
            for line in lines
        ]
    try:
        _wait(acme, processes, folder / "pebble.log")
        yield Authority(f"https://127.0.0.1:{acme}/dir", certificate)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def write_certificate(certificate: Path, key: Path) -> None:
    """For 127.0.0.1, signed by itself, and by that its own authority."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def _wait(port: int, processes: list[subprocess.Popen[bytes]], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"pebble did not start:\n{log.read_text()[-2000:]}")

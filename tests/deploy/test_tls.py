"""What a browser and an attacker find at the TLS port: one fact, one test."""

from __future__ import annotations

import socket
import ssl
import struct

import pytest

from tests.deploy.nginxes import DOMAIN, RunningNginx, once

pytestmark = [pytest.mark.needs_nginx, pytest.mark.timeout(300)]


def context(version: ssl.TLSVersion, ciphers: str = "") -> ssl.SSLContext:
    """A client that speaks one version only, however weak; it looks at no certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    # OpenSSL's own floor would refuse before the server has a say.
    made.set_ciphers(f"{ciphers or 'ALL'}:@SECLEVEL=0")
    made.minimum_version = made.maximum_version = version
    return made


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(nginx: RunningNginx, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"), nginx.plug(context=context(version)):
        pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_new_versions_are_spoken(nginx: RunningNginx, version: ssl.TLSVersion) -> None:
    with nginx.plug(context=context(version)) as plug:
        assert plug.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES256-CCM8"])
def test_suites_that_are_not_ours_are_refused(nginx: RunningNginx, cipher: str) -> None:
    with (
        pytest.raises((ssl.SSLError, ConnectionError), match=r"HANDSHAKE_FAILURE|reset"),
        nginx.plug(context=context(ssl.TLSVersion.TLSv1_2, cipher)),
    ):
        pass


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"])
def test_aead_suites_are_taken(nginx: RunningNginx, cipher: str) -> None:
    with nginx.plug(context=context(ssl.TLSVersion.TLSv1_2, cipher)) as plug:
        found = plug.cipher()
        assert found is not None and found[0] == cipher


def test_the_certificate_is_for_the_domain(nginx: RunningNginx) -> None:
    with nginx.plug() as plug:  # a context that checks chain and name
        assert plug.getpeercert()["subjectAltName"] == (("DNS", DOMAIN),)  # type: ignore[index]


def test_http2_is_negotiated_and_spoken(nginx: RunningNginx) -> None:
    made = nginx.trust()
    made.set_alpn_protocols(["h2", "http/1.1"])
    with nginx.plug(context=made) as plug:
        assert plug.selected_alpn_protocol() == "h2"
        plug.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">HBBBI", 0, 0, 4, 0, 0))
        head = b""
        while len(head) < 9:
            head += plug.recv(9 - len(head))
        assert head[3] == 4, "the server's first frame is its settings"


def test_plain_http_goes_to_https(nginx: RunningNginx) -> None:
    import httpx

    answer = httpx.get(
        f"http://127.0.0.1:{nginx.site.http_port}/gallery/?q=a%20b", headers={"Host": "evil.example"}, timeout=60
    )
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{nginx.site.url}/gallery/?q=a%20b", "ours, whatever Host says"
    assert once(answer.headers, "X-Content-Type-Options") == "nosniff"
    assert "Strict-Transport-Security" not in answer.headers, "nobody believes it over plain HTTP"


def test_plain_http_at_the_tls_port_goes_to_https(nginx: RunningNginx) -> None:
    with socket.create_connection(("127.0.0.1", nginx.site.https_port), timeout=60) as plug:
        plug.sendall(f"GET /x HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n".encode())
        head = plug.makefile("rb").read()
    assert head.startswith(b"HTTP/1.1 308 ")
    assert f"Location: {nginx.site.url}/x\r\n".encode() in head


def test_a_session_is_not_resumed_by_ticket(nginx: RunningNginx) -> None:
    with nginx.plug(context=context(ssl.TLSVersion.TLSv1_2)) as plug:
        assert plug.session is not None and not plug.session.has_ticket

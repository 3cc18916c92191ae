"""What the doctor says of the mail server, of certificates, and of ports that answer to everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from qwenstudio.doctor import Finding, ports
from qwenstudio.doctor.ports import Listener, is_loopback, lane_ports, read_address, read_listeners
from qwenstudio.embedded.ports import free_port
from qwenstudio.mail import email_settings
from tests.qwenstudio.doctor.authority import Authority
from tests.qwenstudio.doctor.looking import line, look
from tests.qwenstudio.doctor.smtp import MailServer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


# ---- mail


def mail(settings: Settings, url: str, tmp_path: Path) -> Finding:
    """What the doctor says with this EMAIL_URL."""
    for name, value in email_settings(url, outbox=tmp_path / "mail").items():
        setattr(settings, name, value)
    return line("e-mail", "mail")


def test_mail_server_that_lets_us_in(settings: Settings, tmp_path: Path) -> None:
    with MailServer(password="right") as server:
        found = mail(settings, f"smtp+plain://studio:right@127.0.0.1:{server.port}", tmp_path)
        assert (found.level, "signed in" in found.text) == ("ok", True)
        assert [word.split(" ")[0].upper() for word in server.heard] == ["EHLO", "AUTH", "QUIT"], "nothing is sent"
        wrong = mail(settings, f"smtp+plain://studio:wrong@127.0.0.1:{server.port}", tmp_path)
        assert (wrong.level, "refuses our name and password (535)" in wrong.text) == ("fail", True)
        assert "wrong" not in wrong.text


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_mail_server_by_tls(
    settings: Settings, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    certificate = authority.sign(f"mail-{scheme}", addresses=("127.0.0.1",))
    with MailServer(starttls=True, certificate=certificate, from_the_start=scheme == "smtps") as server:
        url = f"{scheme}://127.0.0.1:{server.port}"
        unknown = mail(settings, url, tmp_path)
        assert (unknown.level, "certificate is not believed" in unknown.text) == ("fail", True)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        found = mail(settings, url, tmp_path)
        assert (found.level, "TLS" in found.text) == ("ok", True), found


def test_mail_server_without_starttls_or_none_at_all(settings: Settings, tmp_path: Path) -> None:
    with MailServer() as server:
        found = mail(settings, f"smtp://127.0.0.1:{server.port}", tmp_path)
        assert (found.level, "STARTTLS" in found.text, "smtps://" in found.remedy) == ("fail", True, True)
    gone = mail(settings, f"smtp://127.0.0.1:{server.port}", tmp_path)
    assert (gone.level, "EMAIL_URL" in gone.remedy) == ("fail", True)


def test_no_mail_server(settings: Settings, tmp_path: Path) -> None:
    assert (mail(settings, "", tmp_path).level, mail(settings, "console:", tmp_path).level) == ("ok", "ok")
    settings.PRODUCTION = True
    for url in ("", "console:"):
        found = mail(settings, url, tmp_path)
        assert (found.level, found.remedy) == ("warn", "set EMAIL_URL to a mail server")


# ---- certificates


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Path:
    """/etc/qwenstudio of an installation in a folder, in production."""
    monkeypatch.setenv("STUDIO_ROOT", str(tmp_path))
    settings.PRODUCTION, settings.STUDIO_URL = True, "https://studio.example.org"
    (tmp_path / "etc" / "qwenstudio").mkdir(parents=True)
    return tmp_path / "etc" / "qwenstudio"


@pytest.mark.parametrize(
    ("values", "level", "word"),
    [
        ({"days": 60}, "ok", "60 days left"),
        ({"days": 20}, "warn", "20 days left"),
        ({"days": 6}, "fail", "6 days left"),
        ({"days": -2}, "fail", "ended on"),
        ({"days": 60, "begins_in_days": 2}, "fail", "not valid before"),
        ({"days": 60, "hosts": ("other.example.org",)}, "fail", "not for studio.example.org"),
        ({"days": 60, "hosts": ("*.example.org",)}, "ok", "60 days left"),
        ({"days": 60, "hosts": ("*.org",)}, "fail", "not for studio.example.org"),
        ({"days": 60, "hosts": ()}, "fail", "not for studio.example.org"),
        ({"days": 60, "self_signed": True}, "warn", "self-signed"),
    ],
)
def test_certificates(
    settings: Settings, authority: Authority, etc: Path, values: dict[str, Any], level: str, word: str
) -> None:
    settings.STUDIO_CERTIFICATE, _ = authority.sign("one", **{"hosts": ("studio.example.org",), **values})
    (found,) = look("certificates")
    assert (found.level, word in found.text) == (level, True), found
    assert bool(found.remedy) == (level != "ok")


def test_without_a_name_it_is_what_nginx_shows(settings: Settings, authority: Authority, etc: Path) -> None:
    """Its files are for root alone; what clients get is what counts."""
    (found,) = look("certificates")
    assert (found.level, "STUDIO_CERTIFICATE" in found.remedy) == ("warn", True)
    link = etc.parents[1] / "etc" / "nginx" / "sites-enabled" / "qwenstudio.conf"
    link.parent.mkdir(parents=True)
    link.touch()
    settings.STUDIO_URL = f"https://studio.example.org:{free_port()}"
    (found,) = look("certificates")
    assert (found.level, "nginx does not speak TLS" in found.text) == ("fail", True)
    shown = authority.sign("shown", hosts=("studio.example.org",), days=10)
    with MailServer(certificate=shown, from_the_start=True) as server:  # any server with TLS
        settings.STUDIO_URL = f"https://studio.example.org:{server.port}"
        (found,) = look("certificates")
    assert (found.level, "10 days left" in found.text) == ("warn", True), found


def test_a_named_certificate_that_is_none(settings: Settings, etc: Path) -> None:
    settings.STUDIO_CERTIFICATE = etc / "absent.pem"
    assert "No such file" in line("certificate", "certificates").text
    (etc / "absent.pem").write_text("nothing")
    assert "holds no certificate" in line("certificate", "certificates").text


# ---- ports


TABLE = "  sl  local_address rem_address   st\n"
ROW = "   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0\n"


def test_addresses_of_the_kernel_are_read() -> None:
    assert str(read_address("0100007F")) == "127.0.0.1"
    assert str(read_address("00000000000000000000000001000000")) == "::1"
    assert is_loopback(read_address("0000000000000000FFFF00000100007F")), "127.0.0.1 in the dress of IPv6"
    assert not is_loopback(read_address("00000000000000000000000000000000"))


def test_ports_that_answer_to_everybody(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("00000000", 18787, "0A"), ("0100007F", 18788, "0A"), ("00000000", 18789, "01"), ("00000000", 443, "0A")]
    (tmp_path / "tcp").write_text(
        TABLE + "".join(ROW.format(address=address, port=port, state=state) for address, port, state in rows)
    )
    monkeypatch.setattr(ports, "TABLES", (tmp_path / "tcp", tmp_path / "absent"))
    found = {finding.name: finding for finding in look("ports")}
    assert set(found) == {"port of pages of blue", "ports"}
    bad = found["port of pages of blue"]
    assert (bad.level, "answers on 0.0.0.0" in bad.text, "18787" in bad.remedy) == ("warn", True, True)
    assert found["ports"].text == "on loopback alone: 18788"
    settings.PRODUCTION = True
    assert line("port of pages of blue", "ports").level == "fail"
    (tmp_path / "tcp").write_text(TABLE)
    assert [(finding.level, finding.name) for finding in look("ports")] == [("ok", "ports")]


def test_a_real_listener_is_seen(settings: Settings) -> None:
    with MailServer() as server:
        settings.STUDIO_PORT = server.port
        listeners = read_listeners()
        if listeners is None:
            pytest.skip("this system has no /proc/net/tcp")
        assert Listener(read_address("0100007F"), server.port) in listeners
        assert str(server.port) in line("ports", "ports").text


def test_database_and_redis_of_this_machine_are_ours(settings: Settings) -> None:
    titles = set(ports.find_ports().values())
    assert titles >= {"pages", "PostgreSQL", "Redis", *lane_ports().values()}
    settings.REDIS_URL = "redis://:x@redis.example.org:6379/0"
    assert "Redis" not in ports.find_ports().values()


def test_lanes_may_have_ports_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ROOT", str(tmp_path))
    assert lane_ports() == {
        18787: "pages of blue", 18789: "streams of blue", 18788: "pages of green", 18790: "streams of green",
    }  # fmt: skip
    folder = tmp_path / "etc" / "qwenstudio" / "lanes"
    folder.mkdir(parents=True)
    (folder / "green.env").write_text("STUDIO_PORT=28788\nSTUDIO_STREAM_PORT=28790\n")
    assert {28788, 28790, 18787} <= set(lane_ports())

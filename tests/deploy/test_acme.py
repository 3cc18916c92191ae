"""The certificate, for real: certbot asks pebble, nginx answers the challenge, and nobody notices the renewal."""

from __future__ import annotations

import io
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from qwenstudio.proxy.certificates import Certificate, ensure_certificate, read_served, self_sign, use_certificate
from qwenstudio.proxy.errors import ProxyError
from qwenstudio.proxy.places import Places
from qwenstudio.proxy.site import LanePorts
from tests.chaos.rig import wait_until
from tests.deploy.clients import AGAIN, Asker, running
from tests.deploy.nginxes import DOMAIN, RunningNginx, running_nginx
from tests.deploy.pebbles import Authority, running_pebble
from tests.deploy.upstreams import answer, upstream

pytestmark = [pytest.mark.needs_nginx, pytest.mark.timeout(300)]


@pytest.fixture
def nginx(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningNginx]:
    with upstream(lambda heard: answer()) as web:
        lanes = {lane: LanePorts(web.port, web.port) for lane in ("blue", "green")}
        with running_nginx(tmp_path / "root", lanes=lanes, rate=100_000, burst=100_000) as found:
            for name, value in found.settings().items():
                setattr(settings, name, value)
            monkeypatch.setenv("STUDIO_ROOT", str(found.root))
            yield found


@pytest.fixture
def authority(nginx: RunningNginx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    with running_pebble(tmp_path / "pebble", http_port=nginx.site.http_port) as found:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(found.bundle))
        yield found


def served(nginx: RunningNginx) -> Certificate:
    return read_served(DOMAIN, nginx.site.https_port)


def blind() -> ssl.SSLContext:
    """Takes any certificate: it changes while these clients ask."""
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


@pytest.mark.needs_certbot
@pytest.mark.needs_pebble
def test_a_certificate_is_fetched_used_and_renewed(nginx: RunningNginx, authority: Authority) -> None:
    first = served(nginx)
    assert first.self_signed and first.names == (DOMAIN,)

    askers = [Asker(nginx, "/", context=blind()) for _ in range(2)]
    with running(*(asker.run for asker in askers)):
        output = io.StringIO()
        call_command("proxy", "certificate", "--obtain", "--server", authority.directory, stdout=output)
        wait_until(lambda: served(nginx).serial != first.serial, seconds=60, what="the new certificate")
        second = served(nginx)
        # What certbot's timer runs, and nothing else: its own settings know webroot, authority and hook.
        line = ["certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew", "--config-dir"]
        folders = ["--work-dir", str(nginx.root / "var/lib/letsencrypt"), "--logs-dir", str(nginx.root / "var/log/le")]
        done = subprocess.run(
            [*line, str(nginx.places.letsencrypt), *folders], capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stdout + done.stderr
        wait_until(lambda: served(nginx).serial != second.serial, seconds=60, what="the renewed certificate")
    counts = sum((asker.counts for asker in askers), Counter[str]())
    print(dict(counts))

    assert not second.self_signed and "Pebble" in second.issuer and second.names == (DOMAIN,)
    assert "Pebble" in served(nginx).issuer
    counts.pop(AGAIN, None)
    assert counts.keys() == {"200"} and counts["200"] > 20
    assert "Pebble" in output.getvalue() and "days left" in output.getvalue()
    assert list(nginx.places.acme.rglob("*.*")) == [], "no challenge is left lying"


@pytest.mark.needs_certbot
@pytest.mark.needs_pebble
def test_what_cannot_be_proved_changes_nothing(nginx: RunningNginx, authority: Authority, settings: Any) -> None:
    before = served(nginx)
    text = nginx.places.site.read_text()
    nginx.places.site.write_text(text.replace(f"root {nginx.places.acme};", "root /nowhere;"))
    subprocess.run(settings.STUDIO_NGINX_RELOAD.split(), check=True)
    wait_until(lambda: not answers_challenges(nginx), seconds=60, what="the broken webroot")
    with pytest.raises(CommandError, match="certbot could not fetch a certificate"):
        call_command("proxy", "certificate", "--obtain", "--server", authority.directory)
    assert served(nginx) == before
    assert nginx.places.certificate.readlink() == nginx.places.self_signed


def answers_challenges(nginx: RunningNginx) -> bool:
    import httpx

    path = ".well-known/acme-challenge/probe"
    (nginx.places.acme / path).parent.mkdir(parents=True, exist_ok=True)
    (nginx.places.acme / path).write_text("probe")
    return httpx.get(f"http://127.0.0.1:{nginx.site.http_port}/{path}", headers={"Host": DOMAIN}).status_code == 200


def test_a_key_that_does_not_fit_is_not_used(nginx: RunningNginx, tmp_path: Path) -> None:
    before = served(nginx)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "fullchain.pem").write_text(self_sign(DOMAIN)[0])
    (broken / "privkey.pem").write_text(self_sign(DOMAIN)[1])
    with pytest.raises(ProxyError, match="nginx refuses the configuration"):
        use_certificate(nginx.places, broken)
    assert served(nginx) == before
    assert nginx.places.certificate.readlink() == nginx.places.self_signed


def test_nginx_starts_with_one_that_is_made_once(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert ensure_certificate(places, DOMAIN)
    first = (places.certificate / "fullchain.pem").read_bytes()
    assert not ensure_certificate(places, DOMAIN)
    assert (places.certificate / "fullchain.pem").read_bytes() == first
    assert (places.self_signed / "privkey.pem").stat().st_mode & 0o777 == 0o600
    assert places.self_signed.stat().st_mode & 0o777 == 0o700


NOW = datetime.now(UTC)
GOOD = Certificate(
    names=(DOMAIN,),
    issuer="CN=R11",
    serial=1,
    since=NOW - timedelta(days=30),
    until=NOW + timedelta(days=60),
    self_signed=False,
)


@pytest.mark.parametrize(
    ("certificate", "level"),
    [
        (GOOD, "ok"),
        (replace(GOOD, names=("other.example",)), "fail"),
        (replace(GOOD, names=(f"*.{DOMAIN.partition('.')[2]}",)), "ok"),
        (replace(GOOD, self_signed=True), "warn"),
        (replace(GOOD, until=NOW + timedelta(days=20, hours=1)), "warn"),
        (replace(GOOD, until=NOW + timedelta(days=6, hours=1)), "fail"),
        (replace(GOOD, until=NOW - timedelta(days=1)), "fail"),
        (replace(GOOD, since=NOW + timedelta(days=1)), "fail"),
    ],
    ids=["good", "another name", "wildcard", "self-signed", "not renewed", "about to end", "expired", "not yet"],
)
def test_a_certificate_is_judged(certificate: Certificate, level: str) -> None:
    found, _, remedy = certificate.judge(DOMAIN)
    assert found == level
    assert bool(remedy) is (level != "ok")


def test_the_command_ends_with_1_for_a_bad_one(nginx: RunningNginx, settings: Any) -> None:
    output = io.StringIO()
    call_command("proxy", "certificate", stdout=output)  # self-signed: a warning
    assert f"for {DOMAIN}" in output.getvalue() and "3650 days left" in output.getvalue()
    settings.STUDIO_URL = nginx.site.url.replace(DOMAIN, "other.test")
    with pytest.raises(SystemExit) as ended:
        call_command("proxy", "certificate", stdout=output)
    assert ended.value.code == 1
    assert f"for {DOMAIN}, not for other.test" in output.getvalue()

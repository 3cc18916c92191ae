"""What the doctor, the daily report and `/metrics` say of a real nginx and its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwenstudio.daily.report import look_at_machine
from qwenstudio.doctor import CHECKS
from qwenstudio.metrics.machine import read_machine
from qwenstudio.proxy.site import LanePorts
from tests.deploy.nginxes import RunningNginx, running_nginx
from tests.deploy.upstreams import upstream

pytestmark = [pytest.mark.needs_nginx, pytest.mark.timeout(300)]


def look(name: str) -> dict[str, tuple[str, str]]:
    """Level and cure of each line of a check."""
    return {found.name: (found.level, found.remedy) for found in CHECKS[name].find()}


def shown() -> dict[str, list[float]]:
    """What `/metrics` says of the certificate."""
    families = {family.name: [sample.value for sample in family.samples] for family in read_machine()}
    return {name: values for name, values in families.items() if name.startswith("studio_certificate")}


@pytest.fixture
def here(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningNginx]:
    """The installation of this process."""
    with upstream() as web:
        lanes = {lane: LanePorts(web.port, web.port) for lane in ("blue", "green")}
        with running_nginx(tmp_path / "root", lanes=lanes) as found:
            for name, value in found.settings().items():
                setattr(settings, name, value)
            settings.STUDIO_CERTIFICATE = None
            monkeypatch.setenv("STUDIO_ROOT", str(found.root))
            yield found


def test_all_three_see_the_same_certificate(here: RunningNginx) -> None:
    (found,) = CHECKS["certificates"].find()
    assert (found.level, "3650 days left" in found.text) == ("warn", True), "self-signed"
    assert list(look_at_machine().certificates.values()) == [pytest.approx(3650, abs=1)]
    assert shown()["studio_certificate_readable"] == [1]
    here.process.terminate()
    here.process.wait(30)
    (found,) = CHECKS["certificates"].find()
    assert (found.level, "does not speak TLS" in found.text) == ("fail", True)
    assert look_at_machine().certificates == {}
    assert shown() == {"studio_certificate_readable": [0], "studio_certificate_expiry_timestamp_seconds": []}


def test_lines_of_nginx_have_names_of_their_own(here: RunningNginx) -> None:
    found = look("nginx")
    assert {"nginx", "nginx, files", "nginx, lanes"} <= set(found) and "certificate" not in found
    assert found["nginx, lanes"] == ("ok", "")
    assert (found["nginx"][0], "worker_connections 4096" in found["nginx"][1]) == ("warn", True)
    here.process.terminate()
    here.process.wait(30)
    level, cure = look("nginx")["nginx, lanes"]
    assert (level, bool(cure)) == ("fail", True)
    names = [name for check in ("nginx", "lanes", "certificates") for name in look(check)]
    assert len(names) == len(set(names))


def test_without_a_site_it_says_nothing(here: RunningNginx) -> None:
    here.places.site.unlink()
    assert look("nginx") == {}

"""What other processes count arrives on the page: a GPU worker's passes, the ticker's sweeps, a server's requests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from qwenstudio.embedded import Services
from qwenstudio.embedded.ports import free_port
from tests.chaos.rig import ROOT, Rig, offer_sleeping_model, wait_until
from tests.factories import Person
from tests.generation.domain.desk import submit
from tests.qwenstudio.fronts import running_front

PATIENCE_S = 90.0


@pytest.fixture
def rig(db: object, services: Services, tmp_path: Path, media: Path) -> Iterator[Rig]:
    """Processes that share a folder of their own."""
    offer_sleeping_model()
    rig = Rig(services, tmp_path / "logs", environment={"STUDIO_VAR": str(tmp_path / "var")})
    try:
        yield rig
    finally:
        rig.close()


def value(page: str, name: str, **labels: str) -> float | None:
    """The one series with these labels."""
    for family in text_string_to_metric_families(page):
        for one in family.samples:
            if one.name == name and labels.items() <= one.labels.items():
                return one.value
    return None


def test_all_processes_on_one_page(rig: Rig, alice: Person, tmp_path: Path) -> None:
    environment = {"STUDIO_VAR": str(tmp_path / "var")}
    with running_front(tmp_path, **environment) as front:
        worker = rig.start_worker()
        rig.start_ticker()
        rig.start_errands()
        for seed in range(2):
            submit(alice.caller, seed=seed, n=3)

        def page() -> str:
            return httpx.get(f"{front.url}/metrics", timeout=60).raise_for_status().text

        drawn = {"lane": "blue", "model": "demo"}
        counted = {  # one after the other: a page may come in between
            "studio_images_total": {**drawn},
            "studio_pass_images_sum": {**drawn},
            "studio_generations_ended_total": {**drawn, "status": "succeeded"},
            "studio_generation_wait_seconds_count": {**drawn},
        }

        def seen() -> list[float | None]:
            text = page()
            return [value(text, name, **labels) for name, labels in counted.items()]

        wait_until(lambda: seen() == [6, 6, 2, 2], seconds=PATIENCE_S, what="6 images of 2 generations")
        text = page()
        assert (value(text, "studio_pass_images_count", **drawn) or 0) >= 1
        assert (value(text, "studio_pass_duration_seconds_sum", **drawn) or 0) > 0
        swept = "studio_ticker_last_sweep_timestamp_seconds"
        wait_until(lambda: (value(page(), swept) or 0) > time.time() - 60, seconds=PATIENCE_S, what="a sweep")

        def running() -> dict[str, float | None]:
            text = page()
            kinds = ("web", "worker", "ticker", "errands")
            return {kind: value(text, "studio_processes", process=kind) for kind in kinds}

        each_once = {"web": 1, "worker": 1, "ticker": 1, "errands": 1}
        wait_until(lambda: running() == each_once, seconds=PATIENCE_S, what="every process")
        text = page()
        assert value(text, "studio_ticker_running") == 1
        states = [value(text, "studio_workers", pool="demo", state=state) or 0 for state in ("idle", "busy")]
        assert sum(states) == 1
        worker.kill()
        worker.wait(30)
        wait_until(
            lambda: value(page(), "studio_processes", process="worker") == 0,
            seconds=PATIENCE_S,
            what="the worker's end",
        )
        assert value(page(), "studio_images_total", **drawn) == 6, "what it counted stays"
        httpx.get(f"{front.url}/api/v1/me", headers={"Authorization": f"Bearer {alice.secret}"}, timeout=30)
        asked = {"route": "api-me", "status": "2xx"}
        wait_until(
            lambda: value(page(), "studio_http_requests_total", **asked) == 1, seconds=PATIENCE_S, what="the request"
        )
        for _ in range(3):
            httpx.get(f"{front.url}/nowhere/", timeout=30)
    with running_front(tmp_path, **environment) as front:
        text = httpx.get(f"{front.url}/metrics", timeout=30).text
        assert value(text, "studio_http_requests_total", **asked) == 1, "the next one goes on"
        assert value(text, "studio_http_requests_total", route="unknown") == 3, (
            "the last it did before its end is there"
        )


def test_a_machine_without_pages_shows_its_own(rig: Rig, alice: Person, services: Services) -> None:
    rig.start_worker()
    submit(alice.caller, seed=1)
    environment = {**os.environ, **rig.environment, "STUDIO_PROCESS": "worker"}
    line = [sys.executable, "manage.py", "metrics"]

    def printed() -> str:
        return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    wait_until(lambda: value(printed(), "studio_images_total", model="demo") == 1, seconds=PATIENCE_S, what="an image")
    assert "studio_queue_depth" not in printed(), "what the database knows is said by those with pages"
    port = free_port()
    listening = subprocess.Popen([*line, "--listen", f"127.0.0.1:{port}"], cwd=ROOT, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(url), seconds=PATIENCE_S, what="the page")
        with httpx.Client(base_url=url, timeout=60) as client:
            assert value(client.get("/metrics").text, "studio_images_total", model="demo") == 1
            assert client.get("/").status_code == 404
            assert client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 404
    finally:
        listening.terminate()
        assert listening.wait(30) == 0


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/metrics").status_code == 200
    except httpx.HTTPError:
        return False

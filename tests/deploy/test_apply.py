"""`apply`: a new state in force, or the old one as it was; and nobody notices."""

from __future__ import annotations

import io
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from qwenstudio.proxy import LanesState, ProxyError, apply, read_state, render_lanes, traffic
from qwenstudio.proxy.places import Places
from qwenstudio.proxy.site import LanePorts
from qwenstudio.proxy.traffic import ask_lane
from tests.chaos.rig import offer_sleeping_model, wait_until
from tests.deploy.clients import AGAIN, Asker, Listener, running
from tests.deploy.lane import Lane
from tests.deploy.nginxes import RunningNginx, running_nginx
from tests.deploy.upstreams import answer, upstream
from tests.factories import Person
from tests.generation.api.calls import submitted

pytestmark = [pytest.mark.needs_nginx, pytest.mark.timeout(300)]
BOTH = frozenset({"blue", "green"})
GREEN = LanesState(default="green", live=BOTH, sticky=True)
RELOADS = 8


@pytest.fixture
def small(tmp_path: Path, settings: Any) -> Iterator[RunningNginx]:
    """nginx with a stand-in in each lane that says which it is."""
    blue, green = upstream(lambda heard: answer(b"blue")), upstream(lambda heard: answer(b"green"))
    with blue as first, green as second:
        lanes = {"blue": LanePorts(first.port, first.port), "green": LanePorts(second.port, second.port)}
        with running_nginx(tmp_path, lanes=lanes) as nginx:
            for name, value in nginx.settings().items():
                setattr(settings, name, value)
            yield nginx


def who_answers(nginx: RunningNginx) -> str:
    with nginx.client() as client:
        return client.get("/").text


def test_what_is_written_can_be_read_back(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.folder.mkdir(parents=True)
    for state in (LanesState(), GREEN, LanesState(default="green", live=frozenset({"green"}))):
        places.lanes.write_text(render_lanes(state))
        assert read_state(places) == state


@pytest.mark.parametrize("text", ["", "# {}\n", "map x y {}\n", '# {"default": "red", "live": ["red"], "serial": 1}\n'])
def test_a_file_of_somebody_else_is_not_guessed_at(tmp_path: Path, text: str) -> None:
    places = Places(tmp_path)
    places.folder.mkdir(parents=True)
    with pytest.raises(ProxyError, match=r"lanes\.conf"):
        read_state(places)
    places.lanes.write_text(text)
    with pytest.raises(ProxyError, match=r"lanes\.conf"):
        read_state(places)


def test_a_state_that_serves_nobody_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="not live"):
        LanesState(default="green", live=frozenset({"blue"}))
    with pytest.raises(ValueError, match="no such lane"):
        LanesState(live=frozenset({"blue", "red"}))


def test_a_state_is_in_force_when_apply_returns(small: RunningNginx) -> None:
    for state in (GREEN, LanesState(), GREEN, LanesState(live=BOTH)):
        apply(state, layout=small.places)
        assert who_answers(small) == state.default
        assert read_state(small.places) == state
    assert ask_lane() == ("blue", 5)


def test_what_nginx_refuses_leaves_the_old_state(small: RunningNginx) -> None:
    before = small.places.lanes.read_bytes()
    broken = small.places.site.read_text().replace("studio_web_${studio_lane}", "$nothing_${studio_lane}")
    small.places.site.write_text(broken)  # by hand, or by an update of nginx
    with pytest.raises(ProxyError, match=r"nginx refuses(.|\n)*nothing_"):
        apply(GREEN, layout=small.places)
    assert small.places.lanes.read_bytes() == before
    assert who_answers(small) == "blue"
    assert sorted(path.name for path in small.places.folder.iterdir()) == [
        ".lock", "certificate", "lanes.conf", "self-signed",
    ]  # fmt: skip


def test_a_reload_that_fails_leaves_the_old_state(small: RunningNginx, settings: Any) -> None:
    before = small.places.lanes.read_bytes()
    settings.STUDIO_NGINX_RELOAD = "false"
    with pytest.raises(ProxyError, match="could not be reloaded"):
        apply(GREEN, layout=small.places)
    assert small.places.lanes.read_bytes() == before
    assert who_answers(small) == "blue"


def test_a_reload_that_does_nothing_is_noticed(
    small: RunningNginx, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = small.places.lanes.read_bytes()
    settings.STUDIO_NGINX_RELOAD = "true"
    monkeypatch.setattr(traffic, "WAIT_S", 3.0)
    with pytest.raises(ProxyError, match=r"has not taken green within 3 s: nginx still sends to blue \(serial 1"):
        apply(GREEN, layout=small.places)
    assert small.places.lanes.read_bytes() == before


def test_changes_wait_for_each_other(small: RunningNginx) -> None:
    failures: list[BaseException] = []

    def change(state: LanesState) -> None:
        try:
            apply(state, layout=small.places)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=change, args=(state,)) for state in (GREEN, LanesState()) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ask_lane()[1] == 5


def test_the_command_says_where_things_stand(small: RunningNginx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ROOT", str(small.root))
    apply(GREEN, layout=small.places)
    output = io.StringIO()
    call_command("proxy", "status", stdout=output)
    assert "new visitors: green   live: blue, green   people keep their lane by cookie" in output.getvalue()
    assert re.search(r"ok +lanes +nginx sends new visitors to green", output.getvalue())
    small.places.lanes.write_text(render_lanes(LanesState(), serial=9))  # somebody forgot the reload
    output = io.StringIO()
    call_command("proxy", "status", stdout=output)
    assert "nginx sends to green (serial 2), the file says blue (serial 9)" in output.getvalue()
    small.places.lanes.unlink()
    with pytest.raises(CommandError, match="studio proxy write"):
        call_command("proxy", "status", stdout=output)


# ---- under load


def test_reloads_under_load_lose_nothing(
    lane: Lane, collected: Path, alice: Person, tmp_path: Path, settings: Any
) -> None:
    """Eight changes of the state; old workers are cut after some seconds, so that streams must come back."""
    offer_sleeping_model()
    lanes = {"blue": lane.ports, "green": lane.ports}
    static = collected / "static"
    with running_nginx(
        tmp_path, lanes=lanes, static=static, shutdown_timeout_s=5, rate=100_000, burst=100_000
    ) as nginx:
        for name, value in nginx.settings().items():
            setattr(settings, name, value)
        listener = Listener(nginx, {"X-Api-Key": alice.secret})
        askers = [Asker(nginx, "/healthz"), Asker(nginx, "/static/studio/studio.css"), Asker(nginx, "/sign-in/")]
        writer = Asker(nginx, "/api/v1/estimates", method="POST")  # refused for want of a key: 401 each time
        with running(listener.run, *(asker.run for asker in (*askers, writer))):
            wait_until(lambda: listener.openings > 0, seconds=60, what="the stream")
            ended: list[UUID] = []
            longest = 0.0
            for turn in range(RELOADS):
                began = time.monotonic()
                apply(GREEN if turn % 2 == 0 else LanesState(live=BOTH, sticky=True), layout=nginx.places)
                longest = max(longest, time.monotonic() - began)
                if turn % 3 == 0:
                    ended.append(cancelled(nginx, alice))
            wait_until(lambda: listener.openings > 1, seconds=60, what="the stream to come back")
            ended.append(cancelled(nginx, alice))
            wait_until(lambda: seen(listener) >= set(map(str, ended)), seconds=120, what="every event")
        counts = sum((asker.counts for asker in askers), Counter())
    again = counts.pop(AGAIN, 0) + writer.counts.pop(AGAIN, 0)
    print(f"reads {dict(counts)}, writes {dict(writer.counts)}, sent again {again}, streams {listener.openings}, "
          f"longest change {longest:.2f} s")  # fmt: skip
    assert counts.keys() == {"200"} and counts["200"] > RELOADS
    assert writer.counts.keys() == {"401"}
    assert listener.failures == []
    assert read_state(nginx.places) == LanesState(live=BOTH, sticky=True)


def cancelled(nginx: RunningNginx, person: Person) -> UUID:
    """A generation that has just been cancelled."""
    generation = submitted(person)
    with nginx.client(headers={"X-Api-Key": person.secret}) as client:
        assert client.post(f"/api/v1/images/{generation}/cancel").status_code == 200
    return generation


def seen(listener: Listener) -> set[str]:
    return {found for name, found in list(listener.events) if name == "canceled"}

"""The same people and programs before `peer_app.py`: same shares, same pauses, the actions that it has.

What a person of the studio does while a picture is being drawn, nobody can do here in the same window: the request that
draws it is the page. There is no event stream and nothing to poll, so a program has its picture or its error.
"""

from __future__ import annotations

import random
import re
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy/load"))

import clients
import wiring  # noqa: F401  (Locust's events)
from locust import task
from pace import PERSON, PROGRAM, make_prompt, pick

OUTPUTS = r'src="(/outputs/[^"]+)"'
SHOWN = 12
tally, accounts = clients.tally, clients.accounts


class Drawing(clients.Client):
    """A picture, in the request."""

    abstract = True
    network_timeout = 150.0

    def draw_by(self, path: str, **options: Any) -> Any:
        """Ask and get it; counted as the whole of a picture, like the studio's."""
        began, mine = time.monotonic(), str(uuid4())
        answer = self.ask("held", "POST", path, **options)
        if answer is not None:
            tally.accept(mine, at=began)
            clients.report("wait", "a picture, in the request", tally.end(mine, "succeeded") or 0.0)
        return answer

    def fetch(self, url: str) -> None:
        """A picture; there are no thumbnails."""
        self.ask("file", "GET", url, name="/outputs/…")


class Person(Drawing):
    """Somebody with a browser."""

    abstract = False
    part = "people"

    def on_start(self) -> None:
        """Sign in."""
        self.seen: set[str] = set()
        account = accounts.person()
        form = {"email": account.email, "password": account.password}
        while True:
            self.ask("page", "GET", "/login", must="</html>")
            answer = self.ask("sign-in", "POST", "/login", good=(302,), data=form, allow_redirects=False)
            if answer is not None:
                break
            self.think()
        self.studio()
        tally.arrive()

    @task
    def act(self) -> None:
        """The next thing."""
        self.think()
        getattr(self, pick(self.options.shares, PERSON))()

    def show(self, text: str | None) -> None:
        """A page's files, as far as this browser has not seen them."""
        if text is not None:
            self.load("static", dict.fromkeys(re.findall(r'href="(/static/[^"]+)"', text)))
            self.load("file", list(dict.fromkeys(re.findall(OUTPUTS, text)))[:SHOWN])

    def look(self, path: str) -> None:
        """A page."""
        answer = self.ask("page", "GET", path, must="data-person=")
        self.show(answer.text if answer is not None else None)

    def studio(self) -> None:
        """The page with the form."""
        self.look("/")

    def draw(self) -> None:
        """Type, send, and look at a page that is not there yet."""
        for _ in range(2):
            self.think(0.25)
        answer = self.draw_by("/generate", data={"prompt": make_prompt()}, must="data-person=")
        self.show(answer.text if answer is not None else None)
        self.think(0.5)

    def gallery(self) -> None:
        """The wall."""
        self.look("/gallery")

    def picture(self) -> None:
        """One of the wall, large; a browser that has seen it asks nobody."""
        paths = sorted(path for path in self.seen if path.startswith("/outputs/"))
        if paths:
            self.fetch(random.choice(paths))
        else:
            self.gallery()

    def usage(self) -> None:
        """There is no such page: the first one again."""
        self.look("/")


class Program(Drawing):
    """Something with a key."""

    abstract = False
    part = "programs"

    def on_start(self) -> None:
        """A key."""
        self.own_headers = {"Authorization": f"Bearer {accounts.key()}"}
        tally.arrive()

    @task
    def act(self) -> None:
        """The next thing."""
        self.think()
        getattr(self, pick(self.options.shares, PROGRAM))()

    def wait(self) -> None:
        """Ask, get, fetch."""
        answer = self.draw_by("/api/generate", json={"prompt": make_prompt()})
        if answer is not None:
            self.fetch(answer.json()["url"])

    poll = wait

    def list(self) -> None:
        """The newest pictures."""
        self.ask("api", "GET", "/api/images")

    def me(self) -> None:
        """Who it is."""
        self.ask("api", "GET", "/api/me")

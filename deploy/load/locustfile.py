"""People and programs before a studio: `locust -f deploy/load/locustfile.py --host https://studio.example.org`.

Needs Locust and this folder, nothing else of the studio. `docs/load.md` says how to run it and how to read what it
prints. The account or key comes from the environment (`pace.Accounts`), never from the command line.

A **person** signs in, has the studio's page open with its event stream, types a prompt, waits, looks at the picture,
and walks through the gallery; what the browser has seen it does not fetch again. A picture that takes long arrives
while its person looks at something else. A **program** asks with `Prefer: wait`, or asks and polls, and fetches the
picture.
"""

from __future__ import annotations

import json
import random
import re
import time
from typing import Any

import gevent
import wiring  # noqa: F401  (Locust's events)
from clients import Client, accounts, read_events, report, tally
from gevent.event import Event
from gevent.pool import Group
from locust import task
from locust.exception import StopUser
from pace import PERSON, PROGRAM, make_prompt, pick

ENDS = ("succeeded", "failed", "canceled")
LOOKS_S = 20.0
"""How long a person watches a picture come before they look at something else meanwhile."""
POLL_S = 2.0
WAIT_S = 30
SHOWN = 12
"""Thumbnails on a screen; browsers load the others when somebody scrolls."""
TOKEN = re.compile(r'data-csrf="([^"]+)"')
STATIC = re.compile(r'(?:src|href)="(/static/[^"]+)"')
FILES = re.compile(r'(?:src|data-url)="(?:https?://[^/"]+)?(/files/[^"]+)"')
SHOTS = re.compile(r'href="(/gallery/[0-9a-f-]{36}/)"')
MODELS = re.compile(r'<script id="models" type="application/json">(.*?)</script>', re.DOTALL)


class Person(Client):
    """Somebody with a browser."""

    part = "people"

    def on_start(self) -> None:
        """Sign in, open the studio."""
        self.own_headers = {"Referer": f"{self.host}/", "Accept-Language": "en"}
        self.last_id = ""
        self.seen: set[str] = set()
        self.shots: list[str] = []
        self.coming: dict[str, Event] = {}
        self.side = Group()
        account = accounts.person()
        while not self.sign_in(account.email, account.password):
            self.think()
        self.studio()
        self.side.spawn(self.listen)
        tally.arrive()

    def on_stop(self) -> None:
        """Close the browser."""
        self.side.kill(block=False)

    def sign_in(self, email: str, password: str) -> bool:
        """By the form."""
        if self.page("/sign-in/", signed_in=False) is None:
            return False
        form = {"email": email, "password": password}
        name, good = "/sign-in/", (302, 400)
        answer = self.ask(
            "sign-in", "POST", name, good=good, data=form, headers=self.csrf, allow_redirects=False
        )  # fmt: skip
        if answer is not None and answer.status_code == 400:
            report("sign-in", "POST /sign-in/", 0, RuntimeError("e-mail and password do not match"))
            raise StopUser
        return answer is not None

    def page(self, path: str, *, name: str = "", signed_in: bool = True) -> str | None:
        """A page with the files that it names and this browser has not seen."""
        must = "data-tenant=" if signed_in else "</html>"
        answer = self.ask("page", "GET", path, name=name or path, must=must)
        if answer is None:
            return None
        text: str = answer.text
        if found := TOKEN.search(text):
            self.csrf = {"X-CSRFToken": found[1]}
        self.load("static", dict.fromkeys(STATIC.findall(text)))
        self.load("file", list(dict.fromkeys(FILES.findall(text)))[:SHOWN])
        return text

    @task
    def act(self) -> None:
        """The next thing."""
        self.think()
        what = pick(self.options.shares, PERSON)
        if what == "draw" and self.coming:
            what = "gallery"  # their last one is still to come
        getattr(self, what)()

    def studio(self) -> None:
        """The page with the form; it asks what a picture would cost."""
        text = self.page("/studio/")
        if text is None:
            return
        models = json.loads(MODELS.findall(text)[0]) if MODELS.search(text) else []
        self.model = self.options.model or (models[0]["slug"] if models else "")
        body = {"model": self.model, "prompt": "x"}
        self.ask("api", "POST", "/api/v1/estimates", json=body, headers=self.csrf)

    def draw(self) -> None:
        """Type (the page looks at the words in between), send, watch."""
        for _ in range(2):
            self.think(0.25)
            form = {"prompt": make_prompt(), "model": self.model}
            self.ask("page", "POST", "/studio/words/", data=form, headers={**self.csrf, "HX-Request": "true"})
        made = self.submit()
        if made is None:
            return
        here = self.coming[made["id"]] = Event()
        if here.wait(LOOKS_S):
            self.think(0.5)
        else:
            self.side.spawn(self.miss, made["id"])

    def miss(self, generation: str) -> None:
        """It comes while its person does something else, or it never does."""
        if generation in self.coming and not self.coming[generation].wait(self.options.patience - LOOKS_S):
            self.coming.pop(generation, None)
            self.give_up("by event stream")

    def gallery(self) -> None:
        """The wall."""
        text = self.page("/gallery/")
        if text is not None:
            self.shots = SHOTS.findall(text)

    def picture(self) -> None:
        """One of the wall, large."""
        if self.shots:
            self.page(random.choice(self.shots), name="/gallery/…/")
        else:
            self.gallery()

    def usage(self) -> None:
        """What is used and left."""
        self.page("/usage/")

    def listen(self) -> None:
        """The event stream of the studio's page; one that was cut comes back, as in every browser."""
        while True:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self.last_id} if self.last_id else {})}
            answer = self.ask("stream", "GET", "/api/v1/events", headers=headers, stream=True)
            if answer is not None:
                for name, data in read_events(answer, self.note_id):
                    if name in ENDS:
                        self.hear(json.loads(data))
                tally.reopened += 1
            gevent.sleep(3)

    def note_id(self, last: str) -> None:
        """How far the stream was read."""
        self.last_id = last

    def hear(self, generation: dict[str, Any]) -> None:
        """The end of one of theirs."""
        if (here := self.coming.pop(generation["id"], None)) is not None:
            here.set()
            if self.note_end(generation, "by event stream"):
                self.side.spawn(self.show, generation)

    def show(self, generation: dict[str, Any]) -> None:
        """As the page does: what is left is asked for anew, the picture is shown."""
        gevent.sleep(0.3)
        self.ask("page", "GET", "/studio/state/")
        for image in generation["images"]:
            self.seen.add(re.sub(r"^https?://[^/]+", "", image["url"]))
            self.fetch(image["url"])


class Program(Client):
    """Something with a key."""

    part = "programs"

    def on_start(self) -> None:
        """Which model there is."""
        self.own_headers = {"Authorization": f"Bearer {accounts.key()}"}
        self.model = self.options.model
        while not self.model:
            answer = self.ask("api", "GET", "/api/v1/models")
            self.model = answer.json()["results"][0]["id"] if answer is not None else ""
            self.think()
        tally.arrive()

    @task
    def act(self) -> None:
        """The next thing."""
        self.think()
        getattr(self, pick(self.options.shares, PROGRAM))()

    def wait(self) -> None:  # type: ignore[override]
        """Ask and be told, if the queue is short."""
        made = self.submit(prefer=f"wait={WAIT_S}")
        if made is not None:
            self.see_to_the_end(made, "by Prefer: wait")

    def poll(self) -> None:
        """Ask, then ask how it goes."""
        made = self.submit()
        if made is not None:
            self.see_to_the_end(made, "by polling")

    def see_to_the_end(self, generation: dict[str, Any], how: str) -> None:
        """Poll what has not ended, and fetch the picture."""
        until = time.monotonic() + self.options.patience
        while generation["status"] not in ENDS:
            gevent.sleep(POLL_S)
            if time.monotonic() > until:
                self.give_up(how)
                return
            answer = self.ask("api", "GET", f"/api/v1/images/{generation['id']}", name="/api/v1/images/…")
            generation = answer.json() if answer is not None else generation
        if self.note_end(generation, how):
            for image in generation["images"]:
                self.fetch(image["url"])

    def list(self) -> None:
        """The newest pictures."""
        self.ask("api", "GET", "/api/v1/images?limit=20")

    def me(self) -> None:
        """Who it is, and what is left."""
        self.ask("api", "GET", "/api/v1/me")

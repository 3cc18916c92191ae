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
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent
from gevent.event import Event
from gevent.pool import Group
from locust import FastHttpUser, constant, events, task
from locust.exception import StopUser
from pace import PERSON, PROGRAM, Accounts, add_options, make_prompt, pick, think_time
from tally import REFUSED, Tally, lines_of

ENDS = ("succeeded", "failed", "canceled")
LOOKS_S = 20.0
"""How long a person watches a picture come before they look at something else meanwhile."""
POLL_S = 2.0
WAIT_S = 30
SHOWN = 12
"""Thumbnails on a screen; browsers load the others when somebody scrolls."""
LONGEST_PAUSE_S = 60.0
TOKEN = re.compile(r'data-csrf="([^"]+)"')
STATIC = re.compile(r'(?:src|href)="(/static/[^"]+)"')
FILES = re.compile(r'(?:src|data-url)="(?:https?://[^/"]+)?(/files/[^"]+)"')
SHOTS = re.compile(r'href="(/gallery/[0-9a-f-]{36}/)"')
MODELS = re.compile(r'<script id="models" type="application/json">(.*?)</script>', re.DOTALL)
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")

tally = Tally()
accounts = Accounts()


class Client(FastHttpUser):
    """What people and programs have in common: one request, judged and counted."""

    abstract = True
    part = ""
    """Its share's name."""
    wait_time = constant(0)  # every action thinks by itself
    concurrency = 8
    network_timeout = 90.0
    model = ""
    own_headers: dict[str, str] = {}
    csrf: dict[str, str] = {}
    """What a browser shows with whatever changes something."""

    @property
    def options(self) -> Any:
        """The command line."""
        return self.environment.parsed_options

    def think(self, share: float = 1.0) -> None:
        """A pause."""
        gevent.sleep(think_time(self.options.think * share))

    def ask(
        self, group: str, method: str, path: str, *, name: str = "", good: Collection[int] = (200,), must: str = "",
        headers: dict[str, str] | None = None, **options: Any,
    ) -> Any:  # fmt: skip
        """One request. The answer; None for a failure, and for a refusal, after which this client keeps still."""
        action, pause = f"{method} {name or path}", 0.0
        with self.client.request(
            method, path, name=action, catch_response=True, headers={**self.own_headers, **(headers or {})}, **options
        ) as answer:
            about = answer.request_meta
            about["request_type"] = group
            if answer.status_code == 429 or (group == "sign-in" and is_crowded(answer)):
                about["request_type"], about["name"] = REFUSED, f"{action}: {code_of(answer) or answer.status_code}"
                pause = min(seconds_of(answer.headers.get("Retry-After")), LONGEST_PAUSE_S)
                answer.success()
            elif reason := fault_of(answer, good, must, group):
                answer.failure(reason)
            else:
                answer.success()
                return answer
        if pause:
            gevent.sleep(pause)
        return None

    def load(self, group: str, paths: Collection[str]) -> None:
        """What a browser fetches beside a page, all at once; they may be kept for ever."""
        new = [path for path in paths if path not in self.seen]
        self.seen.update(new)
        side = Group()
        for path in new:
            if group == "static":
                side.spawn(self.ask, "static", "GET", path, name="/static/…")
            else:
                side.spawn(self.fetch, path)
        side.join()

    def submit(self, *, prefer: str = "") -> dict[str, Any] | None:
        """Ask for a picture; the generation."""
        body = {"model": self.model, "prompt": make_prompt()}
        headers = {"Idempotency-Key": str(uuid4()), **self.csrf, **({"Prefer": prefer} if prefer else {})}
        group, name = ("held", "/api/v1/images (Prefer: wait)") if prefer else ("api", "/api/v1/images")
        answer = self.ask(group, "POST", "/api/v1/images", name=name, good=(200, 202), json=body, headers=headers)
        if answer is None:
            return None
        found: dict[str, Any] = answer.json()
        tally.accept(found["id"], at=time.monotonic() - answer.request_meta["response_time"] / 1000)
        return found

    def note_end(self, generation: dict[str, Any], how: str) -> bool:
        """Somebody has seen the end of a generation; whether there is a picture."""
        status = generation["status"]
        took = tally.end(generation["id"], status)
        if took is not None:
            error = None if status == "succeeded" else RuntimeError((generation["error"] or {}).get("code") or status)
            report("wait", f"a picture, {how}", took, error)
        return status == "succeeded"

    def give_up(self, how: str) -> None:
        """Nobody waits for ever."""
        report("wait", f"a picture, {how}", 0, RuntimeError(f"none within {self.options.patience:g} s"))

    def fetch(self, url: str) -> None:
        """A picture or a thumbnail."""
        path = re.sub(r"^https?://[^/]+", "", url)
        name = "/files/…/thumbnail" if path.endswith("/thumbnail") else "/files/…"
        self.ask("file", "GET", path, name=name)


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


# ---- judging


def fault_of(answer: Any, good: Collection[int], must: str, group: str) -> str:
    """Why an answer is none; empty for a good one."""
    status = answer.status_code
    if not status:
        error = getattr(answer, "error", None)
        return f"no answer: {type(error).__name__} {error}"
    if status not in good:
        return f"{status} {code_of(answer)}".strip()
    if must and must not in (answer.text or ""):
        return "the page is not the one that was asked for"
    if group == "file" and not (answer.content or b"").startswith(PICTURES):
        return "no picture"
    return ""


def is_crowded(answer: Any) -> bool:
    """So many sign in at this moment that one is asked to come back."""
    return answer.status_code == 503 and bool(answer.headers.get("Retry-After"))


def code_of(answer: Any) -> str:
    """The `code` of a problem, where the answer is one."""
    try:
        return str(json.loads(answer.text).get("code", ""))
    except (ValueError, TypeError, AttributeError):
        return ""


def seconds_of(text: str | None) -> float:
    """`Retry-After`."""
    return float(text) if text and text.isdigit() else 1.0


def read_events(answer: Any, note_id: Any) -> Iterator[tuple[str, str]]:
    """Name and data of each event, until the stream is cut."""
    while True:
        try:
            block = answer._response.readline(b"\n\n")
        except Exception:  # however it was cut
            return
        if not block:
            return
        lines = [line.partition(": ") for line in block.decode().splitlines()]
        fields = {name: value for name, _, value in lines}
        if "id" in fields:
            note_id(fields["id"])
        yield fields.get("event", ""), fields.get("data", "")


def report(group: str, name: str, milliseconds: float, error: Exception | None = None) -> None:
    """Tell Locust of what was no request."""
    events.request.fire(
        request_type=group, name=name, response_time=milliseconds, response_length=0, exception=error, context={}
    )


# ---- Locust's events


@events.init_command_line_parser.add_listener
def on_parser(parser: Any) -> None:
    """Our options."""
    add_options(parser)


@events.init.add_listener
def on_init(environment: Any, **rest: Any) -> None:
    """Who takes part: their share, and whether somebody can be one."""
    shares = environment.parsed_options.shares
    there = {"people": accounts.people, "programs": accounts.keys}
    for kind in list(environment.user_classes):
        kind.weight = shares[kind.part]
        if not (kind.weight and there[kind.part]):
            environment.user_classes.remove(kind)
    if not environment.user_classes:
        raise SystemExit("Set STUDIO_EMAIL and STUDIO_PASSWORD, or STUDIO_API_KEY, or STUDIO_ACCOUNTS: docs/load.md")


@events.request.add_listener
def on_request(request_type: str, name: str, response_time: float, exception: Any = None, **rest: Any) -> None:
    """Every request, and what was reported beside them."""
    tally.note(request_type, name, response_time, failure=str(exception) if exception else "")


@events.user_error.add_listener
def on_error(user_instance: Any, exception: BaseException, **rest: Any) -> None:
    """A mistake of ours is a failure of the run."""
    tally.failures[f"{type(user_instance).__name__}: {type(exception).__name__} {exception}"] += 1


@events.spawning_complete.add_listener
def on_spawned(user_count: int, **rest: Any) -> None:
    """Nobody else comes; some are still at the door."""
    tally.expect(user_count)


@events.test_stopping.add_listener
def on_stopping(**rest: Any) -> None:
    """Time is up."""
    tally.stop_measuring()


@events.quitting.add_listener
def on_quitting(environment: Any, **rest: Any) -> None:
    """Print and keep what was counted."""
    options = environment.parsed_options
    people = [kind.__name__ for kind in environment.user_classes]
    summary = tally.summary(host=environment.host, kinds=people, think_s=options.think)
    print("\n".join(["", *lines_of(summary)]))
    if options.record:
        record = {**summary, "shares": options.shares, "generations": sorted(tally.accepted)}
        Path(options.record).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if tally.failed:
        environment.process_exit_code = 1

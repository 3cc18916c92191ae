"""One request of a client, judged and counted: a good answer, a refusal, or a failure with its reason."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterator
from typing import Any
from uuid import uuid4

import gevent
from gevent.pool import Group
from locust import FastHttpUser, constant, events
from pace import Accounts, make_prompt, think_time
from tally import REFUSED, Tally

LONGEST_PAUSE_S = 60.0
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

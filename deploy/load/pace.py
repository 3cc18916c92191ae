"""How clients behave, whichever studio they meet: what they do how often, how long they think, what they ask for.

The options stand in `locust --help` and in its page.
"""

from __future__ import annotations

import os
import random
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, cycle

SHARES = {
    "people": 7,
    "programs": 3,
    # what a person does next
    "draw": 3,
    "gallery": 3,
    "picture": 3,
    "studio": 1,
    "usage": 0.3,
    # what a program does next
    "wait": 3,
    "poll": 3,
    "list": 2,
    "me": 2,
}
PERSON = ("draw", "gallery", "picture", "studio", "usage")
PROGRAM = ("wait", "poll", "list", "me")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black", "white", "brown")
THINGS = ("circle", "square", "triangle", "star", "heart", "flower")
SCENES = (
    "house on the left of a meadow",
    "tree in the middle of a meadow",
    "boat on the sea",
    "balloon over the desert",
)
TIMES = ("", " at sunset", " at night")


def add_options(parser: ArgumentParser) -> None:
    """What a run can be told beside Locust's own options."""
    parser.add_argument(
        "--shares", type=read_shares, default=dict(SHARES), env_var="STUDIO_LOAD_SHARES",  # type: ignore[call-arg]
        help="how often what is done, as people=7,programs=3,draw=3,…; what is not named stays: "
        + ", ".join(f"{name}={value:g}" for name, value in SHARES.items()),
    )  # fmt: skip
    parser.add_argument("--think", type=float, default=8.0, help="seconds between two things that a client does, mean")
    parser.add_argument("--patience", type=float, default=900.0, help="seconds until a missing picture is a failure")
    parser.add_argument("--model", default="", help="the model to ask for (the first that is offered)")
    parser.add_argument("--record", default="", help="a file that gets the figures as JSON")


def read_shares(text: str | dict[str, float]) -> dict[str, float]:
    """`draw=5,gallery=0` over the usual ones. Raises `ArgumentTypeError`."""
    if isinstance(text, dict):
        return text
    found: dict[str, float] = dict(SHARES)
    for word in filter(None, text.replace(" ", "").split(",")):
        name, _, value = word.partition("=")
        if name not in SHARES:
            raise ArgumentTypeError(f"no such share: {name}; there are {', '.join(SHARES)}")
        try:
            found[name] = float(value)
        except ValueError:
            raise ArgumentTypeError(f"{word}: a number belongs behind the =") from None
        if not 0 <= found[name] < 1e9:
            raise ArgumentTypeError(f"{word}: 0 or more")
    return found


def pick(shares: dict[str, float], names: Sequence[str]) -> str:
    """One of the names, as often as its share says."""
    weights = [shares[name] for name in names]
    return random.choices(names, weights)[0] if any(weights) else names[0]


def think_time(mean: float) -> float:
    """Seconds: never below a third of the mean, now and then much longer, as people are."""
    return mean / 3 + random.expovariate(1.5 / mean) if mean > 0 else 0.0


def make_prompt() -> str:
    """Something that the demo model can draw, and every other one too."""
    colour = random.choice(COLOURS)
    if random.random() < 0.5:
        return f"a {colour} {random.choice(THINGS)}"
    return f"a {colour} {random.choice(SCENES)}{random.choice(TIMES)}"


@dataclass
class Account:
    """Somebody who can sign in."""

    email: str
    password: str


class Accounts:
    """Keys and people, dealt to clients in turn.

    `STUDIO_API_KEY` (one, or several between blanks) and `STUDIO_EMAIL` with `STUDIO_PASSWORD`; or `STUDIO_ACCOUNTS`,
    a file with a line for each: `e-mail password`, or a key alone.
    """

    def __init__(self) -> None:
        self.keys = os.environ.get("STUDIO_API_KEY", "").split()
        self.people: list[Account] = []
        if email := os.environ.get("STUDIO_EMAIL"):
            self.people.append(Account(email, os.environ.get("STUDIO_PASSWORD", "")))
        if path := os.environ.get("STUDIO_ACCOUNTS"):
            self._read(path)
        self._next_key, self._next_person = cycle(self.keys), cycle(self.people)
        self.number = count()

    def _read(self, path: str) -> None:
        with open(path, encoding="utf-8") as file:
            for line in file:
                words = line.split(maxsplit=1)
                if len(words) == 2:
                    self.people.append(Account(words[0], words[1].strip()))
                elif words:
                    self.keys.append(words[0])

    def key(self) -> str:
        """The next client's key."""
        return next(self._next_key)

    def person(self) -> Account:
        """The next client's account."""
        return next(self._next_person)

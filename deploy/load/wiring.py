"""What Locust tells the tally, and what it is told of our options: importing this is enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clients import accounts, tally
from locust import events
from pace import add_options
from tally import lines_of


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

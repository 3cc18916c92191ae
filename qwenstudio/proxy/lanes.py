"""`lanes.conf`: which lane takes a request, and whether people stay in theirs.

Its first line says the same as JSON, so that what was written can be read back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, cast

from qwenstudio.proxy.errors import ProxyError
from qwenstudio.proxy.places import HasRoot, places_of

Lane = Literal["blue", "green"]
LANES: tuple[Lane, ...] = ("blue", "green")
COOKIE = "studio_lane"
COOKIE_S = 3600


@dataclass(frozen=True)
class LanesState:
    """`live` lanes may be asked, `default` takes whoever has no cookie; while `sticky`, cookies count and are given."""

    default: Lane = "blue"
    live: frozenset[str] = frozenset({"blue"})
    sticky: bool = False

    def __post_init__(self) -> None:
        if unknown := (self.live | {self.default}) - set(LANES):
            raise ValueError(f"no such lane: {', '.join(sorted(unknown))}")
        if self.default not in self.live:
            raise ValueError(f"the default lane {self.default} is not live")


def render_lanes(state: LanesState, *, serial: int = 1) -> str:
    """The whole file. `serial` tells one state from the next where nginx is asked."""
    words = {
        "default": state.default,
        "live": sorted(state.live),
        "sticky": state.sticky,
        "serial": serial,
    }
    kept = sorted(state.live) if state.sticky else []
    cookie = f"{COOKIE}=$studio_lane; Max-Age={COOKIE_S}; Path=/; Secure; HttpOnly; SameSite=Lax"
    return "\n".join(
        [
            f"# {json.dumps(words)}",
            "# Written by the studio (`studio release`): changes made by hand are lost at the next step of a release.",
            f'map "" $studio_default {{ default {state.default}; }}',
            f'map "" $studio_serial {{ default {serial}; }}',
            f"map $cookie_{COOKIE} $studio_lane {{",
            f"    default {state.default};",
            *(f"    {lane} {lane};" for lane in kept),
            "}",
            # The lane of a cookie that counts; empty where there is none.
            f'map $cookie_{COOKIE} $studio_kept {{ default "";{"".join(f" {lane} {lane};" for lane in kept)} }}',
            # Pages only: programs have no lane of their own. /switch/<lane> sets the cookie itself.
            'map "$studio_kept|$uri|$sent_http_content_type" $studio_lane_cookie {',
            '    default "";',
            *([f'    "~^\\|(?!/switch/)[^|]*\\|text/html" "{cookie}";'] if state.sticky else []),
            "}",
            "",
        ]
    )


def read_state(layout: HasRoot) -> LanesState:
    """What `lanes.conf` says. Raises `ProxyError` where it is missing or was not written by the studio."""
    return read_lanes(layout)[0]


def read_lanes(layout: HasRoot) -> tuple[LanesState, int]:
    """The state and its serial. Raises `ProxyError`."""
    path = places_of(layout).lanes
    try:
        first = path.read_text(encoding="utf-8").partition("\n")[0]
    except OSError as error:
        raise ProxyError(f"{path}: {error.strerror}; `studio proxy write` makes it anew") from None
    try:
        words = json.loads(first.removeprefix("# "))
        state = LanesState(
            default=cast(Lane, words["default"]), live=frozenset(words["live"]), sticky=words["sticky"] is True
        )
        return state, int(words["serial"])
    except (ValueError, KeyError, TypeError):
        raise ProxyError(
            f"{path} does not begin with the studio's line; `studio proxy write` says how to go on"
        ) from None

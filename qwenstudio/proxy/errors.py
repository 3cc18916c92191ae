"""What can go wrong between the studio and nginx, and how bad it is."""

from __future__ import annotations

from typing import Literal

Level = Literal["ok", "warn", "fail"]


class ProxyError(Exception):
    """nginx refuses what was written, or does not do what was asked; the message says where things stand."""

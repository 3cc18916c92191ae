"""What can go wrong with the embedded servers."""

from __future__ import annotations


class EmbeddedError(Exception):
    """A server could not be started; the text says why and what to set instead."""

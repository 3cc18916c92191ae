"""What can go wrong."""

from __future__ import annotations


class RotationError(Exception):
    """A secret was not changed, or not everywhere; the text says where it stands and what to type."""

"""Where golden pictures lie: under `STUDIO_MEDIA`, so that a backup has them, in a folder that is no tenant's."""

from __future__ import annotations

FOLDER = "comparisons"


def picture_path(sha256: str) -> str:
    """A picture's path under `STUDIO_MEDIA`."""
    return f"{FOLDER}/{sha256[:2]}/{sha256}.png"

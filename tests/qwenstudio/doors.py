"""A running door for tests: Django's pages behind it, its own pool, the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from qwenstudio.door.app import Door
from qwenstudio.door.bridge import Bridge
from qwenstudio.wsgi import application


@asynccontextmanager
async def running_door() -> AsyncIterator[Door]:
    """Started and stopped as a server would."""
    door = Door(pages=Bridge(application, threads=4))
    await door.start()
    try:
        yield door
    finally:
        await door.stop()

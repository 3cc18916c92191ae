"""What the async server loads: `front` serves everything on one port; `door` only what waits, behind nginx.

granian --interface asgi qwenstudio.asgi:front --workers 1
"""

from __future__ import annotations

from qwenstudio.wsgi import application  # first: it sets Django up, which the other imports need

from qwenstudio.door.app import Door  # isort: skip
from qwenstudio.door.bridge import Bridge  # isort: skip
from qwenstudio.door.front import Front  # isort: skip

PAGE_THREADS = 8

pages = Bridge(application, threads=PAGE_THREADS)
door = Door(pages=pages)
front = Front(door=door, pages=pages)

"""What the async server loads: `front` serves everything on one port; `door` only what waits, behind nginx.

granian --interface asgi qwenstudio.asgi:front --workers 1
"""

from __future__ import annotations

import gc

from qwenstudio.wsgi import application  # first: it sets Django up, which the other imports need

from qwenstudio.door.app import Door  # isort: skip
from qwenstudio.door.bridge import Bridge  # isort: skip
from qwenstudio.door.front import Front  # isort: skip

PAGE_THREADS = 8
YOUNG_OBJECTS = 20_000  # between two looks for garbage

pages = Bridge(application, threads=PAGE_THREADS)
door = Door(pages=pages)
front = Front(door=door, pages=pages)

# What is loaded by now stays for good: the collector need not go through it again and again, nor look at each answer of
# a few hundred steps several times. It took a tenth of the time of a busy process.
gc.collect()
gc.freeze()
gc.set_threshold(YOUNG_OBJECTS, 10, 10)

"""The front with books in memory: one chat model, answered for by the server that CHAT_UPSTREAM names."""

from __future__ import annotations

import os

from qwenstudio.wsgi import application  # first: it sets Django up, which the other imports need

from generation.chat.targets import Offer, Target, Upstream  # isort: skip
from qwenstudio.door.app import Door  # isort: skip
from qwenstudio.door.bridge import Bridge  # isort: skip
from qwenstudio.door.front import Front  # isort: skip
from tests.qwenstudio.memorybooks import MemoryBooks  # isort: skip

upstream = Upstream(id="one", kind="openai", base_url=os.environ["CHAT_UPSTREAM"])
pages = Bridge(application, threads=4)
door = Door(pages=pages, books=MemoryBooks(Offer(slug="chat", targets=(Target(upstream=upstream, model="theirs"),))))
front = Front(door=door, pages=pages)

"""The front with books in memory: one chat model, answered for by the server that CHAT_UPSTREAM names.

CHAT_MODEL is its name there, CHAT_KIND the upstream's kind; with CHAT_SERVER=transformers it is asked for what
`transformers serve` takes.
"""

from __future__ import annotations

import os

from qwenstudio.wsgi import application  # first: it sets Django up, which the other imports need

from generation.chat import breaker  # isort: skip
from generation.chat.targets import KINDS, OPTIONAL_FIELDS, TRANSFORMERS_FIELDS, Offer, Target, Upstream  # isort: skip
from generation.chat.wire.bounds import Times  # isort: skip
from qwenstudio.door import chat, chatrates  # isort: skip
from qwenstudio.door.app import Door  # isort: skip
from qwenstudio.door.bridge import Bridge  # isort: skip
from qwenstudio.door.front import Front  # isort: skip
from tests.qwenstudio.memorybooks import MemoryBooks  # isort: skip

for module in (breaker, chat, chatrates):
    module.PATIENCE_S = 5.0  # a busy machine may keep Valkey for a second; then each process would count for itself
upstream = Upstream(
    id="one",
    kind=next(kind for kind in KINDS if kind == os.environ.get("CHAT_KIND", "openai")),
    base_url=os.environ["CHAT_UPSTREAM"],
    times=Times(connect=30, first_byte=60, idle=60),
    fields=TRANSFORMERS_FIELDS if os.environ.get("CHAT_SERVER") == "transformers" else OPTIONAL_FIELDS,
)
target = Target(upstream=upstream, model=os.environ.get("CHAT_MODEL", "theirs"))
pages = Bridge(application, threads=4)
door = Door(pages=pages, books=MemoryBooks(Offer(slug="chat", targets=(target,))))
front = Front(door=door, pages=pages)

"""One file per kind of upstream: how it is asked, and how its answer is read.

dialect.py   what every kind has
lines.py     bytes into lines
openai.py    vLLM, `transformers serve`, any compatible server
ollama.py    Ollama's own protocol
"""

from __future__ import annotations

from collections.abc import Mapping

from generation.chat.targets import Kind
from generation.chat.upstreams.dialect import Dialect
from generation.chat.upstreams.ollama import OLLAMA
from generation.chat.upstreams.openai import OPENAI

DIALECTS: Mapping[Kind, Dialect] = {"openai": OPENAI, "ollama": OLLAMA}

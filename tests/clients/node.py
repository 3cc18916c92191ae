"""OpenAI's Node client, run as a program runs it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.needs import find_node

HERE = Path(__file__).resolve().parent


def told_by_node(url: str, secret: str) -> Any:
    """What `chat.mjs` prints of a studio at `url`. Raises AssertionError with its complaint where it fails."""
    node = find_node()
    assert node is not None
    environment = {**os.environ, "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": secret}
    done = subprocess.run([node, "chat.mjs"], cwd=HERE, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)

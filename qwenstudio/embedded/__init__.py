"""PostgreSQL and Valkey from wheels, for a machine that has neither: `start(var, log=print)`.

Both listen on loopback only, ask for random passwords kept in `$STUDIO_VAR/secrets.json` (mode 0600), and outlive a
supervisor that was killed: the next start adopts them. Nothing here needs Django or its settings.
"""

from __future__ import annotations

from qwenstudio.embedded.errors import EmbeddedError
from qwenstudio.embedded.lock import AlreadyRunning, StateLock, read_settings
from qwenstudio.embedded.running import find_services
from qwenstudio.embedded.secrets import Secrets, load_secrets
from qwenstudio.embedded.services import Services, start

__all__ = [
    "AlreadyRunning",
    "EmbeddedError",
    "Secrets",
    "Services",
    "StateLock",
    "find_services",
    "load_secrets",
    "read_settings",
    "start",
]

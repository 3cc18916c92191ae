"""WhiteNoise reads the static files once in a process of tests.

Each of Django's test clients builds the chain of middleware anew, and WhiteNoise would list and describe 250 files for
it: more work than the request itself. A server's process does that once, when it starts, and so do we.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from whitenoise.middleware import WhiteNoiseMiddleware

_read_from_finders = WhiteNoiseMiddleware.add_files_from_finders
_known: dict[object, dict[str, Any]] = {}


def _add_files_from_finders(self: WhiteNoiseMiddleware) -> None:
    """As WhiteNoise's own, which is asked where none with these settings was before."""
    sources = (settings.INSTALLED_APPS, settings.STATICFILES_DIRS, settings.STATICFILES_FINDERS)
    own = (self.static_prefix, self.max_age, self.allow_all_origins, self.charset, self.index_file)
    key = (*own, *(tuple(map(str, names)) for names in sources))
    if key not in _known:
        of_root, self.files = self.files, {}
        _read_from_finders(self)
        _known[key], self.files = self.files, of_root
    self.files.update(_known[key])


def read_static_files_once() -> None:
    """From now on, for every client of this process."""
    WhiteNoiseMiddleware.add_files_from_finders = _add_files_from_finders

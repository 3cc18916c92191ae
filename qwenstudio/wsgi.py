"""Django's WSGI application: pages, API and admin."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qwenstudio.settings")
os.environ.setdefault("STUDIO_PROCESS", "web")

# After the environment is set.
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from qwenstudio import notify
from qwenstudio.checks import check_at_start
from qwenstudio.guard import refuse_at_start
from qwenstudio.metrics.requests import share_web_numbers

application = get_wsgi_application()
refuse_at_start()
check_at_start()
notify.watch_server(settings.STUDIO_STREAM_PORT if settings.PROCESS == "stream" else settings.STUDIO_PORT)
share_web_numbers()

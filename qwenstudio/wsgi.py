"""Django's WSGI application: pages, API and admin."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qwenstudio.settings")
os.environ.setdefault("STUDIO_PROCESS", "web")

# After the environment is set.
from django.core.wsgi import get_wsgi_application

from qwenstudio.checks import check_at_start
from qwenstudio.metrics.requests import share_web_numbers

application = get_wsgi_application()
check_at_start()
share_web_numbers()

"""Django's WSGI application: pages, API and admin."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qwenstudio.settings")
os.environ.setdefault("STUDIO_PROCESS", "web")

from django.core.wsgi import get_wsgi_application  # after the environment is set

application = get_wsgi_application()

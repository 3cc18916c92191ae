"""manage.py offerdemochat: the demo chat model of this `manage.py up` among the upstreams."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from generation.books.demochat import offer_demo_chat
from generation.chat.demomodel import DEMO_MODEL, DEMO_SLUG


class Command(BaseCommand):
    help = "Offer the demo chat model that `manage.py up` serves on this machine to all tenants."
    requires_system_checks = ()

    def handle(self, **options: Any) -> None:
        if not offer_demo_chat(port=settings.STUDIO_CHAT_PORT, name=DEMO_MODEL):
            self.stderr.write(f"an upstream demo or a chat model {DEMO_SLUG} is somebody's own: it stays as it is")

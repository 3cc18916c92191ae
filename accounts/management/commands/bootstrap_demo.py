"""`manage.py bootstrap_demo`: what the first start needs, and fresh links at every start."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from accounts.domain.demo import create_demo, demo_exists


class Command(BaseCommand):
    help = "Make what is missing of the demo (tenant, people, key, models); print one-time sign-in links as JSON."

    def handle(self, *args: Any, **options: Any) -> None:
        # The models first: a start that broke off between the two begins anew.
        if not demo_exists():
            call_command("loadmodels", stdout=self.stderr)
        if settings.STUDIO_CHAT_DEMO:
            call_command("offerdemochat")
        demo = create_demo()
        self.stdout.write(json.dumps({"studio_link": demo.studio_link, "admin_link": demo.admin_link}))

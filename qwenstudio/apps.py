"""The project's own app: commands, checks, pages shared by all."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class StudioConfig(AppConfig):
    """Registers the start-up checks, and what follows each migration."""

    name = "qwenstudio"
    verbose_name = "QwenStudio"

    def ready(self) -> None:
        from qwenstudio import checks, guard  # noqa: F401  (register system checks once the apps are loaded)
        from qwenstudio.support import keep_support_group  # models are loaded only now

        post_migrate.connect(keep_support_group, sender=apps.get_app_config("auth"), dispatch_uid="support")

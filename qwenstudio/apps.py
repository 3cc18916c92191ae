"""The project's own app: commands, checks, pages shared by all."""

from __future__ import annotations

from django.apps import AppConfig


class StudioConfig(AppConfig):
    """Registers the start-up checks."""

    name = "qwenstudio"
    verbose_name = "QwenStudio"

    def ready(self) -> None:
        from qwenstudio import checks  # noqa: F401  (registers system checks once the apps are loaded)

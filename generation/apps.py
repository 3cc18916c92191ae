"""The app of generations."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class GenerationConfig(AppConfig):
    name = "generation"
    verbose_name = _("Generation")

    def ready(self) -> None:
        """Register our errands and codes, and the wake-up for all errands (accounts knows no Redis)."""
        from accounts.domain.errands import on_errand_added  # models are loaded only now
        from generation.books import upstreams  # noqa: F401  (registers what is sealed)
        from generation.domain import (  # noqa: F401  (register their errands)
            codes,
            deletions,
            erase,
            export,
            forget,
            remove,
            retention,
            zips,
        )
        from generation.queue.wake import wake_errands
        from generation.releases import (
            migrations,  # noqa: F401  (registers what `migrate` refuses)
            promote,
        )
        from generation.releases.compare.gate import ask_comparison, keep_references

        def wake() -> None:
            wake_errands(settings.STUDIO_LANE)

        on_errand_added.append(wake)
        promote.verdicts.append(ask_comparison)
        promote.promoted.append(keep_references)

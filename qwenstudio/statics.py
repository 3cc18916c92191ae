"""Static files under names that carry a hash of their content, so that browsers may keep them for a year.

The collected files of all releases lie in one `STATIC_ROOT`: a page of the last release still finds its own after the
next one was collected. Which name belongs to which file is each release's own: its manifest lies in its folder.
Without a manifest (a checkout that nothing was collected in) the plain names are used.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage, StaticFilesStorage
from django.core.files.storage import FileSystemStorage

MANIFEST = "static.json"


class HashedFiles(ManifestStaticFilesStorage):
    """Django's hashed names with the manifest beside the code; modules import each other under hashed names too."""

    support_js_module_import_aggregation = True
    # Of our own modules only: packages name modules in comments, and some that they do not ship.
    _js_module_import_aggregation_patterns = (
        "studio/js/*.js",
        ManifestStaticFilesStorage._js_module_import_aggregation_patterns[1],  # type: ignore[attr-defined]
    )
    manifest_name = MANIFEST

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # nginx reads them under an account of its own, whatever the umask of whoever collects.
        kwargs = {"file_permissions_mode": 0o644, "directory_permissions_mode": 0o755, **kwargs}
        super().__init__(*args, manifest_storage=FileSystemStorage(location=settings.BASE_DIR), **kwargs)

    def url(self, name: str | None, force: bool = False) -> str:
        """The hashed address, or the plain one where nothing was collected."""
        if not self.hashed_files and not force:
            return StaticFilesStorage.url(self, name)
        return super().url(name or "", force)

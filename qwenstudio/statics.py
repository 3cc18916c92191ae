"""Static files under names that carry a hash of their content, so that browsers may keep them for a year.

The collected files of all releases lie in one `STATIC_ROOT`: a page of the last release still finds its own after the
next one was collected. Which name belongs to which file is each release's own: its manifest lies in its folder.
Without a manifest (a checkout that nothing was collected in) the plain names are used.

A release is collected while another one serves from the same folder. So nothing is ever taken away there, and what is
written anew takes the old one's place by a rename: there is no moment in which a file is gone, or half there.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage, StaticFilesStorage
from django.core.files import File
from django.core.files.storage import FileSystemStorage

MANIFEST = "static.json"


class Replacing(FileSystemStorage):
    """Files that are replaced in one moment, and never deleted: a name stands for what was written last."""

    def delete(self, name: str) -> None:
        """Nothing: what is written next takes its place, and another release may name it still."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """The name itself, whether it is taken or not."""
        return name

    def _save(self, name: str, content: File[Any]) -> str:
        path = Path(self.path(name))
        beside = f"{name}.{secrets.token_hex(4)}.new"
        super()._save(beside, content)  # type: ignore[misc]
        os.replace(self.path(beside), path)
        return name


class HashedFiles(Replacing, ManifestStaticFilesStorage):
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
        super().__init__(*args, manifest_storage=Replacing(location=settings.BASE_DIR), **kwargs)

    def url(self, name: str | None, force: bool = False) -> str:
        """The hashed address, or the plain one where nothing was collected."""
        if not self.hashed_files and not force:
            return StaticFilesStorage.url(self, name)
        return super().url(name or "", force)

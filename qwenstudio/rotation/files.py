"""The files of secrets: read, replaced by one rename, named in studio.env."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from qwenstudio.proxy.files import replace_file, sync_folder
from qwenstudio.rotation.errors import RotationError
from qwenstudio.units.layout import Layout
from qwenstudio.units.unitfile import quote, read_environment


@dataclass(frozen=True)
class Secrets:
    """Those of one installation."""

    layout: Layout

    def read(self, name: str) -> str:
        """Its text; raises `RotationError` where there is none."""
        path = self.layout.secret(name)
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise RotationError(f"{path}: {error.strerror}") from None

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return self.layout.secret(name).is_file()

    def write(self, name: str, text: str, *, like: str = "") -> None:
        """Replace it; mode and owner stay, of a new file they are those of `like`."""
        path = self.layout.secret(name)
        rewrite(path, text + "\n", like=path if path.exists() else self.layout.secret(like or name))

    def propose(self, name: str, text: str) -> str:
        """What is to come, for root alone: `text`, unless an earlier try has left its own and did not get it in."""
        coming = f"{name}.new"
        if not self.has(coming) or self.read(coming) == self.read(name):
            replace_file(self.layout.secret(coming), text + "\n", mode=0o600)
        return self.read(coming)

    def accept(self, name: str) -> None:
        """What was to come is there."""
        self.write(name, self.read(f"{name}.new"))
        self.remove(f"{name}.new")

    def remove(self, name: str) -> None:
        """No longer there."""
        self.layout.secret(name).unlink(missing_ok=True)
        sync_folder(self.layout.secrets)

    def name_it(self, variable: str, name: str) -> None:
        """Let studio.env name the file, unless it does."""
        path = self.layout.settings
        if variable not in read_environment(path):
            text = path.read_text(encoding="utf-8").rstrip("\n")
            rewrite(path, f"{text}\n{variable}={quote(str(self.layout.secret(name)))}\n", like=path)

    def name_no_longer(self, variable: str) -> None:
        """And take that away."""
        path = self.layout.settings
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.partition("=")[0].strip() != variable]
        if kept != lines:
            rewrite(path, "".join(kept), like=path)


def rewrite(path: Path, text: str, *, like: Path) -> None:
    """Replace a file by one with the mode and owner of `like`."""
    found = like.stat()
    replace_file(path, text, mode=0o600)
    if os.geteuid() == 0:
        os.chown(path, found.st_uid, found.st_gid)
    path.chmod(stat.S_IMODE(found.st_mode))

"""What the pages say: their links and headings, and the command lines that people copy from them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").glob("*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_COMMENT = re.compile(r"\s+#\s.*$")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_WORD_BEFORE = re.compile(r"^(?:sudo|env|[A-Z_]+=\S*)$")
_SPLIT = re.compile(r"\s*(?:&&|\|\||(?<!\\)\||;)\s*")


@dataclass(frozen=True)
class Line:
    """One command as a page has it; `whole`: to be copied, not only named."""

    page: str
    words: tuple[str, ...]
    whole: bool


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code_of(text: str) -> Iterator[tuple[str, bool]]:
    """Each line of the blocks (True), each piece between backquotes (False)."""
    for kind, block in _FENCE.findall(text):
        if kind in ("", "sh", "bash"):
            yield from ((_COMMENT.sub("", line).strip(), True) for line in block.replace("\\\n", " ").splitlines())
    for piece in _INLINE.findall(_FENCE.sub("", text)):
        yield " ".join(piece.split()).replace("\\|", "|"), False


def commands_of(page: Path) -> Iterator[Line]:
    """Every command line, without what stands before the program."""
    for code, whole in code_of(read(page)):
        for part in _SPLIT.split(code):
            try:
                words = shlex.split(part)
            except ValueError:
                continue
            while words and _WORD_BEFORE.match(words[0]):
                words.pop(0)
            if words and ("python" in words[0]) and len(words) > 1 and words[1].endswith("manage.py"):
                words.pop(0)
            if words:
                yield Line(name_of(page), tuple(words), whole)


def links_of(page: Path) -> Iterator[str]:
    """Where its links lead, those of its code left out."""
    yield from _LINK.findall(re.sub(r"`[^`\n]*`", "", _FENCE.sub("", read(page))))


def anchors_of(page: Path) -> set[str]:
    """The names that its headings have for links."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", read(page))):
        plain = re.sub(r"[`*]", "", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-1")
    return found

"""The pages' translations: `python -m tests.messages` collects every sentence and writes .po and .mo.

No gettext tools are needed: Python is read by its syntax tree, templates by Django's own lexer, catalogues by polib.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polib

ROOT = Path(__file__).resolve().parent.parent
PO = ROOT / "qwenstudio" / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
MO = PO.with_suffix(".mo")
APPS = ("qwenstudio", "accounts", "generation")
PLURALS = {"ngettext": 1, "ngettext_lazy": 1}
SINGLES = {"_", "_now", "gettext", "gettext_lazy", "gettext_noop"}
_CALL = re.compile(r"\b(n?gettext|_)\(")


@dataclass(frozen=True, order=True)
class Message:
    """A sentence of the source, with its plural where it has one."""

    text: str
    plural: str = ""


def messages() -> dict[Message, set[str]]:
    """Every sentence and the files that say it."""
    found: dict[Message, set[str]] = {}
    for path in sorted(_files()):
        reader = _of_python if path.suffix == ".py" else _of_template
        for message in reader(path.read_text(encoding="utf-8")):
            found.setdefault(message, set()).add(str(path.relative_to(ROOT)))
    return found


def _files() -> Iterator[Path]:
    for app in APPS:
        yield from (path for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts)
    for ending in ("*.html", "*.txt"):
        yield from (ROOT / "qwenstudio" / "templates").rglob(ending)


def _of_python(text: str) -> Iterator[Message]:
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        name, words = node.func.id, [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        if name in SINGLES and words and isinstance(words[0], str):
            yield Message(words[0])
        elif name in PLURALS and len(words) >= 2:
            yield Message(str(words[0]), str(words[1]))


def _of_template(text: str) -> Iterator[Message]:
    from django.utils.translation.template import templatize  # needs settings

    source = templatize(text)
    for match in _CALL.finditer(source):
        call = _balanced(source, match.start(1), match.end())
        node = ast.parse(call.strip(), mode="eval").body
        assert isinstance(node, ast.Call)
        words = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
        yield Message(words[0], words[1]) if match.group(1) == "ngettext" else Message(words[0])


def _balanced(source: str, start: int, after_bracket: int) -> str:
    """The call that begins at `start`: the shortest text up to a closing bracket that Python can read."""
    end = after_bracket
    while True:
        end = source.index(")", end) + 1
        try:
            ast.parse(source[start:end].replace("\n", " "), mode="eval")
        except SyntaxError:
            continue
        return source[start:end].replace("\n", " ")


def write() -> list[str]:
    """Bring the catalogue up to date; returns what is not translated."""
    old = {(entry.msgid, entry.msgid_plural): entry for entry in polib.pofile(str(PO))} if PO.exists() else {}
    po = polib.POFile(wrapwidth=118)
    po.metadata = {
        "Language": "zh_Hans",
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": "nplurals=1; plural=0;",
    }
    for message, places in sorted(messages().items()):
        known = old.get((message.text, message.plural))
        entry = polib.POEntry(msgid=message.text, occurrences=[(place, "") for place in sorted(places)])
        if message.plural:
            entry.msgid_plural = message.plural
            entry.msgstr_plural = known.msgstr_plural if known else {0: ""}
        else:
            entry.msgstr = known.msgstr if known else ""
        if "%(" in message.text:
            entry.flags = ["python-format"]
        po.append(entry)
    po.save(str(PO))
    po.save_as_mofile(str(MO))
    return [entry.msgid for entry in po if not entry.translated()]


if __name__ == "__main__":
    import django
    from django.conf import settings

    settings.configure(USE_I18N=False)
    django.setup()
    missing = write()
    for text in missing:
        print("not translated:", text)
    sys.exit(1 if missing else 0)

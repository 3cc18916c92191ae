"""The pages tell the truth: every command of theirs parses, every path, unit, setting and rule of the runbook is there,
every link leads somewhere.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandError

from qwenstudio.embedded import Services
from qwenstudio.guard.rules import RULES
from qwenstudio.units.layout import Layout
from tests.deploy.installed import database_words, install
from tests.pages import PAGES, ROOT, Line, anchors_of, commands_of, links_of, name_of, read

RUNBOOK = ROOT / "deploy" / "README.md"
COMMANDS = [line for page in PAGES for line in commands_of(page)]
OURS = [line for line in COMMANDS if line.words[0] == "studio" or line.words[0].endswith("manage.py")]
PLACEHOLDERS = {"…", "...", "DIR", "NAME", "FOLDER", "FILE", "ADDRESS:9109", "N"}
# Not made by an installation, but by what the page says, or by time.
MADE_LATER = {
    "/etc/qwenstudio/gpu/1.env": "another GPU",
    "/etc/qwenstudio/secrets/email-url": "the operator, or --email-url",
    "/var/lib/qwenstudio/media.old": "moving media",
    "/var/log/nginx/qwenstudio.access.log": "nginx",
}
_PATH = re.compile(r"(?<![\w.~])/(?:etc|opt|var|usr/local/bin)/[\w./@-]*(?:qwenstudio|studio)[\w./@-]*")
_UNIT = re.compile(r"(?<![\w/.-])studio[-.][\w*@.-]+")
_SETTING = re.compile(r"\b(?:STUDIO|DATABASE|EMAIL|REDIS|SECRET|ALLOWED|HF)_[A-Z_0-9]+\b")
_RULE = re.compile(r"studio\.[EW]\d+")
# Words of the page that begin like units.
NO_UNITS = {"studio.example.org", "studio.env", "studio-keys"}


def parser_of(name: str) -> argparse.ArgumentParser:
    app = get_commands()[name]
    command = app if isinstance(app, BaseCommand) else load_command_class(app, name)
    return command.create_parser("manage.py", name)


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Its own and those of its steps."""
    found: set[str] = set()
    for action in parser._actions:
        found.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                found |= options_of(inner)
    return found


def test_there_is_something_to_look_at() -> None:
    assert len(OURS) > 80 and {"deploy/README.md", "docs/backup.md", "README.md"} <= {line.page for line in OURS}


@pytest.mark.parametrize(
    "line", sorted(set(OURS), key=str), ids=lambda line: f"{line.page}: {' '.join(line.words)}"[:90]
)
def test_a_command_line_of_a_page_parses(line: Line) -> None:
    words = [word for word in line.words[1:] if word != "…"]
    if not words or words == ["help"]:
        return
    name, rest = words[0], words[1:]
    assert name in get_commands(), f"there is no command {name}"
    parser = parser_of(name)
    if not line.whole or PLACEHOLDERS & set(line.words):
        named = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert named <= options_of(parser), f"{name} has no {named - options_of(parser)}"
        return
    try:
        parser.parse_args(rest)
    except CommandError as error:
        pytest.fail(f"{' '.join(line.words)}: {error}")


@pytest.fixture(scope="module")
def installer() -> Iterator[object]:
    sys.path.insert(0, str(ROOT / "deploy"))
    try:
        yield importlib.import_module("installer.main")
    finally:
        sys.path.remove(str(ROOT / "deploy"))


def test_the_installer_s_lines_parse(installer: object) -> None:
    lines = [line for line in COMMANDS if line.words[0] == "deploy/install" and len(line.words) > 1 and line.whole]
    assert len(lines) > 5
    for line in lines:
        if "…" not in " ".join(line.words):
            installer.parse(list(line.words[1:]))  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def root(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("installed") / "server"
    install(found, *database_words(services))
    return found


def test_every_path_of_the_runbook_is_there(root: Path) -> None:
    named = {path.rstrip("./") for path in _PATH.findall(read(RUNBOOK))}
    assert len(named) > 12, named
    missing = {path for path in named if not os.path.lexists(root / path.lstrip("/"))}
    assert missing == set(MADE_LATER) & named, "neither installed nor listed as made later"


def test_every_unit_of_the_runbook_is_there(root: Path) -> None:
    files = [path.name for path in (ROOT / "deploy/systemd").iterdir()]
    for page in (RUNBOOK, ROOT / "docs/production.md", ROOT / "docs/releases.md"):
        named = set(_UNIT.findall(read(page).replace("`", " "))) - NO_UNITS
        for unit in {name.rstrip(".") for name in named}:
            if _RULE.fullmatch(unit):
                continue
            template = re.sub(r"@[^.]*", "@", unit)
            wanted = template if template.endswith((".service", ".timer", ".target")) else f"{template}.*"
            if "*" in unit and "@" not in unit:
                wanted = unit
            assert any(fnmatch(file, wanted) for file in files), f"{name_of(page)}: there is no unit {unit}"
    assert Layout(root).units.is_dir()


def test_every_setting_of_the_pages_is_one() -> None:
    folders = ("accounts", "generation", "qwenstudio", "deploy", "tests")
    source = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".service")]
    known = set(_SETTING.findall("\n".join(path.read_text(encoding="utf-8") for path in [*source, ROOT / "manage.py"])))
    for page in PAGES:
        assert {name.removesuffix("_FILE") for name in _SETTING.findall(read(page))} <= known, name_of(page)


def test_every_setting_of_the_runbook_is_in_the_list() -> None:
    listed = set(_SETTING.findall(read(ROOT / "docs/operations.md")))
    assert {name.removesuffix("_FILE") for name in _SETTING.findall(read(RUNBOOK))} <= listed


def test_every_rule_that_a_page_names_exists() -> None:
    known = {rule.id for rule in RULES} | {"studio.E020"}
    for page in PAGES:
        assert set(_RULE.findall(read(page))) <= known, name_of(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links_of(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(target), f"{link}: no such heading"

"""Reads unit files as systemd does, as far as the studio's go: drop-ins, templates, specifiers, quotes, variables.

A directive that is neither obeyed (`OBEYED`) nor knowingly left to systemd (`LEFT`) is an error: skipped in silence it
would make a test of these units worth nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

OBEYED = {
    "Environment", "EnvironmentFile", "ExecStart", "ExecStartPre", "KillMode", "KillSignal", "Nice", "NotifyAccess",
    "Restart", "RestartSec", "RuntimeDirectory", "RuntimeDirectoryPreserve", "RuntimeMaxSec",
    "TimeoutAbortSec", "TimeoutStartSec", "TimeoutStopSec", "Type", "UMask", "WatchdogSec", "WorkingDirectory",
}  # fmt: skip
LEFT = {
    # whom it runs as, and what it may touch
    "User", "Group", "DynamicUser", "StateDirectory", "IPAddressAllow", "IPAddressDeny", "ProtectProc",
    "CapabilityBoundingSet", "LockPersonality", "NoNewPrivileges", "PrivateDevices", "PrivateTmp",
    "ProtectClock", "ProtectControlGroups", "ProtectHome", "ProtectHostname", "ProtectKernelLogs",
    "ProtectKernelModules", "ProtectKernelTunables", "ProtectSystem", "ReadWritePaths", "RestrictAddressFamilies",
    "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallErrorNumber",
    "SystemCallFilter",
    # how much it may take
    "LimitCORE", "LimitNOFILE", "MemoryHigh", "MemoryMax", "OOMScoreAdjust",
}  # fmt: skip
HELP = "teach it to qwenstudio/units/unitfile.py"
UNIT = {"Description", "Documentation", "PartOf", "After", "Wants", "StartLimitIntervalSec"}
INSTALL = {"WantedBy"}
_SPECIFIER = re.compile(r"%(.)")
_UNITS_OF_TIME = {"us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class UnitError(Exception):
    """A unit file says what we do not understand; the text names file and line."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command line. `may_fail`: its end says nothing about the unit's."""

    words: tuple[str, ...]
    may_fail: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit that can be started. Times in seconds, None for never."""

    name: str
    start: tuple[str, ...]
    before: tuple[Command, ...] = ()
    folder: str = "/"
    environment: tuple[tuple[str, str], ...] = ()
    environment_files: tuple[tuple[str, bool], ...] = ()
    """Path, and whether it may be absent."""
    notifies: bool = False
    all_may_notify: bool = False
    watchdog_s: float | None = None
    start_s: float | None = 90.0
    stop_s: float | None = 90.0
    abort_s: float | None = 90.0
    runtime_s: float | None = None
    restart: str = "no"
    pause_s: float = 0.1
    kill_mode: str = "control-group"
    kill_signal: str = "SIGTERM"
    umask: int = 0o022
    nice: int | None = None
    runtime_folder: str = ""
    keeps_runtime: bool = False
    wanted_by: tuple[str, ...] = field(default=())


def read_unit(folder: Path, name: str) -> Unit:
    """The unit of this name (`studio-web@blue.service`) from the files in `folder`; raises `UnitError`."""
    if not re.fullmatch(r"[\w.@-]+\.service", name):
        raise UnitError(f"{name!r} is no name of a service")
    file = find_file(folder, name)
    lines = read_lines(file)
    for drop_in in find_drop_ins(folder, name):
        lines += read_lines(drop_in)
    return make_unit(name, lines)


def find_file(folder: Path, name: str) -> Path:
    """The unit's own file, else its template's."""
    for candidate in (name, template_of(name)):
        if (folder / candidate).is_file():
            return folder / candidate
    raise UnitError(f"{name}: no such unit in {folder}")


def find_drop_ins(folder: Path, name: str) -> list[Path]:
    """`<template>.d/*.conf`, then `<name>.d/*.conf`; among equal names the latter counts."""
    found = {path.name: path for owner in (template_of(name), name) for path in folder.glob(f"{owner}.d/*.conf")}
    return [found[key] for key in sorted(found)]


def template_of(name: str) -> str:
    """`studio-web@.service` for `studio-web@blue.service`; without an instance the name itself."""
    return re.sub(r"@.*\.", "@.", name)


@dataclass(frozen=True, slots=True)
class Line:
    """One directive."""

    section: str
    key: str
    value: str
    where: str


def read_lines(file: Path) -> list[Line]:
    """The directives of one file; a backslash at the end of a line joins it to the next one."""
    found, section, held, began = [], "", "", 0
    for number, raw in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        text = raw.strip()
        if text.startswith(("#", ";")) or (not text and not held):
            continue
        began = began or number
        if text.endswith("\\"):
            held += text[:-1].rstrip() + " "
            continue
        whole, where = held + text, f"{file}:{began}"
        held, began = "", 0
        if whole.startswith("[") and whole.endswith("]"):
            section = whole[1:-1]
            continue
        key, equals, value = whole.partition("=")
        if not equals or section not in ("Unit", "Service", "Install"):
            raise UnitError(f"{where}: {whole!r} is no directive of a section that we know")
        found.append(Line(section, key.strip(), value.strip(), where))
    return found


class Directives:
    """A unit's directives by name, specifiers resolved, an empty value as the end of what stood before."""

    def __init__(self, name: str, lines: Sequence[Line]) -> None:
        self._name = name
        self._values: dict[str, list[str]] = {}
        for line in lines:
            known = {"Unit": UNIT, "Service": OBEYED | LEFT, "Install": INSTALL}[line.section]
            if line.key not in known:
                raise UnitError(
                    f"{line.where}: {line.key}= is not known here; teach it to qwenstudio/units/unitfile.py"
                )
            if line.section == "Unit" or line.key in LEFT:
                continue
            values = self._values.setdefault(line.key, [])
            if line.value:
                values.append(resolve(line.value, name=name, where=line.where))
            else:
                values.clear()

    def all(self, key: str) -> list[str]:
        """Every value, in order."""
        return self._values.get(key, [])

    def last(self, key: str, default: str = "") -> str:
        """The last value counts."""
        values = self.all(key)
        return values[-1] if values else default

    def choice(self, key: str, default: str, choices: Sequence[str]) -> str:
        """One of the words that are obeyed; raises `UnitError`."""
        value = self.last(key, default)
        if value not in choices:
            raise UnitError(f"{self._name}: {key}={value} is not known here; known: {', '.join(choices)}")
        return value

    def seconds(self, key: str, default: float | None) -> float | None:
        """A time; None for `infinity` and for 0 where that means never."""
        value = self.last(key)
        return parse_seconds(value, what=f"{self._name}: {key}=") if value else default


def make_unit(name: str, lines: Sequence[Line]) -> Unit:
    """All directives of a unit together."""
    given = Directives(name, lines)
    commands = given.all("ExecStart")
    if len(commands) != 1:
        raise UnitError(f"{name}: there must be one ExecStart=, not {len(commands)}")
    stop_s = given.seconds("TimeoutStopSec", 90.0)
    nice = given.last("Nice")
    if nice and not (re.fullmatch(r"-?\d{1,2}", nice) and -20 <= int(nice) <= 19):
        raise UnitError(f"{name}: Nice={nice} is no number from -20 to 19")
    try:
        umask = int(given.last("UMask", "0022"), 8)
    except ValueError:
        raise UnitError(f"{name}: UMask={given.last('UMask')} is no octal number") from None
    return Unit(
        name=name,
        start=parse_command(commands[0], name=name).words,
        before=tuple(parse_command(text, name=name) for text in given.all("ExecStartPre")),
        folder=given.last("WorkingDirectory", "/"),
        environment=tuple(
            tuple(word.split("=", 1)) if "=" in word else (word, "")  # type: ignore[misc]
            for text in given.all("Environment")
            for word in split_words(text, where=name)
        ),
        environment_files=tuple(
            (text.removeprefix("-"), text.startswith("-")) for text in given.all("EnvironmentFile")
        ),
        notifies=given.choice("Type", "simple", ("simple", "exec", "notify")) == "notify",
        all_may_notify=given.choice("NotifyAccess", "main", ("main", "all")) == "all",
        watchdog_s=given.seconds("WatchdogSec", None),
        start_s=given.seconds("TimeoutStartSec", 90.0),
        stop_s=stop_s,
        abort_s=given.seconds("TimeoutAbortSec", stop_s),
        runtime_s=given.seconds("RuntimeMaxSec", None),
        restart=given.choice("Restart", "no", ("no", "on-failure", "always")),
        pause_s=given.seconds("RestartSec", 0.1) or 0.0,
        kill_mode=given.choice("KillMode", "control-group", ("control-group", "mixed")),
        kill_signal=given.last("KillSignal", "SIGTERM"),
        umask=umask,
        nice=int(nice) if nice else None,
        runtime_folder=given.last("RuntimeDirectory"),
        keeps_runtime=given.choice("RuntimeDirectoryPreserve", "no", ("no", "restart")) == "restart",
        wanted_by=tuple(word for text in given.all("WantedBy") for word in text.split()),
    )


# ---- words


def resolve(text: str, *, name: str, where: str) -> str:
    """Put in for `%i`, `%I`, `%n`, `%N`, `%p` and `%%`; another specifier is an error."""
    whole, _, _ = name.rpartition(".")
    prefix, _, instance = whole.partition("@")
    values = {"i": instance, "I": instance.replace("-", "/"), "n": name, "N": whole, "p": prefix, "%": "%"}

    def put(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise UnitError(f"{where}: %{found[1]} is not known here ({HELP})")
        return values[found[1]]

    # A percentage (MemoryMax=90%) stands in directives that are left alone; here each sign begins a specifier.
    return _SPECIFIER.sub(put, text)


def split_words(text: str, *, where: str) -> list[str]:
    """Words between blanks; quotes hold one together, a backslash keeps the next character (systemd.syntax)."""
    words: list[str] = []
    word, quote, inside, at = "", "", False, 0
    while at < len(text):
        character = text[at]
        if character == "\\" and at + 1 < len(text):
            at += 1
            word += {"n": "\n", "t": "\t", "s": " "}.get(text[at], text[at])
            inside = True
        elif quote:
            quote, word = ("", word) if character == quote else (quote, word + character)
        elif character in "'\"":
            quote, inside = character, True
        elif character in " \t":
            if inside:
                words.append(word)
            word, inside = "", False
        else:
            word, inside = word + character, True
        at += 1
    if quote:
        raise UnitError(f"{where}: a quote is not closed in {text!r}")
    return [*words, word] if inside else words


def parse_command(text: str, *, name: str) -> Command:
    """A command line with its prefixes: `-` (may fail) is obeyed, `+` (with all rights) is what we are anyway."""
    found = re.match(r"[-+]*", text)
    prefix = found[0] if found else ""
    words = split_words(text[len(prefix) :], where=name)
    if not words or not words[0].startswith("/"):
        raise UnitError(f"{name}: a command begins with a whole path: {text}")
    return Command(tuple(words), may_fail="-" in prefix)


def put_variables(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """`${NAME}` inside a word, `$NAME` as a whole word (split at blanks), `$$` for the sign itself."""
    found: list[str] = []
    for word in words:
        if match := re.fullmatch(r"\$(\w+)", word):
            found += environment.get(match[1], "").split()
        else:
            found.append(
                re.sub(r"\$(?:\$|\{(\w+)\})", lambda match: environment.get(match[1], "") if match[1] else "$", word)
            )
    return found


def parse_seconds(text: str, *, what: str) -> float | None:
    """`5`, `200ms`, `1min 30s`; None for `infinity` and 0."""
    if text == "infinity":
        return None
    total = 0.0
    for word in re.findall(r"\S+", re.sub(r"(\d)\s+([a-z])", r"\1\2", text)):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]*)", word)
        if match is None or match[2] not in _UNITS_OF_TIME:
            raise UnitError(f"{what}{text} is no time that we know")
        total += float(match[1]) * _UNITS_OF_TIME[match[2]]
    return total or None


# ---- environment files


def read_environment(file: Path) -> dict[str, str]:
    """`NAME=value` lines as systemd reads them; a value may stand in quotes."""
    found: dict[str, str] = {}
    for number, raw in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith(("#", ";")):
            continue
        name, equals, value = line.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name.strip()):
            raise UnitError(f"{file}:{number}: {line!r} is no variable")
        found[name.strip()] = unquote(value.strip())
    return found


def unquote(value: str) -> str:
    """The value without its quotes; inside double ones a backslash keeps `"`, `\\`, `$` and the backquote."""
    if len(value) >= 2 and value[0] == value[-1] == "'":
        return value[1:-1]
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r'\\(["\\$`])', r"\1", value[1:-1])
    return value


def quote(value: str) -> str:
    """A value for an environment file that systemd and a shell read alike."""
    if "\n" in value:
        raise UnitError("a variable's value is one line")
    if re.fullmatch(r"[\w./:@,+=-]*", value):
        return value
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'

"""The layers of `docs/architecture.md`, read from the imports: they point down only, and the web never loads torch."""

from __future__ import annotations

import ast
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("accounts", "generation", "qwenstudio")

# The longest matching name decides. A module that matches nothing fails the test: it must be given its place first.
LAYERS = {
    # 0: words and the engine
    "accounts": 0,
    "accounts.enums": 0,
    "accounts.errors": 0,
    "accounts.ids": 0,
    "accounts.logcontext": 0,
    "generation": 0,
    "generation.enums": 0,
    "generation.errors": 0,
    "generation.engine": 0,
    # 1: plumbing
    "accounts.rls": 1,
    "accounts.tenancy": 1,
    "accounts.valkey": 1,
    "accounts.meters": 1,
    "generation.meters": 1,
    "generation.queue": 1,
    # 2: models
    "accounts.models": 2,
    "accounts.migrations": 2,
    "generation.models": 2,
    "generation.migrations": 2,
    # 3: domain
    "accounts.domain": 3,
    "generation.domain": 3,
    "generation.chat": 3,
    "generation.books": 3,
    "generation.releases": 3,
    # 4: doors
    "accounts.admin": 4,
    "accounts.api": 4,
    "accounts.apps": 4,
    "accounts.management": 4,
    "accounts.templatetags": 4,
    "accounts.staff": 4,
    "accounts.web": 4,
    "generation.admin": 4,
    "generation.api": 4,
    "generation.apps": 4,
    "generation.management": 4,
    "generation.staff": 4,
    "generation.web": 4,
    "generation.worker": 4,
    # 5: what puts them together
    "qwenstudio": 5,
    # but these know nothing of the studio (the first), or only how it is started
    "qwenstudio.notify": 0,
    "qwenstudio.units": 1,
    "qwenstudio.units.supervised": 5,
    "qwenstudio.units.doorway": 5,
}
# Each pair: nothing below the first name imports anything below the second.
STRANGERS = [
    ("accounts", "generation"),
    ("generation.chat", "generation.domain"),
    ("generation.domain", "generation.chat"),
    ("generation.chat", "generation.books"),
    ("generation.domain", "generation.books"),
    *(("generation.engine", name) for name in ("django", "redis", "rq", "django_rq", "psycopg", "rest_framework")),
    ("generation.queue", "django.db"),  # ids and dotted names, never objects
    *((name, heavy) for name in ("accounts", "qwenstudio") for heavy in ("torch", "diffusers", "transformers", "peft")),
    *(("generation.domain", heavy) for heavy in ("torch", "diffusers", "transformers", "peft")),
    # Starts before Django's settings can be read.
    ("qwenstudio.embedded", "django"),
    ("qwenstudio.embedded", "accounts"),
    ("qwenstudio.embedded", "generation"),
]
HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "tokenizers")
WEB_MODULES = ("qwenstudio.asgi", "qwenstudio.urls", "qwenstudio.wsgi")


def module_name(file: Path) -> str:
    """`generation/domain/submit.py` as `generation.domain.submit`."""
    words = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def read_imports(source: str, *, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, those inside functions too; `from a import b` counts as `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*own[: len(own) - node.level + 1], *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def all_imports() -> list[tuple[str, str, str]]:
    """(module, where, imported name) over all our packages."""
    return [
        (module_name(file), f"{file.relative_to(ROOT)}:{line}", name)
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        for line, name in read_imports(
            file.read_text(encoding="utf-8"), module=module_name(file), is_package=file.name == "__init__.py"
        )
    ]


def is_below(name: str, package: str) -> bool:
    """Whether `name` is `package` or inside it."""
    return name == package or name.startswith(f"{package}.")


def layer_of(name: str) -> int | None:
    """The layer of one of our modules; None where no rule names it."""
    matches = [prefix for prefix in LAYERS if is_below(name, prefix)]
    longest = max(matches, key=len, default=None)
    if longest in ("accounts", "generation") and name != longest:
        return None  # a new module of an app must be given its place above
    return LAYERS[longest] if longest else None


def find_rising(imports: list[tuple[str, str, str]]) -> list[str]:
    """Imports that point up, or touch a module without a layer."""
    found = []
    for module, where, name in imports:
        if name.split(".")[0] not in PACKAGES:
            continue
        own, other = layer_of(module), layer_of(name)
        if own is None or other is None:
            found.append(f"{where}: {module if own is None else name} has no layer in tests/qwenstudio/test_layers.py")
        elif other > own:
            found.append(f"{where}: {module} (layer {own}) imports {name} (layer {other})")
    return found


def find_strangers(imports: list[tuple[str, str, str]]) -> list[str]:
    """Imports between modules that must not know each other."""
    return [
        f"{where}: {module} imports {name}"
        for module, where, name in imports
        for package, stranger in STRANGERS
        if is_below(module, package) and is_below(name, stranger)
    ]


def test_imports_point_down() -> None:
    assert find_rising(all_imports()) == []


def test_strangers_do_not_meet() -> None:
    assert find_strangers(all_imports()) == []


@pytest.mark.parametrize(
    ("module", "source", "finds"),
    [
        ("accounts.domain.keys", "from accounts.api import views", find_rising),
        ("accounts.models.key", "def f():\n    import accounts.domain.keys", find_rising),
        ("generation.queue.wake", "from ..domain import submit", find_rising),
        ("accounts.domain.keys", "import generation.enums", find_strangers),
        ("generation.engine.run", "from django.conf import settings", find_strangers),
        ("generation.domain.submit", "from generation.chat import relay", find_strangers),
        ("generation.newcomer", "import accounts.models", find_rising),
    ],
)
def test_the_reader_sees_wrong_imports(module: str, source: str, finds: object) -> None:
    imports = [(module, "here", name) for _, name in read_imports(source, module=module, is_package=False)]
    assert callable(finds)
    assert finds(imports)


def test_web_processes_load_no_torch() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {WEB_MODULES!r}: importlib.import_module(name)\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "qwenstudio.settings", "SECRET_KEY": "layers"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


# ---- the page that shows the layers names files that exist

PATH = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_./{},-]*[A-Za-z0-9_/}]")
BRACES = re.compile(r"\{([^}]*)\}")


def named_paths(text: str) -> set[str]:
    """Every path of this repository that a page names; `a/{b,c}` names two."""
    tops = {path.name for path in ROOT.iterdir()}
    return {
        path
        for found in PATH.findall(text)
        for path in expand(found)
        if path.split("/")[0] in tops and not path.startswith("var/")
    }


def expand(path: str) -> list[str]:
    """Each choice of a path with braces."""
    choices = [word.split(",") for word in BRACES.findall(path)]
    pattern = BRACES.sub("{}", path)
    return [pattern.format(*choice) for choice in itertools.product(*choices)] if choices else [path]


def test_architecture_names_files_that_exist() -> None:
    paths = named_paths((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert len(paths) > 20, "the page should show the way of a picture through real files"
    missing = [path for path in sorted(paths) if not ((ROOT / path).exists() or (ROOT / f"{path}.py").exists())]
    assert not missing, "docs/architecture.md names what is not there: " + ", ".join(missing)


def test_expanding_braces() -> None:
    assert expand("accounts/{api,web}/x.py") == ["accounts/api/x.py", "accounts/web/x.py"]
    assert named_paths("see `accounts/{api,web}` and http://host/accounts") == {"accounts/api", "accounts/web"}

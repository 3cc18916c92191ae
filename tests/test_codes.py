"""Every `code` that an answer can carry stands in the catalogue, and nothing else does."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from django.utils.translation import override

from accounts.api.bodies import STATUS_OF_KIND, problem_headers
from accounts.domain.codes import CATALOGUE, Place, Retry, add_code, say_code, say_error
from accounts.errors import NotFound, QuotaExceeded, StudioError
from generation.domain.place import REASONS
from tests.codes import PAGE, print_page

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("accounts", "generation", "qwenstudio")
# Import torch, or run when imported; their errors are no refusals.
NOT_IMPORTED = ("generation.engine", "generation.worker", "qwenstudio.embedded", "qwenstudio.asgi", "qwenstudio.wsgi")
FAILURE = re.compile(r"error_code = CASE .*? ELSE '(\w+)' END")


def error_classes() -> list[type[StudioError]]:
    """Every refusal of ours, wherever it is defined."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(ROOT / package)], prefix=f"{package}."):
            if not module.name.startswith(NOT_IMPORTED) and ".migrations" not in module.name:
                importlib.import_module(module.name)
    found: list[type[StudioError]] = []
    waiting = [StudioError]
    while waiting:
        for child in waiting.pop().__subclasses__():
            waiting.append(child)
            if child.__module__.split(".")[0] in PACKAGES and child not in found:
                found.append(child)
    return found


def read_codes(source: str) -> Iterator[str]:
    """The codes that a module's text names; `*_cut` for one that it puts together."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from (name for statement in node.body for name in _assigned(statement))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and _name_of(node) == "_CODES":
            assert isinstance(node.value, ast.Dict)
            yield from (text for value in node.value.values if (text := _text(value)))
        elif isinstance(node, ast.Call) and _is_ours(node):
            yield from (text for word in node.keywords if word.arg == "code" and (text := _text(word.value)))
        elif isinstance(node, ast.Dict):  # {"code": …} of a warning
            pairs = zip(node.keys, node.values, strict=True)
            yield from (text for key, value in pairs if key and _text(key) == "code" and (text := _text(value)))
        elif isinstance(node, ast.Tuple) and len(node.elts) > 2 and _is_status(node.elts[0]):
            yield from filter(None, [_text(node.elts[1])])  # (404, "not_found", …)
        elif isinstance(node, ast.FunctionDef) and node.name == "explain":
            returned = [found.value for found in ast.walk(node) if isinstance(found, ast.Return)]
            yield from (text for value in returned if isinstance(value, ast.Tuple) and (text := _text(value.elts[0])))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from FAILURE.findall(node.value)


def _assigned(statement: ast.stmt) -> Iterator[str]:
    if _name_of(statement) in ("code", "problem_code"):
        yield from filter(None, [_text(getattr(statement, "value", None))])


def _name_of(statement: ast.AST) -> str:
    target = (
        statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", ast.Constant(""))
    )
    return target.id if isinstance(target, ast.Name) else ""


def _text(node: ast.AST | None) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "*" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_status(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and 400 <= node.value < 600


def _is_ours(call: ast.Call) -> bool:
    """Django's `ValidationError(code=…)` means something else."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name not in ("ValidationError", "add_error")


def source_codes() -> dict[str, set[str]]:
    """Every code in the syntax trees, with the files that name it."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in file.parts:
                for code in read_codes(file.read_text(encoding="utf-8")):
                    found.setdefault(code, set()).add(file.relative_to(ROOT).as_posix())
    return found


def test_every_code_has_an_entry() -> None:
    classes = {error.code: {f"{error.__module__}.{error.__name__}"} for error in error_classes()}
    wanted = {**source_codes(), **classes, **{code: {"REASONS"} for code in REASONS}}
    assert len(wanted) > 30
    missing = {
        code: places for code, places in wanted.items() if not any(fnmatchcase(entry, code) for entry in CATALOGUE)
    }
    assert not missing, f"without an entry in accounts/domain/codes.py or generation/domain/codes.py: {missing}"


def test_every_entry_has_a_code() -> None:
    named = {*source_codes(), *REASONS, *(error.code for error in error_classes())}
    idle = [code for code in CATALOGUE if not any(fnmatchcase(code, pattern) for pattern in named)]
    assert not idle, f"in the catalogue, but no answer carries them: {idle}"


def test_statuses_are_those_of_the_answers() -> None:
    for error in error_classes():
        entry = CATALOGUE[error.code]
        assert (entry.place, entry.status) == (Place.PROBLEM, STATUS_OF_KIND[error.kind]), error


def test_later_means_a_retry_after() -> None:
    for code, entry in CATALOGUE.items():
        if entry.retry is Retry.LATER and entry.status in (429, 503):
            kind = next(error for error in error_classes() if error.code == code)
            assert kind.kind in ("limited", "unavailable"), "the header is sent for these kinds"
    error = StudioError("x", retry_after_s=7)
    error.kind = "conflict"
    assert problem_headers(error) == {"Retry-After": "7"}


def test_every_entry_is_whole_in_both_languages() -> None:
    for code, entry in CATALOGUE.items():
        texts = {}
        for language in ("en", "zh-hans"):
            with override(language):
                texts[language] = (str(entry.sentence), str(entry.action), str(entry.retry.value))
        assert all(text.endswith(".") for text in texts["en"][:2]), code
        assert all(text.endswith("。") for text in texts["zh-hans"][:2]), code
        assert all(one != other for one, other in zip(*texts.values(), strict=True)), code


def test_a_code_has_one_meaning() -> None:
    with pytest.raises(ValueError, match="already"):
        add_code("not_found", 404, Retry.NO, "x", "x")


def test_pages_say_it_in_their_language_and_keep_the_bound() -> None:
    error = QuotaExceeded("used up: 10 images a day", limit="images_per_day", retry_after_s=60)
    with override("en"):
        assert say_error(error) == "used up: 10 images a day"
        assert say_code("lost", "") == str(CATALOGUE["lost"].sentence)
    with override("zh-hans"):
        assert say_error(error) == f"{CATALOGUE['quota_exceeded'].sentence} (used up: 10 images a day)"
        assert say_error(NotFound("no such member")) == str(CATALOGUE["not_found"].sentence)
        assert say_code("a code of tomorrow", "its detail") == "its detail"


def test_the_printed_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == print_page(), "run python -m tests.codes"


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ("class Full(StudioError):\n    code = 'queue_full'", {"queue_full"}),
        ("class Full(APIException):\n    problem_code = 'too_full'", {"too_full"}),
        ("send_problem(send, request, 408, code='slow')", {"slow"}),
        ("def f():\n    return 404, 'gone', 'x', {}", {"gone"}),
        ("def explain(error):\n    return 'bad', 'x', True", {"bad"}),
        ("SQL = \"error_code = CASE WHEN a THEN '' ELSE 'lost' END\"", {"lost"}),
        ("x.append({'code': f'{name}_cut'})", {"*_cut"}),
        ("raise forms.ValidationError('x', code='invalid')", set()),
    ],
)
def test_the_reader_sees_codes(source: str, codes: set[str]) -> None:
    assert set(read_codes(source)) == codes

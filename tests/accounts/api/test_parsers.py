"""JSON is read strictly; what is ambiguous or would break the database is refused with its reason."""

from __future__ import annotations

import contextlib
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.api.parsers import MAX_DEPTH, MalformedJSON, parse_json
from tests.factories import Person

BAD = {
    "empty": (b"", "line 1"),
    "truncated": (b'{"a": 1', "line 1"),
    "two values": (b"{} {}", "column 4"),
    "single quotes": (b"{'a': 1}", "malformed"),
    "trailing comma": (b'{"a": 1,}', "malformed"),
    "byte order mark": (b"\xef\xbb\xbf{}", "malformed"),
    "not UTF-8": (b'{"a": "\xff"}', "UTF-8 (byte 7)"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "UTF-8"),
    "duplicate key": (b'{"seed": 1, "seed": 2}', "'seed' occurs twice"),
    "duplicate key inside": (b'{"loras": [{"name": "a", "name": "b"}]}', "'name' occurs twice"),
    "duplicate key by escape": (b'{"a": 1, "\\u0061": 2}', "'a' occurs twice"),
    "NaN": (b'{"a": NaN}', "NaN"),
    "Infinity": (b'{"a": -Infinity}', "-Infinity"),
    "overflow to infinity": (b'{"a": 1e999}', "1e999"),
    "1e300": (b'{"a": 1e300}', "1e300"),
    "-1e19": (b'{"a": [-1e19]}', "-1e19"),
    "2^64 as a float": (b'{"a": 18446744073709551616.0}', "too large"),
    "NUL": (b'{"prompt": "a\\u0000b"}', "NUL"),
    "NUL in a name": (b'{"a\\u0000": 1}', "NUL"),
    "raw control character": (b'{"a": "\x01"}', "control character"),
    "lone high surrogate": (b'{"a": "\\ud83d"}', "surrogate"),
    "lone low surrogate": (b'{"a": ["\\ude00x"]}', "surrogate"),
    "surrogate in a name": (b'{"\\ud83d": 1}', "surrogate"),
    "2^63": (b'{"a": 9223372036854775808}', "64 bits"),
    "-2^63 - 1": (b'{"a": -9223372036854775809}', "64 bits"),
    "5,000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "64 bits"),
    "too deep": (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deeper"),
    "far too deep": (b"[" * 200_000, "deeper"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bodies_are_refused_with_the_reason(name: str) -> None:
    body, reason = BAD[name]
    with pytest.raises(MalformedJSON) as refused:
        parse_json(body)
    assert reason in str(refused.value.detail)
    assert len(str(refused.value.detail)) < 200


def test_good_bodies_are_read() -> None:
    body = '{"prompt": "房子 🏠 \\ud83c\\udfe0", "n": 9223372036854775807, "low": -9223372036854775808, '
    body += '"scale": 1.5e3, "x": null}'
    assert parse_json(body.encode()) == {
        "prompt": "房子 🏠 🏠",
        "n": 2**63 - 1,
        "low": -(2**63),
        "scale": 1500.0,
        "x": None,
    }
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert parse_json(deepest) == json.loads(deepest)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(MalformedJSON):
        parse_json(body)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(-(2.0**62), 2.0**62)
    | st.text().filter(lambda text: "\x00" not in text),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text().filter(lambda text: "\x00" not in text), children, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_whatever_json_can_say_comes_back(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.urls("tests.accounts.routes")
@pytest.mark.parametrize("name", ["truncated", "duplicate key", "NUL", "NaN", "far too deep"])
def test_api_answers_400_as_a_problem(name: str, alice: Person) -> None:
    response = alice.api.post("/api/v1/echo", BAD[name][0], content_type="application/json")
    assert response.status_code == 400
    assert response.json()["code"] == "malformed_json" and BAD[name][1] in response.json()["detail"]


@pytest.mark.urls("tests.accounts.routes")
def test_bodies_over_the_cap_are_413(alice: Person) -> None:
    fits, over = b'"' + b"x" * 62 + b'"', b'"' + b"x" * 63 + b'"'
    assert alice.api.post("/api/v1/small", fits, content_type="application/json").status_code == 200
    response = alice.api.post("/api/v1/small", over, content_type="application/json")
    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large" and "64" in response.json()["detail"]
    huge = alice.api.post("/api/v1/echo", b"[" + b"1," * 600_000 + b"1]", content_type="application/json")
    assert huge.status_code == 413


@pytest.mark.urls("tests.accounts.routes")
def test_view_knows_the_hash_of_the_body(alice: Person) -> None:
    body = b' {"b": 1,\n "a": "\xc3\xa4"}'
    response = alice.api.post("/api/v1/echo", body, content_type="application/json; charset=utf-8")
    assert response.json() == {"data": {"b": 1, "a": "ä"}, "sha256": hashlib.sha256(body).hexdigest()}


@pytest.mark.timeout(20)
def test_a_hundred_thousand_names_are_compared_once_each() -> None:
    """Counting every name among all names took minutes for one body."""
    names = ",".join(f'"{number}":0' for number in range(100_000))
    with pytest.raises(MalformedJSON, match="'99999' occurs twice"):
        parse_json(f'{{{names},"99999":1}}'.encode())

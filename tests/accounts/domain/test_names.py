"""Names and addresses that say what they seem to."""

from __future__ import annotations

import pytest

from accounts.domain.names import is_one_line, is_plain_email


@pytest.mark.parametrize("name", ["Carol", "图 Studio", "O’Neil-Ñ", "👩‍👩‍👧", ""])
def test_names_of_one_line(name: str) -> None:
    assert is_one_line(name)


@pytest.mark.parametrize("name", ["a\nb", "a\r", "\x00", "\x1b[1m", "a\u2028b", "\u202elorac", "\u2066a", "\ud800"])
def test_others(name: str) -> None:
    assert not is_one_line(name)


@pytest.mark.parametrize(
    ("email", "plain"),
    [
        ("carol+tag@example.com", True), ('"a,b"@example.com', True), ("carol@exampłe.com", True),
        ('"\x1b[31m"@example.com', False), ('"\x01"@example.com', False), ("ſam@example.com", False),
        ("alıce@example.com", False),
    ],
)  # fmt: skip
def test_addresses(email: str, plain: bool) -> None:
    assert is_plain_email(email) == plain

"""One-time sign-in links: good once, for a while, for one person, within this studio."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from accounts.domain.signin import LINK_PATH, make_sign_in_link, redeem
from accounts.errors import InvalidField, InvalidToken
from accounts.models import TokenDirectory, User
from tests.at_once import at_once
from tests.factories import make_user


@pytest.fixture
def user(db: None) -> User:
    return make_user()


def token_of(link: str) -> str:
    return link.rstrip("/").rsplit("/", 1)[1]


def test_link_signs_in_once(user: User) -> None:
    link = make_sign_in_link(user, "/studio/")
    assert link.startswith(f"http://127.0.0.1:8000{LINK_PATH}")
    found = redeem(token_of(link))
    assert (found.user, found.next_path) == (user, "/studio/")
    with pytest.raises(InvalidToken):
        redeem(token_of(link))


def test_token_is_stored_as_its_hash_only(user: User, admin_sql: psycopg.Connection[tuple[object, ...]]) -> None:
    link = make_sign_in_link(user, "/")
    stored = str(admin_sql.execute("SELECT t::text FROM accounts_tokendirectory t").fetchall())
    assert token_of(link) not in stored and user.pk.hex[:8] in stored


@pytest.mark.parametrize("how", ["expired", "disabled", "unknown"])
def test_bad_links_are_refused_alike(how: str, user: User) -> None:
    token = token_of(make_sign_in_link(user, "/"))
    if how == "expired":
        TokenDirectory.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif how == "disabled":
        User.objects.update(is_active=False)
    else:
        token += "x"
    with pytest.raises(InvalidToken, match="used or has expired"):
        redeem(token)


@pytest.mark.parametrize(
    "path", ["https://evil.example/", "//evil.example", "studio", "", "/\\evil.example", "javascript:1"]
)
def test_link_leads_nowhere_else(path: str, user: User) -> None:
    with pytest.raises(InvalidField):
        make_sign_in_link(user, path)
    assert not TokenDirectory.objects.exists()


def test_two_at_once_sign_in_one(user: User) -> None:
    token = token_of(make_sign_in_link(user, "/"))
    assert at_once([lambda: redeem(token)] * 3) == {"done": 1, "invalid_link": 2}

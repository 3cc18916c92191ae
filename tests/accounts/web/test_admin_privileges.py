"""Staff who are no superusers look after people, and can raise nobody's privileges: not their own, not by anybody's."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from tests.factories import make_user

NEW = "another long password"
PRIVILEGES = ("is_staff", "is_superuser", "groups", "user_permissions")


@pytest.fixture
def boss(db: object) -> User:
    return User.objects.create_superuser("boss@example.org", None)


@pytest.fixture
def helper(db: object) -> User:
    """Staff with every permission there is, but no superuser."""
    user = make_user("helper", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    return user


@pytest.fixture
def colleague(db: object) -> User:
    user = make_user("colleague", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    return user


@pytest.fixture
def member(db: object) -> User:
    return make_user("member")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page(user: User, name: str = "change") -> str:
    return f"/admin/accounts/user/{user.pk}/{name}/"


def values(user: User, **changes: Any) -> dict[str, Any]:
    return {"email": user.email, "name": user.name, "language": "", "is_active": "on", **changes}


def raising(user: User) -> dict[str, Any]:
    permissions = [str(permission.pk) for permission in Permission.objects.all()]
    return values(user, name="changed", is_staff="on", is_superuser="on", user_permissions=permissions, groups=[])


def privileges(user: User) -> tuple[bool, bool, int]:
    found = User.objects.get(pk=user.pk)
    return found.is_staff, found.is_superuser, found.user_permissions.count()


def test_superusers_give_privileges(boss: User, member: User) -> None:
    assert signed_in(boss).post(page(member), raising(member)).status_code == 302
    assert privileges(member) == (True, True, Permission.objects.count())


@pytest.mark.parametrize("whom", ["member", "helper"])
def test_staff_change_people_and_themselves_but_no_privileges(
    request: pytest.FixtureRequest, helper: User, whom: str
) -> None:
    user = request.getfixturevalue(whom)
    client, before = signed_in(helper), privileges(user)
    shown = client.get(page(user)).content.decode()
    assert not [name for name in PRIVILEGES if f'name="{name}"' in shown]
    assert client.post(page(user), raising(user)).status_code == 302
    assert User.objects.get(pk=user.pk).name == "changed"
    assert privileges(user) == before


def test_staff_add_no_staff(helper: User) -> None:
    form = {"email": "new@example.org", "usable_password": "true", "password1": NEW, "password2": NEW}
    client = signed_in(helper)
    assert client.post("/admin/accounts/user/add/", {**form, "is_staff": "on", "is_superuser": "on"}).status_code == 302
    assert privileges(User.objects.get(email="new@example.org")) == (False, False, 0)


@pytest.mark.parametrize("whom", ["boss", "colleague"])
def test_staff_touch_neither_superusers_nor_each_other(request: pytest.FixtureRequest, helper: User, whom: str) -> None:
    user = request.getfixturevalue(whom)
    client, before = signed_in(helper), User.objects.filter(pk=user.pk).values().get()
    passwords = {"usable_password": "true", "password1": NEW, "password2": NEW, "set-password": "1"}
    assert client.get(page(user)).status_code == 200  # to look at
    assert client.post(page(user), values(user, email="mine@example.org")).status_code == 403
    assert client.get(page(user, "password")).status_code == 403
    assert client.post(page(user, "password"), passwords).status_code == 403
    assert client.post(page(user, "delete"), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(user.pk)], "post": "yes"}
    assert client.post("/admin/accounts/user/", chosen).status_code == 403
    assert User.objects.filter(pk=user.pk).values().get() == before


def test_superuser_that_may_not_enter_the_admin_is_no_way_in_either(helper: User) -> None:
    resting = make_user("resting", is_superuser=True)
    assert signed_in(helper).get(page(resting, "password")).status_code == 403


def test_staff_set_and_delete_members(helper: User, member: User) -> None:
    client = signed_in(helper)
    passwords = {"usable_password": "true", "password1": NEW, "password2": NEW, "set-password": "1"}
    assert client.post(page(member, "password"), passwords).status_code == 302
    assert User.objects.get(pk=member.pk).check_password(NEW)
    assert client.post(page(member, "delete"), {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=member.pk).exists()


def test_superusers_look_after_all(boss: User, colleague: User) -> None:
    client = signed_in(boss)
    assert client.get(page(colleague, "password")).status_code == 200
    assert client.post(page(colleague, "delete"), {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=colleague.pk).exists()

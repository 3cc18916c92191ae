"""The demo: random secrets in one private file, good links at every start, nothing made twice."""

from __future__ import annotations

import json
import stat
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.domain import demo
from accounts.domain.callers import caller_of_key
from accounts.domain.demo import create_demo
from accounts.domain.signin import redeem
from accounts.errors import InvalidKey
from accounts.models import ApiKey, Tenant, User
from accounts.tenancy import across_tenants

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture(autouse=True)
def var(tmp_path: Path, settings: Any) -> Path:
    settings.STUDIO_VAR = tmp_path / "var"
    return tmp_path / "var"


def env(var: Path) -> dict[str, str]:
    lines = (var / "demo.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def token(link: str) -> str:
    return link.rstrip("/").rsplit("/", 1)[1]


def test_first_start_makes_everything(var: Path) -> None:
    made = create_demo()
    values = env(var)
    assert values.keys() == {
        "STUDIO_URL",
        "STUDIO_EMAIL",
        "STUDIO_PASSWORD",
        "STUDIO_ADMIN_EMAIL",
        "STUDIO_ADMIN_PASSWORD",
        "STUDIO_API_KEY",
    }
    assert stat.S_IMODE((var / "demo.env").stat().st_mode) == 0o600
    assert [file.name for file in var.iterdir()] == ["demo.env"], "no half-written file is left"
    assert Client().login(email=values["STUDIO_EMAIL"], password=values["STUDIO_PASSWORD"])
    assert Client().login(email=values["STUDIO_ADMIN_EMAIL"], password=values["STUDIO_ADMIN_PASSWORD"])
    owner, staff = redeem(token(made.studio_link)).user, redeem(token(made.admin_link)).user
    assert (owner.email, owner.is_staff, staff.is_staff, staff.is_superuser) == (
        values["STUDIO_EMAIL"],
        False,
        True,
        True,
    )
    caller = caller_of_key(values["STUDIO_API_KEY"], address=None)
    assert (caller.user, caller.role, caller.tenant_name) == (owner.pk, "owner", "Demo")
    assert {"images:read", "images:write"} <= caller.scopes


def test_second_start_keeps_secrets_and_gives_fresh_links(var: Path) -> None:
    first, values = create_demo(), env(var)
    second = create_demo()
    assert env(var) == values
    assert len({first.studio_link, second.studio_link, first.admin_link, second.admin_link}) == 4
    assert redeem(token(second.studio_link)).user.email == values["STUDIO_EMAIL"]
    with across_tenants():
        assert (User.objects.count(), Tenant.objects.count(), ApiKey.objects.count()) == (2, 1, 1)


def test_lost_file_is_answered_with_new_secrets(var: Path) -> None:
    create_demo()
    values = env(var)
    (var / "demo.env").unlink()
    create_demo()
    assert all(
        env(var)[name] != values[name] for name in ("STUDIO_PASSWORD", "STUDIO_ADMIN_PASSWORD", "STUDIO_API_KEY")
    )
    assert caller_of_key(env(var)["STUDIO_API_KEY"], address=None)
    with pytest.raises(InvalidKey):
        caller_of_key(values["STUDIO_API_KEY"], address=None)


def test_file_of_another_database_is_replaced(var: Path) -> None:
    var.mkdir()
    (var / "demo.env").write_text("STUDIO_PASSWORD=old\nSTUDIO_API_KEY=qs_live_old\nnonsense\n")
    create_demo()
    assert env(var)["STUDIO_PASSWORD"] != "old"
    assert caller_of_key(env(var)["STUDIO_API_KEY"], address=None)


def test_address_follows_the_settings(var: Path, settings: Any) -> None:
    create_demo()
    settings.STUDIO_URL = "http://127.0.0.1:9001"
    assert create_demo().studio_link.startswith("http://127.0.0.1:9001/")
    assert env(var)["STUDIO_URL"] == "http://127.0.0.1:9001"


def test_command_loads_models_before_the_first_demo_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from accounts.management.commands import bootstrap_demo

    called: list[str] = []

    def fail(name: str, **options: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(bootstrap_demo, "call_command", fail)
    with pytest.raises(OSError, match="disk full"):
        call_command("bootstrap_demo")
    assert not demo.demo_exists(), "the next start begins anew"
    monkeypatch.setattr(bootstrap_demo, "call_command", lambda name, **options: called.append(name))
    for _ in range(2):
        out = StringIO()
        call_command("bootstrap_demo", stdout=out)
        links = json.loads(out.getvalue())
        assert redeem(token(links["studio_link"])).next_path == "/studio/"
        assert redeem(token(links["admin_link"])).next_path == "/admin/now/"
    assert called == ["loadmodels", "offerdemochat", "offerdemochat"], "its port may be another one at each start"

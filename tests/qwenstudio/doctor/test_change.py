"""`manage.py doctor --mail`: staff hear once that a line turned bad, and once that it is well again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core import mail as sent
from django.core.management import call_command
from pytest_django.fixtures import Settings

from accounts.models import Errand
from accounts.tenancy import across_tenants
from qwenstudio.doctor import Finding, change
from qwenstudio.doctor.change import FILE, Bad, compare, read_state, tell
from qwenstudio.doctor.finding import Check
from qwenstudio.management.commands import doctor as command
from tests.factories import make_user
from tests.mails import waiting_mails


def finding(level: Any, name: str, *, check: str = "room", remedy: str = "") -> Finding:
    return Finding(level, name, f"{name} is {level}", remedy, "group", check)


# ---- the difference between two looks


def test_first_look_tells_of_everything_that_is_bad() -> None:
    found = compare({}, [finding("ok", "disk"), finding("warn", "memory"), finding("fail", "storage")])
    assert [line.name for line in found.worse] == ["memory", "storage"]
    assert (found.better, set(found.bad)) == ([], {"memory", "storage"})


def test_only_changes_are_told() -> None:
    before = {"memory": Bad("warn", "room"), "storage": Bad("fail", "room"), "disk": Bad("warn", "room")}
    same = compare(before, [finding("warn", "memory"), finding("fail", "storage"), finding("warn", "disk")])
    assert not same
    found = compare(before, [finding("fail", "memory"), finding("warn", "storage"), finding("ok", "disk")])
    assert [line.name for line in found.worse] == ["memory"], "worse is told, less bad is not"
    assert found.better == ["disk"]
    assert {name: old.level for name, old in found.bad.items()} == {"memory": "fail", "storage": "warn"}


def test_of_two_lines_with_one_name_the_worse_counts() -> None:
    found = compare({}, [finding("ok", "device"), finding("fail", "device"), finding("warn", "device")])
    assert [(line.name, line.level) for line in found.worse] == [("device", "fail")]


def test_a_line_that_is_gone_is_well_only_where_somebody_looked() -> None:
    before = {"queue of demo": Bad("fail", "workers")}
    assert compare(before, [finding("fail", "database, web", check="database")]).better == []
    hung = compare(before, [finding("ok", "worker a", check="workers"), finding("fail", "workers", check="workers")])
    assert hung.better == [] and "queue of demo" in hung.bad, "it did not end, so it has not seen everything"
    assert compare(before, [finding("ok", "queue of other", check="workers")]).better == ["queue of demo"]


# ---- e-mails


@pytest.fixture
def staff(db: None) -> dict[str, str]:
    people = [make_user("root", is_staff=True, language="zh-hans"), make_user("op", is_staff=True)]
    make_user("gone", is_staff=True, is_active=False)
    make_user("guest")
    return {person.email: person.language for person in people}


def forget_mails() -> None:
    with across_tenants():
        Errand.objects.all().delete()


def test_staff_are_told_once_both_ways_in_their_language(staff: dict[str, str], tmp_path: Path) -> None:
    bad = [finding("fail", "storage", remedy="make room"), finding("ok", "memory")]
    well = [finding("ok", "storage"), finding("ok", "memory")]
    assert tell(well, var=tmp_path)
    assert waiting_mails() == [], "nothing has changed"

    assert tell(bad, var=tmp_path)
    mails = {mail["language"]: mail for mail in waiting_mails("doctor")}
    assert {mail["to"] for mail in mails.values()} == set(staff)
    assert mails["en"]["subject"] == "The studio needs you: storage"
    assert "- storage: storage is fail\n  What to do: make room" in mails["en"]["body"]
    assert mails["zh-hans"]["subject"] == "画室需要你处理：storage"
    assert "处理方法： make room" in mails["zh-hans"]["body"]

    forget_mails()
    assert tell(bad, var=tmp_path)
    assert waiting_mails() == [], "not twice for the same"

    assert tell(well, var=tmp_path)
    (english,) = [mail for mail in waiting_mails("doctor") if mail["language"] == "en"]
    assert english["subject"] == "Well again: storage"
    assert "What to do" not in english["body"]
    forget_mails()
    assert tell(well, var=tmp_path)
    assert waiting_mails() == []
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_a_mail_names_what_was_bad_before_too(staff: dict[str, str], tmp_path: Path) -> None:
    tell([finding("warn", "memory")], var=tmp_path)
    forget_mails()
    tell([finding("warn", "memory"), *(finding("fail", f"disk {n}") for n in range(5))], var=tmp_path)
    mail = waiting_mails("doctor")[0]
    assert mail["context"]["others"] == ["memory"]
    assert mail["context"]["names"] == "disk 0, disk 1, disk 2…"


def test_without_a_database_the_staff_of_before_are_mailed_at_once(
    staff: dict[str, str], tmp_path: Path, settings: Settings
) -> None:
    well, gone = finding("ok", "database, web", check="database"), finding("fail", "database, web", check="database")
    assert tell([well], var=tmp_path)
    assert tell([gone], var=tmp_path)
    assert waiting_mails() == []
    assert sorted(address for mail in sent.outbox for address in mail.to) == sorted(staff)
    assert {mail.subject for mail in sent.outbox} == {
        "The studio needs you: database, web", "画室需要你处理：database, web",
    }  # fmt: skip
    assert tell([gone], var=tmp_path)
    assert len(sent.outbox) == 2
    assert tell([well], var=tmp_path)
    assert {mail["context"]["better"][0] for mail in waiting_mails("doctor")} == {"database, web"}


def test_what_nobody_could_be_told_is_told_by_the_next_run(
    staff: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as patch:
        patch.setattr(change, "queue_mail", refuse)
        patch.setattr(change.EmailMessage, "send", lambda self: 0)
        assert not tell([finding("fail", "storage")], var=tmp_path)
    assert read_state(tmp_path).bad == {}
    assert tell([finding("fail", "storage")], var=tmp_path)
    assert len(waiting_mails("doctor")) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"bad": 1}', '{"bad": {"x": {}}}', '{"bad": {"x": {"level": 1}}}'])
def test_a_damaged_state_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read_state(tmp_path).bad == {}


def test_the_command_mails(
    staff: dict[str, str], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STUDIO_VAR = tmp_path / "var"
    bad = Check("room", lambda: iter([Finding("fail", "storage", "is full", "make room")]))
    monkeypatch.setattr(command, "CHECKS", {"storage": bad})
    with pytest.raises(SystemExit):
        call_command("doctor", stdout=io.StringIO())
    assert waiting_mails() == [], "only with --mail"
    with pytest.raises(SystemExit):
        call_command("doctor", "--mail", stdout=io.StringIO())
    assert len(waiting_mails("doctor")) == 2

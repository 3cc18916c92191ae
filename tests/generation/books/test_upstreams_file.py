"""The upstreams file: read strictly, written on demand; what staff change outlives it, and nothing is deleted."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.test import override_settings

from accounts.domain.reseal import reseal_everything
from accounts.ids import uuid7
from accounts.tenancy import across_tenants
from generation.books.demochat import offer_demo_chat
from generation.books.loading import load_upstreams
from generation.books.upstreamfile import UpstreamsFileError, read_upstreams_file
from generation.books.upstreams import open_credential
from generation.chat.demomodel import DEMO_MODEL
from generation.models import ChatGrant, ChatModel, ChatTarget, Upstream
from tests.factories import Person

TEXT = """
[upstreams.desk]
kind = "ollama"
base_url = "http://127.0.0.1:11434"
loading_s = 120
credential_file = "key"

[upstreams.rack]
base_url = "http://10.0.0.7:8000/v1"
takes = ["tools"]

[models.small]
title = "Small"
targets = [{ upstream = "desk", name = "qwen3:0.6b", context_tokens = 8192 }, { upstream = "rack", name = "Qwen/Q3" }]
sampling = { temperature = 0.5 }
"""


@pytest.fixture
def file(tmp_path: Path, db: object) -> Path:
    (tmp_path / "key").write_text("sk-secret\n")
    path = tmp_path / "upstreams.toml"
    path.write_text(TEXT)
    return path


def test_diff_then_write_then_nothing(file: Path) -> None:
    found = load_upstreams(file, apply=False)
    assert (found["upstream"].added, found["model"].added) == (["desk", "rack"], ["small"])
    assert not Upstream.objects.exists()
    load_upstreams(file, apply=True)
    desk, rack = Upstream.objects.all()
    assert (desk.kind, desk.loading_s, desk.takes, rack.kind, rack.takes) == ("ollama", 120, None, "openai", ["tools"])
    assert "secret" not in desk.credential and open_credential(vars(desk)) == "sk-secret"
    assert "secret" not in str(desk.loaded)
    model = ChatModel.objects.get()
    assert (model.title, model.sampling, model.public) == ("Small", {"temperature": 0.5}, True)
    assert list(ChatTarget.objects.values_list("upstream", "name", "context_tokens")) == [
        ("desk", "qwen3:0.6b", 8192),
        ("rack", "Qwen/Q3", None),
    ]
    assert all(loaded.is_empty for loaded in load_upstreams(file, apply=True).values())


def test_the_shipped_file_says_nothing_yet() -> None:
    found = read_upstreams_file("deploy/upstreams.toml")
    assert (found.upstreams, found.models) == ((), ())


def test_what_staff_change_outlives_the_file(file: Path) -> None:
    load_upstreams(file, apply=True)
    Upstream.objects.filter(slug="rack").update(enabled=False, weight=9)
    ChatModel.objects.update(public=False, max_tokens=7)
    file.write_text(TEXT.replace("10.0.0.7", "10.0.0.8"))
    found = load_upstreams(file, apply=True)
    assert found["upstream"].changed == {"rack": ["base_url"]} and found["model"].is_empty
    rack = Upstream.objects.get(slug="rack")
    assert (rack.base_url, rack.enabled, rack.weight) == ("http://10.0.0.8:8000/v1", False, 9)
    assert (ChatModel.objects.get().public, ChatModel.objects.get().max_tokens) == (False, 7)
    file.write_text(TEXT.replace("[models.small]", "[models.small]\nmax_tokens = 100"))
    load_upstreams(file, apply=True)
    assert ChatModel.objects.get().max_tokens == 100


def test_nothing_is_deleted(file: Path) -> None:
    load_upstreams(file, apply=True)
    file.write_text('[upstreams.other]\nbase_url = "http://127.0.0.1:1"\n')
    found = load_upstreams(file, apply=True)
    assert (found["upstream"].missing, found["model"].missing) == (["desk", "rack"], ["small"])
    assert (Upstream.objects.count(), ChatTarget.objects.count()) == (3, 2)


def test_a_credential_is_read_each_time(file: Path) -> None:
    load_upstreams(file, apply=True)
    (file.parent / "key").write_text("sk-other")
    assert load_upstreams(file, apply=True)["upstream"].changed == {"desk": ["credential"]}
    assert open_credential(vars(Upstream.objects.get(slug="desk"))) == "sk-other"
    (file.parent / "key").unlink()
    with pytest.raises(UpstreamsFileError, match=r"upstream desk: credential_file: .*No such file"):
        load_upstreams(file, apply=True)


def test_tenants_of_a_model(file: Path, alice: Person) -> None:
    file.write_text(TEXT + f'tenants = ["{alice.tenant.pk}"]\n')
    load_upstreams(file, apply=True)
    assert not ChatModel.objects.get().public
    with across_tenants():
        assert ChatGrant.objects.get().tenant_id == alice.tenant.pk
    file.write_text(TEXT + f'tenants = ["{uuid7()}"]\n')
    with pytest.raises(UpstreamsFileError, match="model small: tenants: there is no tenant"):
        load_upstreams(file, apply=True)
    with across_tenants():
        assert ChatGrant.objects.count() == 1


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("[upstreams.desk]", "[upstreams.Desk]", "upstream Desk: slug: Small letters"),
        ("[models.small]", "[model.small]", "model: entries stand under"),
        ("[upstreams.desk]\n", "[upstreams]\nx = 1\n[upstreams.desk]\n", r"upstreams.x: stands outside an entry"),
        ('kind = "ollama"', 'kind = "olama"', "upstream desk: kind: .*olama"),
        ("loading_s = 120", 'loading_s = "120"', "upstream desk: loading_s: must be a number, got '120'"),
        ("loading_s = 120", "loading_s = -1", "upstream desk: loading_s: .*greater than or equal to 0"),
        ("loading_s = 120", "concurrency = true", "upstream desk: concurrency: must be a whole number"),
        ("loading_s = 120", "loading = 120", "upstream desk: loading: unknown key; there are kind, base_url"),
        ("http://127.0.0.1:11434", "ftp://127.0.0.1", "upstream desk: "),
        ('["tools"]', '["tool"]', "upstream rack: takes: there is no optional field 'tool'"),
        ("temperature = 0.5", "temperature = 5", "model small: sampling: temperature"),
        ("temperature = 0.5", "api_base = 5", "model small: sampling: api_base is no sampling"),
        ('{ upstream = "rack", name = "Qwen/Q3" }', '{ name = "x" }', "model small: targets: each needs upstream"),
        ('upstream = "rack"', 'upstream = "tower"', "model small: targets: there is no upstream 'tower'"),
        ("context_tokens = 8192", "context_tokens = 8", "model small: context_tokens: "),
        ('title = "Small"', "tenants = [1]", "model small: tenants: must be ids"),
        ('title = "Small"', "title =", "is no valid TOML"),
    ],
)
def test_what_is_wrong_is_named(before: str, after: str, said: str, file: Path) -> None:
    assert before in TEXT
    file.write_text(TEXT.replace(before, after))
    with pytest.raises(UpstreamsFileError, match=said) as found:
        load_upstreams(file, apply=True)
    assert str(found.value).startswith(str(file))
    assert not Upstream.objects.exists() and not ChatModel.objects.exists()


def test_the_command(file: Path, settings: LazySettings) -> None:
    settings.STUDIO_UPSTREAMS = file
    out = io.StringIO()
    call_command("loadupstreams", "--dry-run", stdout=out)
    assert out.getvalue() == "+ upstream desk\n+ upstream rack\n+ model small\nNothing was written (--dry-run).\n"
    call_command("loadupstreams", stdout=io.StringIO())
    assert offer_demo_chat(port=1, name=DEMO_MODEL)  # `up` looks after these: no line of them
    file.write_text(TEXT.replace("[upstreams.rack]", "[upstreams.rock]").replace('"rack"', '"rock"'))
    out = io.StringIO()
    call_command("loadupstreams", stdout=out)
    assert out.getvalue().splitlines() == [
        "+ upstream rock",
        "= upstream desk",
        "? upstream rack: not in the file, stays; switch it off in the admin",
        "~ model small: targets",
    ]
    settings.STUDIO_UPSTREAMS = file.parent / "nowhere.toml"
    with pytest.raises(CommandError, match=r"nowhere.toml: cannot be read .*; set STUDIO_UPSTREAMS"):
        call_command("loadupstreams")


def test_credentials_are_sealed_anew(file: Path) -> None:
    with override_settings(STUDIO_ENCRYPTION_KEYS=["old"]):
        load_upstreams(file, apply=True)
    with override_settings(STUDIO_ENCRYPTION_KEYS=["new", "old"]):
        found = reseal_everything()["upstreams"]
        assert (found.seen, found.resealed, found.unreadable) == (1, 1, 0)
        assert reseal_everything()["upstreams"].resealed == 0
    with override_settings(STUDIO_ENCRYPTION_KEYS=["new"]):
        assert open_credential(vars(Upstream.objects.get(slug="desk"))) == "sk-secret"
    with override_settings(STUDIO_ENCRYPTION_KEYS=["other"]):
        assert reseal_everything()["upstreams"].unreadable == 1
        assert open_credential(vars(Upstream.objects.get(slug="desk"))) == ""

"""LoRAs in the admin: a file counts once it was looked over; what is wrong with it is said by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User
from generation.domain.lorafiles import PIECE_BYTES, lora_path
from generation.domain.request import LoraChoice
from generation.models import Lora
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person
from tests.generation.domain.desk import submit
from tests.generation.lorafiles import offer_demo_checkpoint, offer_lora, write_lora

SQL = psycopg.Connection[tuple[Any, ...]]
ADD = "/admin/generation/lora/add/"
KEY = "transformer.transformer_blocks.0.attn.to_q.lora_A.weight"


@pytest.fixture(autouse=True)
def _demo(media: Path, db: object) -> None:
    offer_sleeping_model()
    offer_demo_checkpoint()


def form(**fields: Any) -> dict[str, Any]:
    values = {"family": "qwen-image", "slug": "style", "title": "Style", "position": 0, "default_scale": 1,
              "min_scale": -2, "max_scale": 2, "enabled": "on", "public": "on",
              "loragrant_set-TOTAL_FORMS": 0, "loragrant_set-INITIAL_FORMS": 0,
              "loragrant-TOTAL_FORMS": 0, "loragrant-INITIAL_FORMS": 0}  # fmt: skip
    return values | fields


def sent(file: Path) -> SimpleUploadedFile:
    return SimpleUploadedFile("style.safetensors", file.read_bytes())


def errors(answer: Any) -> str:
    assert answer.status_code == 200, answer.content[:500]
    return str(answer.context["adminform"].form.errors.get("file", ""))


def test_a_small_file_with_the_form(staff: Client, alice: Person, media: Path, tmp_path: Path, admin_sql: SQL) -> None:
    file = write_lora(tmp_path / "x.safetensors")
    grant = {"loragrant-TOTAL_FORMS": 1, "loragrant-0-tenant": alice.tenant.pk, "loragrant-0-lora": "style"}
    answer = staff.post(ADD, form(file=sent(file), trigger_words="portrait", public="", **grant))
    assert answer.status_code == 302, errors(answer)
    lora = Lora.objects.get()
    assert (lora.slug, lora.fits, lora.rank, lora.public, lora.trigger_words) == (
        "style",
        ["demo"],
        4,
        False,
        "portrait",
    )
    assert (media / lora_path(lora.sha256)).read_bytes() == file.read_bytes()
    assert list((media / "loras").glob(".*")) == []
    assert [one["id"] for one in alice.api.get("/api/v1/loras").json()["results"]] == ["style"]
    action, target, detail = admin_sql.execute(
        "SELECT action, target, detail FROM accounts_auditevent WHERE action LIKE 'admin.lora%'"
    ).fetchall()[0]
    assert (action, target) == ("admin.lora.added", "lora:style")
    assert detail["trigger_words"] == [None, "portrait"]
    assert not [key for key in detail if "upload" in key]


def test_a_file_in_pieces(staff: Client, media: Path, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "x.safetensors")
    data = file.read_bytes()
    page = staff.get(ADD)
    pieces = page.context["pieces"]
    assert f'data-bytes="{PIECE_BYTES}"' in page.content.decode()
    url, at = f"/admin/generation/lora/pieces/{pieces['upload']}/", 0
    while at < len(data):
        piece = data[at : at + 100_000]
        answer = staff.post(f"{url}?at={at}", piece, content_type="application/octet-stream")
        assert answer.json() == {"size": at + len(piece)}
        at += len(piece)
    # what is wrong in the form does not cost the upload
    assert staff.post(ADD, form(upload=pieces["upload"], title="")).status_code == 200
    assert staff.post(ADD, form(upload=pieces["upload"])).status_code == 302
    assert (media / lora_path(Lora.objects.get().sha256)).read_bytes() == data
    assert list((media / "loras").glob(".*")) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({KEY: np.full((4, 160), np.inf)}, f"key {KEY} holds NaN or infinity"),
        ({"transformer.down.lora_A.weight": np.zeros((4, 8))}, "key transformer.down.lora_A.weight fits no layer"),
        ({KEY: np.zeros((200, 160))}, "has the shape"),
    ],
)
def test_a_wrong_file_is_refused_by_its_key(
    staff: Client, media: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    answer = staff.post(ADD, form(file=sent(write_lora(tmp_path / "x.safetensors", change=change))))
    assert says in errors(answer).replace("&#x27;", "'")
    assert not Lora.objects.exists()


@pytest.mark.parametrize("fields", [{}, {"upload": "0123456789abcdef"}, {"upload": "../../../etc/passwd"}])
def test_no_file_is_no_lora(staff: Client, fields: dict[str, str]) -> None:
    assert errors(staff.post(ADD, form(**fields)))
    assert not Lora.objects.exists()


def test_a_pickle_and_a_text(staff: Client) -> None:
    for data in (b"\x80\x04\x95aaaaaaaaaaaaaaaa", b"hello"):
        answer = staff.post(ADD, form(file=SimpleUploadedFile("x.safetensors", data)))
        assert "no safetensors" in errors(answer)


def test_strengths_must_be_in_order(staff: Client, tmp_path: Path) -> None:
    answer = staff.post(ADD, form(file=sent(write_lora(tmp_path / "x.safetensors")), default_scale=1.5, max_scale=1))
    assert answer.status_code == 200
    assert "usual strength must lie between" in answer.content.decode()
    assert not Lora.objects.exists()


def test_the_file_stands_once_it_is_there(staff: Client, tmp_path: Path) -> None:
    staff.post(ADD, form(file=sent(write_lora(tmp_path / "x.safetensors"))))
    before = Lora.objects.get()
    url = "/admin/generation/lora/style/change/"
    assert 'type="file"' not in staff.get(url).content.decode()
    other = sent(write_lora(tmp_path / "y.safetensors", seed=1))
    assert staff.post(url, form(title="Renamed", file=other, sha256="0" * 64, family="z-image")).status_code == 302
    after = Lora.objects.get()
    assert (after.title, after.sha256, after.family) == ("Renamed", before.sha256, "qwen-image")


def test_deleting_takes_the_file_unless_somebody_waits_for_it(
    staff: Client, alice: Person, media: Path, tmp_path: Path
) -> None:
    staff.post(ADD, form(file=sent(write_lora(tmp_path / "x.safetensors"))))
    lora = Lora.objects.get()
    submit(alice.caller, loras=(LoraChoice(name="style"),))
    url = "/admin/generation/lora/style/delete/"
    answer = staff.post(url, {"post": "yes"}, follow=True)
    said = [str(one) for one in answer.context["messages"]]
    assert "switch it off, and delete it when they are done" in str(said)
    assert Lora.objects.exists()
    assert (media / lora_path(lora.sha256)).is_file()
    answer = staff.post(
        "/admin/generation/lora/",
        {"action": "delete_selected", "_selected_action": ["style"], "post": "yes"},
        follow=True,
    )
    said = [str(one) for one in answer.context["messages"]]
    assert "switch it off, and delete it when they are done" in str(said)
    assert Lora.objects.exists()
    offer_lora("unused")
    chosen = {"action": "delete_selected", "_selected_action": ["unused"], "post": "yes"}
    assert staff.post("/admin/generation/lora/", chosen).status_code == 302
    assert [row.slug for row in Lora.objects.all()] == ["style"]


def test_who_may_send_pieces(staff: Client, alice: Person, db: object) -> None:
    url = "/admin/generation/lora/pieces/0123456789abcdef/?at=0"
    client = Client()
    looker = User.objects.create_user("looker@example.org", None, is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_lora"))
    client.force_login(looker)
    assert client.post(url, b"x", content_type="application/octet-stream").status_code == 403
    assert alice.client.post(url, b"x", content_type="application/octet-stream").status_code in (302, 403, 404)
    for wrong in ("?at=-1", "?at=x", "", "?at=99999999999999"):
        assert staff.post(url.split("?")[0] + wrong, b"x", content_type="application/octet-stream").status_code == 400
    too_much = staff.post(url.replace("at=0", "at=2000000000"), b"xx", content_type="application/octet-stream")
    assert too_much.status_code == 413
    assert staff.get(url).status_code == 405

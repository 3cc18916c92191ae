"""/healthz depends on nothing, /readyz on what the work needs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings

from qwenstudio import health
from qwenstudio.asgi import front
from tests.qwenstudio.exchange import Exchange, make_scope


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_last", None)


def test_healthz_needs_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    exchange = asyncio.run(Exchange(make_scope("GET", "/healthz", headers={"Host": "10.0.0.7"})).run(front))
    assert exchange.status == 200
    assert exchange.json["status"] == "ok"
    response = Client().get("/healthz")  # the same behind plain WSGI
    assert response.status_code == 200


@pytest.mark.django_db
def test_ready(media: Path) -> None:
    response = Client().get("/readyz")
    assert response.status_code == 200
    assert response.json()["status"] == "ready"
    assert list(media.iterdir()) == []  # its trial file is gone
    exchange = asyncio.run(Exchange(make_scope("GET", "/readyz")).run(front))
    assert exchange.status == 200


@pytest.mark.django_db
def test_not_ready_without_a_new_connection(monkeypatch: pytest.MonkeyPatch, media: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")  # an old connection works still
        monkeypatch.setitem(connection.settings_dict, "PORT", "1")
        response = Client().get("/readyz")
    assert response.status_code == 503
    assert set(response.json()["failed"]) == {"database"}


@pytest.mark.django_db
def test_not_ready_with_a_migration_missing(admin_sql: psycopg.Connection[Any], media: Path) -> None:
    row = admin_sql.execute(
        "DELETE FROM django_migrations WHERE app = 'generation' AND name LIKE '0001%' RETURNING app, name, applied"
    ).fetchone()
    try:
        response = Client().get("/readyz")
    finally:
        admin_sql.execute("INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", row)
    assert response.status_code == 503
    assert "generation.0001_initial" in response.json()["failed"]["database"]


@pytest.mark.django_db
def test_not_ready_without_storage(settings: Settings, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    settings.STUDIO_MEDIA = blocker / "media"
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert set(response.json()["failed"]) == {"storage"}


@pytest.mark.django_db
def test_ready_but_degraded_without_redis(settings: Settings, media: Path) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    response = Client().get("/readyz")
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert set(response.json()["degraded"]) == {"redis"}


@pytest.mark.django_db
def test_many_questions_make_one_check(monkeypatch: pytest.MonkeyPatch, media: Path) -> None:
    asked = []
    monkeypatch.setattr(health, "FRESH_S", 600.0)
    monkeypatch.setattr(health, "check_database", lambda: asked.append(1) or "")
    for _ in range(20):
        Client().get("/readyz")
    assert len(asked) == 1
    assert os.listdir(media) == []

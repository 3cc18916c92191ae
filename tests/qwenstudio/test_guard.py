"""The production guard: each rule finds its fault and nothing else, at the start, in `check --deploy`, in the docs."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from qwenstudio.doctor import CHECKS
from qwenstudio.embedded import Services
from qwenstudio.embedded.secrets import make_secrets
from qwenstudio.guard import RULES, find_faults, probes, refuse_at_start
from qwenstudio.guard.facts import Facts, find_secret_files, gather
from qwenstudio.guard.rules import openness
from qwenstudio.guard.strength import weakness
from tests.guardtable import PAGE, with_table

ROOT = Path(__file__).resolve().parents[2]
STRONG = "f3a9b1c47d2e8065" * 4
PASSWORD = "k7Q2zR9tLw4xVb1n"
HERE, EVERYBODY = ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("0.0.0.0/0")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account can walk into (pytest's own cannot be)."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def good(folder: Path) -> Facts:
    """A studio as an installation leaves it."""
    media, secret = folder / "media", folder / "secret_key"
    media.mkdir(mode=0o750)
    secret.touch(mode=0o640)
    return Facts(
        debug=False,
        url="https://studio.example.org",
        origins=["https://studio.example.org"],
        hosts=["studio.example.org", "127.0.0.1"],
        proxies=[HERE],
        secret_key=STRONG,
        secret_fallbacks=[],
        encryption_keys=[STRONG],
        database_urls={
            "web": f"postgresql://studio_web:{PASSWORD}@127.0.0.1:1/studio",
            "owner": "postgresql://studio_owner@/studio?host=/run/postgresql",
            "worker": "",
        },
        redis_url=f"redis://:{PASSWORD}@127.0.0.1:1/0",
        media=media,
        secret_files=[secret],
        downloads=False,
        mail_backend="django.core.mail.backends.smtp.EmailBackend",
    )


def ids(facts: Facts, **how: bool) -> list[str]:
    return [rule.id for rule, _ in find_faults(facts, **{"asking": False, **how})]


def test_an_installation_passes(good: Facts) -> None:
    assert ids(good, asking=True) == []
    for url in ("unix:///run/redis/redis.sock", f"redis://127.0.0.1:1/0?password={PASSWORD}"):
        assert ids(replace(good, redis_url=url)) == []


def open_file(facts: Facts) -> Facts:
    facts.secret_files[0].chmod(0o644)
    return facts


def open_socket(facts: Facts) -> Facts:
    """A socket that every account may write to."""
    path = facts.media.parent / "redis.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    path.chmod(0o777)
    return replace(facts, redis_url=f"unix://{path}")


def open_media(facts: Facts) -> Facts:
    facts.media.chmod(0o755)
    return facts


def web_url(facts: Facts, password: str) -> Facts:
    return replace(facts, database_urls={"web": f"postgresql://studio_web:{password}@db/studio"})


FAULTS: list[tuple[str, Callable[[Facts], Facts]]] = [
    ("studio.E101", lambda good: replace(good, debug=True)),
    ("studio.E102", lambda good: replace(good, secret_key="")),
    ("studio.E102", lambda good: replace(good, secret_key=STRONG[:39])),
    ("studio.E102", lambda good: replace(good, secret_key=f"django-insecure-{STRONG}")),
    ("studio.E102", lambda good: replace(good, secret_fallbacks=["x" * 60])),
    ("studio.E103", lambda good: replace(good, encryption_keys=[])),
    ("studio.E103", lambda good: replace(good, encryption_keys=[STRONG, "changeme"])),
    ("studio.E104", lambda good: web_url(good, "studio_web")),
    ("studio.E104", lambda good: web_url(good, "postgres")),
    ("studio.E107", lambda good: replace(good, redis_url="redis://:redis@127.0.0.1:6379/0")),
    ("studio.E108", lambda good: replace(good, redis_url="redis://127.0.0.1:6379/0")),
    ("studio.E108", open_socket),
    ("studio.E110", lambda good: replace(good, hosts=["studio.example.org", "*"])),
    ("studio.E111", open_media),
    ("studio.E112", open_file),
    ("studio.E113", lambda good: replace(good, downloads=True)),
    ("studio.E114", lambda good: replace(good, url="http://studio.example.org", origins=["http://studio.example.org"])),
    ("studio.E114", lambda good: replace(good, origins=["https://studio.example.org", "http://other.example.org"])),
    ("studio.E115", lambda good: replace(good, proxies=[])),
    ("studio.E116", lambda good: replace(good, proxies=[HERE, EVERYBODY])),
    ("studio.W117", lambda good: replace(good, mail_backend="qwenstudio.outbox.Outbox")),
    ("studio.W117", lambda good: replace(good, mail_backend="django.core.mail.backends.console.EmailBackend")),
]


@pytest.mark.parametrize(("id", "plant"), FAULTS)
def test_each_fault_is_found_alone(good: Facts, id: str, plant: Callable[[Facts], Facts]) -> None:
    facts = plant(good)
    assert ids(facts) == [id]
    for _, sentence in find_faults(facts, asking=False):
        for secret in (PASSWORD, STRONG[:39], "changeme"):
            assert secret not in sentence


# ---- rules that ask a server


@pytest.fixture
def trusting(services: Services, admin_sql: psycopg.Connection[Any]) -> Iterator[str]:
    """The database for a role that needs no password from here; its URL."""
    admin_sql.execute("CREATE ROLE guest_of_trust LOGIN NOINHERIT")
    (file,) = admin_sql.execute("SHOW hba_file").fetchone() or ("",)
    before = Path(file).read_text(encoding="utf-8")
    Path(file).write_text(f"host all guest_of_trust 127.0.0.1/32 trust\n{before}", encoding="utf-8")
    admin_sql.execute("GRANT CONNECT ON DATABASE studio TO guest_of_trust")
    admin_sql.execute("SELECT pg_reload_conf()")
    try:
        yield f"postgresql://guest_of_trust:{PASSWORD}@{services.urls['web'].rpartition('@')[2]}"
    finally:
        Path(file).write_text(before, encoding="utf-8")
        admin_sql.execute("SELECT pg_reload_conf()")
        admin_sql.execute("DROP OWNED BY guest_of_trust")
        admin_sql.execute("DROP ROLE guest_of_trust")


def test_a_database_that_trusts_names_is_found(good: Facts, services: Services, trusting: str) -> None:
    assert ids(replace(good, database_urls={"web": services.urls["web"]}), asking=True) == []
    deadline = time.monotonic() + 60
    while not probes.lets_in_without_password(trusting) and time.monotonic() < deadline:
        time.sleep(0.05)  # reloading takes the server a moment
    assert ids(replace(good, database_urls={"web": trusting}), asking=True) == ["studio.E105"]


def test_a_role_above_the_policies_is_found(good: Facts, db: None, services: Services) -> None:
    urls = {"web": services.urls["web"], "worker": services.urls["worker"], "owner": services.urls["owner"]}
    assert ids(replace(good, database_urls=urls), asking=True) == []
    for role, url in (("worker", services.superuser_url), ("web", services.urls["worker"])):
        assert ids(replace(good, database_urls={**urls, role: url}), asking=True) == ["studio.E106"]


def test_redis_that_answers_without_a_password_is_found(good: Facts, redis: Any, redis_url: str) -> None:
    assert ids(replace(good, redis_url=redis_url), asking=True) == []
    redis.execute_command("ACL", "SETUSER", "default", "nopass")
    try:
        named = redis_url.replace("redis://:", "redis://default:")  # this URL still works
        assert ids(replace(good, redis_url=named), asking=True) == ["studio.E109"]
    finally:
        password = redis_url.split(":")[2].partition("@")[0]
        redis.execute_command("ACL", "SETUSER", "default", "resetpass", f">{password}")


def test_every_rule_has_a_planted_fault() -> None:
    asked = {"studio.E105", "studio.E106", "studio.E109"}
    assert asked == {rule.id for rule in RULES if rule.asks}
    assert {id for id, _ in FAULTS} | asked == {rule.id for rule in RULES}
    assert len({rule.id for rule in RULES}) == len(RULES)


# ---- how the facts are gathered


def test_our_own_secrets_are_strong() -> None:
    made = make_secrets()
    assert weakness(made.secret_key, least=40) == weakness(made.encryption_key, least=40) == ""
    assert weakness(made.web, least=16, other_than="studio_web") == ""


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "is empty"),
        ("Studio_Web", "is the user's name"),
        ("my-PASSWORD-9f8a7b6c5d4e", "is a well-known one"),
        ("k7Q2zR9tLw4xVb1", "has fewer than 16 characters"),
        ("abababababababababab", "repeats a few characters"),
        (PASSWORD, ""),
    ],
)
def test_what_is_weak(secret: str, reason: str) -> None:
    assert weakness(secret, least=16, other_than="studio_web") == reason


def test_files_with_secrets_are_found(folder: Path) -> None:
    secrets = folder / "etc" / "qwenstudio" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "redis").touch()
    (folder / "named").touch()
    var = folder / "var"
    var.mkdir()
    (var / "secrets.json").touch()
    environment = {"SECRET_KEY_FILE": str(folder / "named"), "REDIS_URL_FILE": "/gone", "STUDIO_ROOT": str(folder)}
    found = find_secret_files(environment, var=var)
    assert found == [folder / "named", secrets / "redis", var / "secrets.json"]


def test_a_folder_on_the_way_closes_what_is_behind_it(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "file").touch()
    (inner / "file").chmod(0o604)
    inner.chmod(0o711)
    assert "mode 0604" in openness(inner / "file")
    inner.chmod(0o710)
    assert openness(inner / "file") == ""
    assert openness(inner / "absent") == ""


# ---- at the start, in check --deploy, in doctor


def start(*line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    foreign = ("DATABASE_", "REDIS_", "STUDIO_", "SECRET_KEY", "DJANGO_", "EMAIL_", "HF_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return subprocess.run(
        [sys.executable, *line], cwd=ROOT, env=clean | environment, capture_output=True, text=True, timeout=120
    )


SERVERS = (["manage.py", "errandworker"], ["manage.py", "ticker"], ["manage.py", "gpuworker"])
PAGES = ["-c", "import qwenstudio.asgi; print('up')"]
NOWHERE = {
    "DATABASE_URL": f"postgresql://studio_web:{PASSWORD}@127.0.0.1:1/studio",
    "DATABASE_WORKER_URL": f"postgresql://studio_worker:{PASSWORD}@127.0.0.1:1/studio",
    "DATABASE_OWNER_URL": f"postgresql://studio_owner:{PASSWORD}@127.0.0.1:1/studio",
    "REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:1/0",
    "SECRET_KEY": STRONG,
    "STUDIO_ENCRYPTION_KEYS": STRONG,
}


@pytest.mark.parametrize("line", [*SERVERS, PAGES])
def test_every_process_that_serves_refuses(line: list[str], tmp_path: Path) -> None:
    weak = {
        **NOWHERE,
        "STUDIO_URL": "https://studio.example.org",
        "SECRET_KEY": "changeme",
        "STUDIO_VAR": str(tmp_path),
    }
    refused = start(*line, **weak)
    assert refused.returncode == (1 if line == PAGES else 3)
    assert "studio.E102: SECRET_KEY is a well-known one." in refused.stderr
    assert ("studio.E115" in refused.stderr) == (line == PAGES), "only pages need to know their proxies"
    assert PASSWORD not in refused.stderr
    if line != PAGES:
        assert "Traceback" not in refused.stderr


def test_pages_start_in_production_and_on_a_laptop(tmp_path: Path) -> None:
    good = {**NOWHERE, "STUDIO_VAR": str(tmp_path), "STUDIO_TRUSTED_PROXIES": "127.0.0.1"}
    production = start(*PAGES, **good, STUDIO_URL="https://studio.example.org")
    assert (production.returncode, production.stdout) == (0, "up\n"), production.stderr
    assert "studio.W117" in production.stderr, "a warning stops nothing"
    weak = {**NOWHERE, "STUDIO_VAR": str(tmp_path), "SECRET_KEY": "x", "DEBUG": "True"}
    for url, word in (("http://127.0.0.1:8000", ""), ("https://tunnel.example.org", "False")):
        laptop = start(*PAGES, **weak, STUDIO_URL=url, **({"STUDIO_PRODUCTION": word} if word else {}))
        assert (laptop.returncode, laptop.stdout) == (0, "up\n"), laptop.stderr
        assert "studio.E" not in laptop.stderr
    server = start(*PAGES, **good, STUDIO_URL="http://studio.example.org", STUDIO_PRODUCTION="True")
    assert server.returncode == 1
    assert "studio.E114: STUDIO_URL is http://studio.example.org." in server.stderr


def test_check_deploy_finds_everything_at_once(folder: Path) -> None:
    (folder / "media").mkdir()
    (folder / "media").chmod(0o755)
    (folder / "redis").write_text("redis://:redis@127.0.0.1:1/0")
    (folder / "redis").chmod(0o644)
    found = start(
        "manage.py", "check", "--deploy", DEBUG="True", SECRET_KEY="changeme", ALLOWED_HOSTS="*", HF_HUB_OFFLINE="0",
        DATABASE_URL="postgresql://studio_web:studio_web@127.0.0.1:1/x", REDIS_URL_FILE=str(folder / "redis"),
        STUDIO_MEDIA=str(folder / "media"), STUDIO_VAR=str(folder / "var"), STUDIO_TRUSTED_PROXIES="::/0",
    )  # fmt: skip
    assert found.returncode == 1
    named = {rule.id for rule in RULES if f"({rule.id})" in found.stderr}
    # Nobody answers who could be asked; what has no password has no weak one; there is a proxy.
    absent = {"studio.E105", "studio.E106", "studio.E108", "studio.E109", "studio.E115"}
    assert named == {rule.id for rule in RULES} - absent, found.stderr


def test_the_tests_own_studio_breaks_only_what_it_is(settings: Settings, db: None) -> None:
    settings.STUDIO_URL, settings.CSRF_TRUSTED_ORIGINS = "https://studio.example.org", ["https://studio.example.org"]
    settings.STUDIO_TRUSTED_PROXIES = [HERE]
    settings.EMAIL_BACKEND = "qwenstudio.outbox.Outbox"  # pytest-django has put its own in its place
    assert {message.id for message in run_checks(tags=["security"], include_deployment_checks=True)} >= {"studio.W117"}
    assert ids(gather(), asking=True) == ["studio.W117"]
    settings.PRODUCTION = True
    refuse_at_start()
    settings.ALLOWED_HOSTS = ["*"]
    with pytest.raises(ImproperlyConfigured, match=r"studio\.E110: ALLOWED_HOSTS holds \*"):
        refuse_at_start()
    settings.PROCESS = "worker"
    refuse_at_start()


def test_doctor_shows_the_guard_in_production(settings: Settings, db: None) -> None:
    (quiet,) = CHECKS["guard"].find()
    assert (quiet.level, quiet.name) == ("ok", "guard")
    settings.PRODUCTION, settings.HF_HUB_OFFLINE = True, False
    settings.EMAIL_BACKEND = "qwenstudio.outbox.Outbox"
    found = {finding.name: finding for finding in CHECKS["guard"].find()}
    assert found["studio.E113"].level == "fail" and "HF_HUB_OFFLINE" in found["studio.E113"].remedy
    assert found["studio.W117"].level == "warn"


def test_the_page_has_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run python -m tests.guardtable"
    for rule in RULES:
        assert f"| `{rule.id}` | {rule.refuses} | {rule.cure} |" in page

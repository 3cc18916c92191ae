"""E-mails: errands that are rendered in the reader's language and hold nothing readable while they wait."""

from __future__ import annotations

from email import message_from_bytes, policy
from pathlib import Path

import pytest
from django.core import mail as django_mail
from django.test import override_settings

from accounts.domain.errands import claim_errand, run_errand
from accounts.domain.mail import queue_mail, render_mail
from accounts.domain.sealed import Unreadable, seal, unseal
from accounts.models import Errand
from accounts.tenancy import across_tenants
from qwenstudio.env import EnvError
from qwenstudio.mail import email_settings

TEXT = "{% load i18n %}{% translate 'Keys' %}\n for {{ who }}\n\nOpen {{ studio_url }}{{ path }}"
LOADER = ("django.template.loaders.locmem.Loader", {"mail/greeting.txt": TEXT})
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": [LOADER]}},
]
GREETING = {"who": "Alice", "path": "/join/secret-token/"}


@override_settings(TEMPLATES=TEMPLATES, EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend")
def test_a_mail_waits_unreadable_and_is_sent_in_its_language(db: None) -> None:
    queue_mail("greeting", to="alice@example.com", language="zh-hans", context=GREETING)
    with across_tenants():
        stored = Errand.objects.get()
    assert "secret-token" not in str(stored.data) and "alice" not in str(stored.data)
    claimed = claim_errand("test")
    assert claimed is not None
    assert run_errand(claimed) == "done"
    (sent,) = django_mail.outbox
    assert sent.to == ["alice@example.com"]
    assert sent.subject == "密钥"
    assert sent.body == "for Alice\n\nOpen http://127.0.0.1:8000/join/secret-token/\n"
    assert sent.extra_headers["Message-ID"].startswith(f"<{claimed.id}@")


@override_settings(TEMPLATES=TEMPLATES)
def test_without_a_server_a_mail_is_a_private_file(db: None, tmp_path: Path) -> None:
    with override_settings(**email_settings("", outbox=tmp_path / "mail")):
        queue_mail("greeting", to="alice@example.com", context=GREETING)
        claimed = claim_errand("test")
        assert claimed is not None and run_errand(claimed) == "done"
    (file,) = (tmp_path / "mail").iterdir()
    assert file.stat().st_mode & 0o077 == 0 and (tmp_path / "mail").stat().st_mode & 0o077 == 0
    message = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert message["To"] == "alice@example.com"
    assert "/join/secret-token/" in message.get_content()


@override_settings(TEMPLATES=TEMPLATES)
def test_a_subject_cannot_bring_a_header() -> None:
    subject, body = render_mail("greeting", language="en", context={"who": "x\nBcc: eve@example.com", "path": ""})
    assert subject == "Keys"
    assert body.startswith("for x\nBcc: eve@example.com")


def test_keys_rotate() -> None:
    with override_settings(STUDIO_ENCRYPTION_KEYS=["old"]):
        sealed = seal({"a": 1})
    with override_settings(STUDIO_ENCRYPTION_KEYS=["new", "old"]):
        assert unseal(sealed) == {"a": 1}
    with override_settings(STUDIO_ENCRYPTION_KEYS=["new"]), pytest.raises(Unreadable):
        unseal(sealed)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://me:p%40ss@mail.example.com", ("mail.example.com", 587, "p@ss", True, False)),
        ("smtps://me@mail.example.com:4650", ("mail.example.com", 4650, "", False, True)),
        ("smtp+plain://localhost", ("localhost", 25, "", False, False)),
    ],
)
def test_mail_servers(url: str, expected: tuple[object, ...], tmp_path: Path) -> None:
    found = email_settings(url, outbox=tmp_path)
    names = ("EMAIL_HOST", "EMAIL_PORT", "EMAIL_HOST_PASSWORD", "EMAIL_USE_TLS", "EMAIL_USE_SSL")
    assert tuple(found[name] for name in names) == expected


@pytest.mark.parametrize("url", ["mail.example.com", "http://x", "smtp://", "folder://relative", "smtp://h:port"])
def test_bad_addresses_of_servers_are_named_without_their_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="EMAIL_URL"):
        email_settings(url, outbox=tmp_path)

"""A new key of the studio: everything is sealed anew, and the old key may go."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.core.management import call_command
from django.test import override_settings

from accounts.domain import reseal as reseal_module
from accounts.domain.errands import claim_errand, run_errand
from accounts.domain.factors import spend_code
from accounts.domain.mail import queue_mail
from accounts.domain.reseal import reseal_everything
from accounts.domain.sealed import Unreadable, reseal, seal, unseal
from accounts.models import Errand
from accounts.tenancy import across_tenants
from tests.accounts.people import add_factor, code_now
from tests.factories import Person
from tests.generation.domain.conftest import as_worker  # noqa: F401  (a fixture)
from tests.mails import waiting_mails

AsWorker = Callable[[], AbstractContextManager[None]]
OLD, BOTH, NEW = (override_settings(STUDIO_ENCRYPTION_KEYS=keys) for keys in (["old"], ["new", "old"], ["new"]))
ROWS = 5


def fill(alice: Person) -> list[str]:
    """Mails of a tenant and of nobody, one that has failed, an app and recovery codes: all under the old key."""
    for number in range(ROWS):
        queue_mail("password_changed", to=f"{number}@example.com", context={"when": "", "address": "", "browser": ""})
    with across_tenants():
        queue_mail("key_leaked", to=alice.user.email, context={"name": "k"}, tenant=alice.tenant.pk)
        Errand.objects.filter(tenant=alice.tenant).update(failed_at="2026-01-01T00:00Z", attempt=8, fence=3)
    add_factor(alice.user)
    return RecoveryCodes.activate(alice.user).get_unused_codes()


def test_after_it_the_old_key_may_go(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reseal_module, "BATCH", 2)
    with OLD:
        codes = fill(alice)
        before = waiting_mails()
    with BOTH:
        found = reseal_everything()
        assert (found["mails"].seen, found["mails"].resealed) == (ROWS + 1, ROWS + 1)
        assert (found["factors"].seen, found["factors"].resealed) == (2, 2)
        with across_tenants():
            row = Errand.objects.get(tenant=alice.tenant)
        assert (row.attempt, row.fence, row.data["name"]) == (8, 3, "key_leaked"), "nothing else of it was touched"
    with NEW:
        assert waiting_mails() == before
        assert spend_code(user=alice.user.pk, code=code_now()) is not None
        assert spend_code(user=alice.user.pk, code=codes[3]) is not None
        assert spend_code(user=alice.user.pk, code=codes[3]) is None


def test_again_it_finds_nothing_to_do(alice: Person, as_worker: AsWorker) -> None:  # noqa: F811
    with OLD:
        fill(alice)
    with BOTH, as_worker():
        assert sum(kind.resealed for kind in reseal_everything().values()) == ROWS + 3
        data = list(Authenticator.objects.order_by("pk").values_list("data", flat=True))
        again = reseal_everything()
        assert {kind.resealed for kind in again.values()} == {0}
        assert list(Authenticator.objects.order_by("pk").values_list("data", flat=True)) == data


def test_what_no_key_opens_stays_and_is_counted(alice: Person, capsys: pytest.CaptureFixture[str]) -> None:
    with override_settings(STUDIO_ENCRYPTION_KEYS=["lost"]):
        add_factor(alice.user)
        (lost,) = Authenticator.objects.values_list("data", flat=True)
    with OLD:
        queue_mail("password_changed", to="x@example.com", context={"when": "", "address": "", "browser": ""})
    out = io.StringIO()
    with BOTH, pytest.raises(SystemExit) as ended:
        call_command("reencrypt", stdout=out)
    assert ended.value.code == 1
    said: dict[str, Any] = json.loads(out.getvalue())
    assert said["factors"] == {"seen": 1, "resealed": 0, "unreadable": 1}
    assert said["mails"] == {"seen": 1, "resealed": 1, "unreadable": 0}
    assert list(Authenticator.objects.values_list("data", flat=True)) == [lost]


def test_a_mail_that_is_being_sent_meanwhile_is_sent(alice: Person) -> None:
    with OLD:
        queue_mail("password_changed", to="x@example.com", context={"when": "", "address": "", "browser": ""})
        claimed = claim_errand("test")
    with BOTH:
        assert claimed is not None and reseal_everything()["mails"].resealed == 1
        assert run_errand(claimed) == "done", "what it holds of the row was sealed with a key that still opens"
    with across_tenants():
        assert not Errand.objects.exists()


def test_one_value() -> None:
    with OLD:
        old = seal({"a": 1})
    with BOTH:
        new = reseal(old)
        assert new != old and reseal(new) == new
    with NEW:
        assert unseal(new) == {"a": 1}
        with pytest.raises(Unreadable):
            reseal(old)

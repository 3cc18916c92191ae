"""A sweep whose session ends goes no further: the ticker's lock ended with it, and another ticker sweeps by now."""

from __future__ import annotations

import select
from unittest.mock import Mock

import pytest
from django.db import InternalError, connection, transaction

from accounts.domain.sql import execute, fetch_one
from generation.domain import sweep as module
from generation.domain.sweep import sweep


def be_frozen_in_a_transaction() -> None:
    """What a process finds that was stopped in the middle of a part."""
    with transaction.atomic():
        execute("SET LOCAL idle_in_transaction_session_timeout = '1ms'")
        assert select.select([connection.connection.fileno()], [], [], 10)[0]  # the session's end is told
        fetch_one("SELECT 1 AS one")


@pytest.mark.usefixtures("worker")
def test_a_session_that_ended_ends_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    later = Mock()
    monkeypatch.setattr(module, "forget_failures", be_frozen_in_a_transaction)
    monkeypatch.setattr(module, "settle_lost_calls", later)
    with pytest.raises(InternalError):
        sweep()
    assert not later.called
    monkeypatch.undo()
    assert sweep().errors == []

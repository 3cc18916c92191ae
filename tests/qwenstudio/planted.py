"""The front with a fault in it: `PLANT` names one. The tests of many at once must find it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from qwenstudio.asgi import front  # noqa: F401  (what the server loads; it sets Django up, which the imports below need)

from accounts import tenancy  # isort: skip
from accounts.domain import quotas  # isort: skip
from django.db import transaction  # isort: skip
from django.db.backends.signals import connection_created  # isort: skip
from generation.domain import submit  # isort: skip
from qwenstudio.door import callers  # isort: skip


def look_before_leaping() -> None:
    """The quota is checked, and then charged by another statement: the classic."""
    real = quotas.fetch_all

    def fetch_all(sql: str, **values: Any) -> Any:
        if sql is not quotas._RESERVE_SQL:
            return real(sql, **values)
        with transaction.atomic():
            found = real(sql, **values)
            transaction.set_rollback(True)  # only looked
        if not all(row["fits"] for row in found):
            return found
        return real(sql, **{**values, "ceilings": [None] * len(values["ceilings"])})

    quotas.fetch_all = fetch_all  # type: ignore[assignment]


def forget_the_key() -> None:
    """An `Idempotency-Key` is looked up and never taken, so two that arrive together both go on."""
    submit.take_key = lambda *args, **values: None  # type: ignore[assignment]


def leak_the_scope() -> None:
    """A connection out of the pool keeps the scope of its last borrower."""

    def check_out(*, connection: Any, **_: object) -> None:
        with connection.connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('app.tenant', true)")
            if not cursor.fetchone()[0]:
                tenancy.write_scope(connection)

    tenancy._write_if_connected = lambda: None
    connection_created.disconnect(dispatch_uid="accounts.tenancy")
    connection_created.connect(check_out, weak=False)


def mistake_one_caller_for_another() -> None:
    """The door remembers callers, but not whose they are."""
    real = callers.Callers.find
    kept: list[Any] = []

    async def find(self: Any, credential: Any) -> Any:
        if not kept or len(kept) % 7:
            kept.append(await real(self, credential))
        else:
            kept.append(kept[-1])
        return kept[-1]

    callers.Callers.find = find  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (look_before_leaping, forget_the_key, leak_the_scope, mistake_one_caller_for_another)
}
if name := os.environ.get("PLANT"):
    PLANTS[name]()

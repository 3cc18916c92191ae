"""Calls of /api/v1/keys that its tests have in common, and looks behind them."""

from __future__ import annotations

from typing import Any

from django.test import Client

from accounts.models import ApiKey, AuditEvent
from accounts.tenancy import in_tenant
from tests.factories import Person, make_key

KEYS = "/api/v1/keys"
LEAKED = f"{KEYS}/leaked"
WIDE = ("images:read", "images:write", "usage:read", "keys:write")


def using(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})


def post(client: Client, path: str, body: Any = None, **more: Any) -> Any:
    return client.post(path, {} if body is None else body, content_type="application/json", **more)


def patch(client: Client, key: ApiKey | str, body: Any) -> Any:
    return client.patch(f"{KEYS}/{getattr(key, 'pk', key)}", body, content_type="application/json")


def works(secret: str) -> bool:
    return bool(using(secret).get("/api/v1/me").status_code == 200)


def reread(person: Person, key: ApiKey | str) -> ApiKey:
    with in_tenant(person.tenant.pk):
        return ApiKey.objects.get(pk=getattr(key, "pk", key))


def actions(person: Person) -> list[str]:
    with in_tenant(person.tenant.pk):
        return list(AuditEvent.objects.order_by("created_at", "id").values_list("action", flat=True))


def manager_key(person: Person, *scopes: str, **fields: Any) -> tuple[ApiKey, Client]:
    """A key that may manage keys, and a client with it."""
    key, secret = make_key(person.tenant, person.user, scopes=scopes or WIDE, **fields)
    return key, using(secret)

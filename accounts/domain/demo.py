"""The demo's tenant, its people and its key; their secrets are random and stand in `$STUDIO_VAR/demo.env` only."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction

from accounts.domain.callers import caller_of_member
from accounts.domain.keys import hash_secret, make_key, revoke_key
from accounts.domain.members import first_tenant_of
from accounts.domain.signin import make_sign_in_link
from accounts.domain.tenants import create_tenant
from accounts.enums import Scope
from accounts.models import ApiKey, KeyDirectory, User
from accounts.tenancy import in_tenant

OWNER_EMAIL = "demo@example.com"
STAFF_EMAIL = "staff@example.com"
TENANT_NAME = "Demo"
KEY_NAME = "demo.env"
KEY_SCOPES = (Scope.IMAGES_READ, Scope.IMAGES_WRITE, Scope.CHAT, Scope.SENTIMENT, Scope.USAGE_READ)
"""What this release has routes for."""
LINK_LIFETIME = timedelta(hours=12)  # it stands in a terminal that its owner may look at later


@dataclass(frozen=True, slots=True)
class Demo:
    """What one start of the demo tells its owner."""

    studio_link: str
    admin_link: str


def demo_exists() -> bool:
    """Whether a start before this one has made the demo."""
    return User.objects.filter(email=OWNER_EMAIL).exists()


def create_demo() -> Demo:
    """Make what is missing of the demo, write `demo.env`, and give fresh one-time links. May run at every start.

    Secrets that `demo.env` holds stay as long as they are good; a lost or stale file is answered with new ones.
    """
    file = settings.STUDIO_VAR / "demo.env"
    known = _read_env(file)
    with transaction.atomic():
        owner, password = _person(OWNER_EMAIL, known.get("STUDIO_PASSWORD"), staff=False)
        staff, staff_password = _person(STAFF_EMAIL, known.get("STUDIO_ADMIN_PASSWORD"), staff=True)
        if first_tenant_of(owner.pk) is None:
            create_tenant(name=TENANT_NAME, owner=owner)
        secret = _key(owner, known.get("STUDIO_API_KEY"))
        _write_env(
            file,
            {
                "STUDIO_URL": settings.STUDIO_URL,
                "STUDIO_EMAIL": OWNER_EMAIL,
                "STUDIO_PASSWORD": password,
                "STUDIO_ADMIN_EMAIL": STAFF_EMAIL,
                "STUDIO_ADMIN_PASSWORD": staff_password,
                "STUDIO_API_KEY": secret,
            },
        )
        return Demo(
            studio_link=make_sign_in_link(owner, "/studio/", lifetime=LINK_LIFETIME),
            admin_link=make_sign_in_link(staff, "/admin/now/", lifetime=LINK_LIFETIME),
        )


def _person(email: str, password: str | None, *, staff: bool) -> tuple[User, str]:
    """The person with this address and a password that is good; the given one where it still is."""
    user = User.objects.filter(email=email).first()
    if user is not None and password and user.check_password(password):
        return user, password
    password = secrets.token_urlsafe(15)
    if user is None:
        maker = User.objects.create_superuser if staff else User.objects.create_user
        return maker(email, password), password
    user.set_password(password)
    user.save(update_fields=["password"])
    return user, password


def _key(owner: User, secret: str | None) -> str:
    """The key of `demo.env`, as long as it is good; otherwise a new one, and the old one ends."""
    tenant = first_tenant_of(owner.pk)
    if tenant is None:
        raise LookupError(f"{owner} belongs to no tenant")
    caller = caller_of_member(user_id=owner.pk, tenant_id=tenant)
    with in_tenant(tenant):
        if secret and KeyDirectory.objects.filter(sha256=hash_secret(secret), tenant_id=tenant).exists():
            return secret
        for key in ApiKey.objects.filter(name=KEY_NAME, revoked_at=None):
            revoke_key(by=caller, key_id=key.pk)
        return make_key(by=caller, name=KEY_NAME, scopes=[scope.value for scope in KEY_SCOPES])[1]


def _read_env(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    pairs = (line.partition("=") for line in file.read_text(encoding="utf-8").splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _write_env(file: Path, values: Mapping[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file with mode 0600: at no moment can others read it.
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".demo.env-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.writelines(f"{key}={value}\n" for key, value in values.items())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

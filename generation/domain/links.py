"""Links to one picture that work without a credential, for an hour: `/files/<image>?token=…`.

The token is signed and names tenant and picture, so it opens this picture and no other; it opens nothing that the
tenant itself could not see any more (a deleted picture, a suspended tenant, an address outside of its networks).
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.core import signing

LINK_S = 3600
_SALT = "studio.image-link"


def make_link(*, tenant: UUID, image: UUID) -> str:
    """The address of a picture, good for `LINK_S` seconds from now."""
    token = signing.dumps([tenant.hex, image.hex], salt=_SALT)
    return f"{settings.STUDIO_URL}/files/{image}?token={token}"


def tenant_of_link(token: str, *, image: UUID) -> UUID | None:
    """The tenant whose picture a token opens; None where it is forged, garbled, too old or another picture's."""
    try:
        tenant, found = signing.loads(token, salt=_SALT, max_age=LINK_S)
        return UUID(hex=tenant) if UUID(hex=found) == image else None
    except (signing.BadSignature, AttributeError, TypeError, ValueError):
        return None

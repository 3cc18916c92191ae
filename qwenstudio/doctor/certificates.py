"""The certificate of HTTPS: how long it lasts, and whether it is for our name (`proxy/certificates.py` judges)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from django.conf import settings

from qwenstudio.doctor.finding import Finding
from qwenstudio.proxy import ProxyError
from qwenstudio.proxy.certificates import RENEW, find_certificate
from qwenstudio.units.layout import Layout


def check_certificates() -> Iterator[Finding]:
    """The one that browsers get, or the file that somebody has named."""
    try:
        found = find_certificate(Layout.here())
    except ProxyError as error:
        named = settings.STUDIO_CERTIFICATE is not None
        yield Finding("fail", "certificate", str(error), RENEW if named else "systemctl status nginx; nginx -t")
        return
    if found is not None:
        where, certificate = found
        level, text, remedy = certificate.judge(urlsplit(settings.STUDIO_URL).hostname or "")
        yield Finding(level, "certificate", f"{where}: {text}", remedy)
    elif settings.PRODUCTION:
        text = "nginx has no site of the studio here, and STUDIO_CERTIFICATE is not set"
        remedy = "studio proxy write; where something else speaks TLS for it: STUDIO_CERTIFICATE=its file"
        yield Finding("warn", "certificate", text, remedy)

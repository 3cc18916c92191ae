"""What this machine knows without PostgreSQL: whether Valkey answers, the certificate's last day, room on the disks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from cryptography import x509
from django.conf import settings
from prometheus_client.core import GaugeMetricFamily, Metric

from qwenstudio.health import check_redis


def read_machine() -> Iterator[Metric]:
    """Each family is there only where there is something to say."""
    yield from _valkey()
    yield from _disks()
    yield from _certificate()


def _valkey() -> Iterator[Metric]:
    if settings.REDIS_URL:
        up = GaugeMetricFamily("studio_valkey_up", "1 where Valkey (or Redis) answers.")
        up.add_metric((), 0 if check_redis() else 1)
        yield up


def _disks() -> Iterator[Metric]:
    free = GaugeMetricFamily(
        "studio_disk_free_bytes", "Room that is left for the studio's own user.", labels=("place",)
    )
    size = GaugeMetricFamily("studio_disk_bytes", "Size of the disk.", labels=("place",))
    for place, path in (("media", settings.STUDIO_MEDIA), ("var", settings.STUDIO_VAR)):
        try:
            found = shutil.disk_usage(path)
        except OSError:  # not made yet
            continue
        free.add_metric((place,), found.free)
        size.add_metric((place,), found.total)
    yield free
    yield size


def _certificate() -> Iterator[Metric]:
    if settings.STUDIO_CERTIFICATE is None:
        return
    readable = GaugeMetricFamily("studio_certificate_readable", "1 where STUDIO_CERTIFICATE can be read.")
    expiry = GaugeMetricFamily(
        "studio_certificate_expiry_timestamp_seconds", "When the certificate of STUDIO_CERTIFICATE ends, in Unix time."
    )
    try:
        certificate = x509.load_pem_x509_certificate(settings.STUDIO_CERTIFICATE.read_bytes())
    except (OSError, ValueError):
        readable.add_metric((), 0)
    else:
        readable.add_metric((), 1)
        expiry.add_metric((), certificate.not_valid_after_utc.timestamp())
    yield readable
    yield expiry

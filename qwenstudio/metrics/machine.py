"""What this machine knows without PostgreSQL: Valkey, room on disks, the certificate's last day, the last backup."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime

from django.conf import settings
from prometheus_client.core import GaugeMetricFamily, Metric

from qwenstudio.backup.outcome import read_outcome
from qwenstudio.health import check_redis
from qwenstudio.proxy import ProxyError
from qwenstudio.proxy.certificates import find_certificate
from qwenstudio.units.layout import Layout

CERTIFICATE_S = 1.0  # nginx on this machine answers in milliseconds


def read_machine() -> Iterator[Metric]:
    """Each family is there only where there is something to say."""
    yield from _valkey()
    yield from _disks()
    yield from _certificate()
    yield from _backup()


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
    readable = GaugeMetricFamily("studio_certificate_readable", "1 where the certificate of HTTPS can be read.")
    expiry = GaugeMetricFamily(
        "studio_certificate_expiry_timestamp_seconds", "When the certificate of HTTPS ends, in Unix time."
    )
    try:
        found = find_certificate(Layout.here(), timeout_s=CERTIFICATE_S)
    except ProxyError:
        readable.add_metric((), 0)
    else:
        if found is None:
            return
        readable.add_metric((), 1)
        expiry.add_metric((), found[1].until.timestamp())
    yield readable
    yield expiry


def _backup() -> Iterator[Metric]:
    """By the note that backups leave: their folder is for root alone."""
    found = read_outcome(settings.STUDIO_VAR, backups=Layout.here().backups)
    made = GaugeMetricFamily(
        "studio_backup_last_success_timestamp_seconds", "When the last whole backup was made, in Unix time."
    )
    size = GaugeMetricFamily("studio_backup_size_bytes", "What a restore of the last whole backup would read.")
    failed = GaugeMetricFamily("studio_backup_failed", "1 where the last try to make one failed.")
    verified = GaugeMetricFamily(
        "studio_backup_last_verified_timestamp_seconds",
        "When all of it was last read back and found whole, in Unix time.",
    )
    if found.succeeded_at:
        made.add_metric((), datetime.fromisoformat(found.succeeded_at).timestamp())
        size.add_metric((), found.bytes)
    if found.tried_at:
        failed.add_metric((), bool(found.error))
    if found.verified_at:
        verified.add_metric((), datetime.fromisoformat(found.verified_at).timestamp())
    yield from (made, size, failed, verified)

"""Amounts and the names of limits, as people read them."""

from __future__ import annotations

from django.utils.formats import number_format
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.domain.stored import format_bytes

LIMIT_NAMES = {
    "images_per_day": _("images a day"),
    "images_per_month": _("images a month"),
    "gpu_ms_per_day": _("GPU time a day"),
    "gpu_ms_per_month": _("GPU time a month"),
    "tokens_per_day": _("chat tokens a day"),
    "tokens_per_month": _("chat tokens a month"),
    "storage_bytes": _("storage"),
}


def say_amount(value: int, metric: str) -> str:
    """ "12", "3.5 min", "4.2 GB": in the page's language."""
    if metric == "bytes":
        return format_bytes(value)
    if metric != "gpu_ms":
        return str(number_format(value, force_grouping=True))
    if abs(value) < 60_000:
        return _now("%(n)s s") % {"n": _say_share(value, 1000)}
    if abs(value) < 3_600_000:
        return _now("%(n)s min") % {"n": _say_share(value, 60_000)}
    return _now("%(n)s h") % {"n": _say_share(value, 3_600_000)}


def _say_share(value: int, unit: int) -> str:
    return str(number_format(value / unit, 1 if value % unit else 0, force_grouping=True))


def say_limit(name: str) -> str:
    """The name of a limit; of a budget's and a key's without whose it is."""
    bare = name.removeprefix("member_").removeprefix("key_")
    return str(LIMIT_NAMES.get(bare, bare))


def metric_of(limit: str) -> str:
    """What a limit bounds: `images`, `gpu_ms`, `tokens` or `bytes`."""
    bare = limit.removeprefix("member_").removeprefix("key_")
    return "bytes" if bare == "storage_bytes" else bare.partition("_per_")[0]

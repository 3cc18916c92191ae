"""Amounts and limits in templates: `{{ value|amount:"gpu_ms" }}`, `{{ limit|limit_title }}`."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from accounts.domain.amounts import metric_of, say_amount, say_limit

register = template.Library()


@register.filter
def amount(value: int, metric: str) -> str:
    """An amount of a metric with its unit."""
    return say_amount(int(value), metric)


@register.filter
def limit_title(name: str) -> str:
    """What a limit is called."""
    return say_limit(name)


@register.filter
def amount_of(value: int, limit: str) -> str:
    """The value of a limit with the unit of what it bounds."""
    return say_amount(int(value), metric_of(limit))


@register.filter
def age(moment: datetime) -> str:
    """How long ago, in one unit: "3 days", but never "0 minutes"."""
    words = timesince(moment, depth=1)
    return _("less than a minute") if words.startswith("0") else words

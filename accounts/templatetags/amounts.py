"""Amounts and limits in templates: `{{ value|amount:"gpu_ms" }}`, `{{ limit|limit_title }}`."""

from __future__ import annotations

from django import template

from accounts.domain.amounts import say_amount, say_limit

register = template.Library()


@register.filter
def amount(value: int, metric: str) -> str:
    """An amount of a metric with its unit."""
    return say_amount(int(value), metric)


@register.filter
def limit_title(name: str) -> str:
    """What a limit is called."""
    return say_limit(name)

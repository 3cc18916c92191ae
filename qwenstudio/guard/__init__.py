"""Refuses to serve others with settings that are for one's own machine; see `rules.py`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured

from qwenstudio.guard.facts import Facts, gather
from qwenstudio.guard.rules import RULES, Rule

logger = logging.getLogger(__name__)

WAY_OUT = (
    "All rules: docs/operations.md. A studio that nobody else can reach is no production: STUDIO_PRODUCTION=False."
)


class UnsafeSettings(ImproperlyConfigured):
    """The settings are not fit for production; the text names every broken rule and its cure."""


def find_faults(facts: Facts, *, asking: bool, pages: bool = True) -> Iterator[tuple[Rule, str]]:
    """Each fault with its rule, in the table's order. `asking`: servers too, which may take some seconds."""
    for rule in RULES:
        if (asking or not rule.asks) and (pages or not rule.pages):
            for sentence in rule.find(facts):
                yield rule, sentence


def refuse_at_start() -> None:
    """For each process that serves, before it does: in production, raise `UnsafeSettings` with every fault."""
    if not settings.PRODUCTION:
        return
    faults = list(find_faults(gather(), asking=False, pages=settings.PROCESS in ("web", "stream")))
    for rule, sentence in faults:
        if rule.level == "warning":
            logger.warning("%s: %s %s", rule.id, sentence, rule.cure)
    errors = [f"{rule.id}: {sentence} {rule.cure}" for rule, sentence in faults if rule.level == "error"]
    if errors:
        head = "This studio is in production (STUDIO_URL is https, or STUDIO_PRODUCTION=True) and does not start:"
        raise UnsafeSettings("\n".join([head, *errors, WAY_OUT]))


@register(Tags.security, deploy=True)
def check_guard(**_: Any) -> list[CheckMessage]:
    """`manage.py check --deploy`: every rule, whatever the settings call themselves."""
    kinds = {"error": Error, "warning": Warning}
    return [
        kinds[rule.level](sentence, hint=rule.cure, id=rule.id) for rule, sentence in find_faults(gather(), asking=True)
    ]


def print_table() -> str:
    """The rules as the table of `docs/operations.md`; `python -m tests.guardtable` writes it there."""
    rows = [
        f"| `{rule.id}` | {rule.refuses} | {rule.cure} | {'check, doctor' if rule.asks else 'check, doctor, start'} |"
        for rule in RULES
    ]
    return "\n".join(["| id | refuses | cure | asked by |", "|---|---|---|---|", *rows])

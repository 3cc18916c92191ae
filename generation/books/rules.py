"""A tenant's rules for answers: words and patterns that its admins make, and that every answer is looked through for.

Whoever writes holds the tenant's row, so that the rules are compiled together one after the other: what cannot be
applied as a whole is refused here, not found in the middle of an answer. The door reads them anew every two seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.roles import Right
from accounts.errors import InvalidField, NotFound
from accounts.models import Tenant
from generation.chat.deltas import Delta
from generation.chat.filters.answer import AnswerFilter
from generation.chat.filters.rules import MAX_RULES, Rule, compile_rules, pick_rules
from generation.enums import RuleAction, RuleKind
from generation.models import PromptRule

TEXT_CHARS = 200
TRIED_CHARS = 4000


@dataclass(frozen=True, slots=True)
class Trial:
    """What the rules make of a text: what would be shown, whether that is another text, whether a rule ends it."""

    shown: str
    changed: bool
    stopped: bool


def list_rules(*, by: Caller) -> list[PromptRule]:
    """The tenant's, oldest first. Raises `NotAllowed`: the words themselves are not for everybody."""
    by.require(Right.MANAGE_RULES)
    return list(PromptRule.objects.all())


def get_rule(*, by: Caller, rule_id: UUID) -> PromptRule:
    """One of them. Raises `NotAllowed`, `NotFound`."""
    by.require(Right.MANAGE_RULES)
    found: PromptRule | None = PromptRule.objects.filter(pk=rule_id).first()
    if found is None:
        raise NotFound("no such rule")
    return found


def make_rule(
    *,
    by: Caller,
    text: str,
    kind: str = RuleKind.WORD.value,
    action: str = RuleAction.REDACT.value,
    enabled: bool = True,
) -> PromptRule:
    """A further one. Raises `NotAllowed`, `InvalidField`."""
    by.require(Right.MANAGE_RULES)
    with transaction.atomic():
        _take_turn(by)
        row = PromptRule(tenant_id=by.tenant, kind=kind, action=action, text=text, enabled=enabled)
        check_rule(row)
        row.save(force_insert=True)
        record("rule.made", target=f"rule:{row.pk}", detail={"name": row.text})
    return row


def change_rule(
    *,
    by: Caller,
    rule_id: UUID,
    text: str | None = None,
    kind: str | None = None,
    action: str | None = None,
    enabled: bool | None = None,
) -> PromptRule:
    """Change what is given. Raises `NotAllowed`, `NotFound`, `InvalidField`."""
    by.require(Right.MANAGE_RULES)
    with transaction.atomic():
        _take_turn(by)
        row = get_rule(by=by, rule_id=rule_id)
        wanted = {"text": text, "kind": kind, "action": action, "enabled": enabled}
        changed = {name: value for name, value in wanted.items() if value not in (None, getattr(row, name))}
        for name, value in changed.items():
            setattr(row, name, value)
        if changed:
            check_rule(row)
            row.save(update_fields=[*changed, "updated_at"])
            record("rule.changed", target=f"rule:{row.pk}", detail={"name": row.text})
    return row


def delete_rule(*, by: Caller, rule_id: UUID) -> PromptRule:
    """For good. Raises `NotAllowed`, `NotFound`."""
    by.require(Right.MANAGE_RULES)
    with transaction.atomic():
        _take_turn(by)
        row = get_rule(by=by, rule_id=rule_id)
        PromptRule.objects.filter(pk=rule_id).delete()
        record("rule.deleted", target=f"rule:{rule_id}", detail={"name": row.text})
    return row


def try_rules(*, by: Caller, answer: str) -> Trial:
    """What whoever asked a chat model would see of this answer. Raises `NotAllowed`, `AnswerBlocked`."""
    rules = compile_rules(pick_rules(_read(row) for row in list_rules(by=by) if row.enabled))
    if rules is None:
        return Trial(answer, changed=False, stopped=False)
    looked = AnswerFilter(rules)
    shown = looked.feed(Delta(text=answer, finish="stop")).text
    return Trial(shown, changed=shown != answer, stopped=looked.stopped)


def _take_turn(by: Caller) -> None:
    # Without locking out inserts that only name the tenant, such as chat calls.
    Tenant.objects.select_for_update(no_key=True).get(pk=by.tenant)


def check_rule(row: PromptRule) -> None:
    """Whether the rule, and all of the tenant's that are switched on together with it, can be applied.

    Raises `InvalidField`. Its text loses the blanks around it.
    """
    row.text = row.text.strip()
    if len(row.text) > TEXT_CHARS or any(char == "\x00" or "\ud800" <= char <= "\udfff" for char in row.text):
        raise InvalidField(f"text must have 1 to {TEXT_CHARS} characters, none of them NUL", field="text")
    others = list(PromptRule.objects.filter(tenant_id=row.tenant_id).exclude(pk=row.pk))
    if any((other.kind, other.text) == (row.kind, row.text) for other in others):
        raise InvalidField("there is this rule already", field="text")
    if len(others) >= MAX_RULES:
        raise InvalidField(f"there are {MAX_RULES} rules, the most there may be: delete one first", field="text")
    try:
        new = _read(row)
        rest = [_read(other) for other in others if other.enabled]
        compile_rules(pick_rules([*rest, new] if row.enabled else rest))
    except ValueError as error:
        raise InvalidField(f"text: {error}", field="text") from None


def _read(row: Any) -> Rule:
    return Rule(row.kind, row.action, row.text)

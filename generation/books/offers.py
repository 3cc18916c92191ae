"""Which chat models there are, whose they are, and where they are answered, as one reading of the tables."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from accounts.domain.callers import Caller
from accounts.domain.sql import fetch_all
from generation.books.upstreams import read_upstream
from generation.chat.books import Listed
from generation.chat.filters.rules import Rule, RuleSet, compile_rules
from generation.chat.request import SAMPLING
from generation.chat.targets import Offer, Target, Upstream
from generation.errors import AnswerBlocked, ModelNotFound

log = logging.getLogger(__name__)

# No parameters. Everything that staff have set up and switched on, a row for each model and each of its upstreams.
OFFERS_SQL = """
SELECT m.slug AS model, m.title, m.public, m.max_tokens, m.max_prompt_chars, m.sampling, m.created_at,
       t.name AS theirs, t.context_tokens, u.slug, u.kind, u.base_url, u.credential, u.connect_s, u.first_byte_s,
       u.idle_s, u.total_s, u.loading_s, u.concurrency, u.weight, u.takes, u.link_local, u.health_path
  FROM generation_chatmodel m
  LEFT JOIN (generation_chattarget t JOIN generation_upstream u ON u.slug = t.upstream_id AND u.enabled)
    ON t.model_id = m.slug
 WHERE m.enabled
 ORDER BY m.position, m.slug, t.id
"""

# Parameters: tenant. Runs in its scope.
TENANT_SQL = """
SELECT 'grant' AS what, model_id AS text, '' AS kind, '' AS action, id FROM generation_chatgrant
 WHERE tenant_id = %(tenant)s
UNION ALL
SELECT 'rule', text, kind, action, id FROM generation_promptrule WHERE tenant_id = %(tenant)s AND enabled
 ORDER BY id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedOffer:
    """A model with what lists tell of it."""

    offer: Offer
    listed: Listed
    public: bool


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All that staff offer, in its order."""

    offers: Mapping[str, ListedOffer] = field(default_factory=dict)

    def visible(self, grants: Collection[str]) -> list[ListedOffer]:
        """What a tenant with these grants may use."""
        return [one for slug, one in self.offers.items() if one.public or slug in grants]

    def find(self, slug: str, grants: Collection[str]) -> Offer:
        """One of them. Raises `ModelNotFound`, the same for one of others and for none."""
        found = self.offers.get(slug)
        if found is None or not (found.public or slug in grants):
            raise ModelNotFound(f"no model named {slug[:60]!r}; GET /v1/models lists yours", field="model")
        return found.offer


@dataclass(frozen=True, slots=True)
class OfTenant:
    """What a tenant has of its own: grants, and rules for answers."""

    grants: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()
    broken: str = ""  # why its rules cannot be applied

    def prepare(self) -> None:
        """Compile the rules, so that `rule_set` need not. May take a second."""
        with suppress(ValueError):
            compile_rules(self.rules)

    def rule_set(self) -> RuleSet | None:
        """The rules as one. Raises `AnswerBlocked` where they cannot be: an answer is not shown unlooked at."""
        try:
            if not self.broken:
                return compile_rules(self.rules)
        except ValueError as error:
            log.error("rules of a tenant cannot be compiled: %s", error)
        else:
            log.error("a rule of a tenant cannot be read: %s", self.broken)
        raise AnswerBlocked("your organisation's rules for answers cannot be applied; its admins can change them")


def read_catalogue(rows: Iterable[Mapping[str, Any]]) -> Catalogue:
    """The rows of `OFFERS_SQL`. An upstream that staff broke is left out, and said so."""
    models: dict[str, Mapping[str, Any]] = {}
    targets: dict[str, list[Target]] = {}
    upstreams: dict[str, Upstream | None] = {}
    for row in rows:
        models.setdefault(row["model"], row)
        found = targets.setdefault(row["model"], [])
        if row["slug"] is None:
            continue
        if row["slug"] not in upstreams:
            upstreams[row["slug"]] = _upstream(row)
        upstream = upstreams[row["slug"]]
        if upstream is not None:
            found.append(Target(upstream=upstream, model=row["theirs"], context_tokens=row["context_tokens"]))
    return Catalogue({slug: _offer(row, targets[slug]) for slug, row in models.items()})


def _upstream(row: Mapping[str, Any]) -> Upstream | None:
    try:
        return read_upstream(row)
    except ValueError as error:
        log.error("upstream %s is not asked: %s", row["slug"], error)
        return None


def _offer(row: Mapping[str, Any], targets: Sequence[Target]) -> ListedOffer:
    return ListedOffer(
        offer=Offer(
            slug=row["model"],
            targets=tuple(targets),
            max_tokens=row["max_tokens"],
            max_prompt_chars=row["max_prompt_chars"],
            sampling={name: value for name, value in row["sampling"].items() if name in SAMPLING},
        ),
        listed=Listed(slug=row["model"], title=row["title"], created_at=row["created_at"]),
        public=row["public"],
    )


def read_tenant(rows: Iterable[Mapping[str, Any]]) -> OfTenant:
    """The rows of `TENANT_SQL`."""
    grants, rules, broken = set(), [], ""
    for row in rows:
        if row["what"] == "grant":
            grants.add(row["text"])
            continue
        try:
            rules.append(Rule(row["kind"], row["action"], row["text"]))
        except ValueError as error:
            broken = str(error)
    return OfTenant(frozenset(grants), tuple(dict.fromkeys(rules)), broken)


def visible_chat_models(caller: Caller) -> list[Listed]:
    """The chat models that the caller's tenant may use, in their order. For pages; runs in the tenant's scope."""
    rows = fetch_all(_LISTED_SQL, tenant=caller.tenant)
    return [Listed(slug=row["slug"], title=row["title"], created_at=row["created_at"]) for row in rows]


_LISTED_SQL = """
SELECT m.slug, m.title, m.created_at FROM generation_chatmodel m
 WHERE m.enabled AND (m.public OR EXISTS (
         SELECT FROM generation_chatgrant g WHERE g.tenant_id = %(tenant)s AND g.model_id = m.slug))
 ORDER BY m.position, m.slug
"""

"""Which chat model a page begins with: the first one that somebody can be believed to answer for."""

from __future__ import annotations

from collections.abc import Sequence

from accounts.domain.sql import fetch_all
from generation.books.breakers import read_breakers
from generation.chat.books import Listed

# Parameters: slugs.
_TARGETS_SQL = """
SELECT t.model_id, t.upstream_id FROM generation_chattarget t
  JOIN generation_upstream u ON u.slug = t.upstream_id AND u.enabled
 WHERE t.model_id = ANY(%(slugs)s)
"""


def preferred_model(models: Sequence[Listed]) -> str:
    """Its slug; the first one's where none is better, empty where there is none.

    A model is passed over where it has no upstream that is switched on, or each of them has failed so often that its
    breaker is not closed. A breaker that nobody asks is forgotten after ten minutes, so none is passed over for ever.
    Costs one statement and one question to Valkey where there is a choice, else nothing.
    """
    if len(models) < 2:
        return models[0].slug if models else ""
    targets = [(row["model_id"], row["upstream_id"]) for row in fetch_all(_TARGETS_SQL, slugs=[m.slug for m in models])]
    breakers = read_breakers(sorted({upstream for _, upstream in targets}))
    well = {model for model, upstream in targets if breakers.get(upstream, "closed") == "closed"}
    return next((model.slug for model in models if model.slug in well), models[0].slug)

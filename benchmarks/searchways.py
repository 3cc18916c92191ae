"""The ways to search that PostgreSQL has without extensions, under row-level security and without."""

from __future__ import annotations

import statistics
from typing import Any
from uuid import UUID

from benchmarks.longhistory import SEARCHES, House, milliseconds

# The ways to search, as conditions on a table that has a column for each. Parameters: q (folded), grams, query.
WAYS = {
    "ILIKE on the prompt": "prompt ILIKE '%%' || %(q)s || '%%'",
    "LIKE on the folded prompt": "folded LIKE '%%' || %(q)s || '%%'",
    "strpos in the folded prompt": "strpos(folded, %(q)s) > 0",
    "bigrams in text[] with GIN": "grams @> %(grams)s::text[] AND strpos(folded, %(q)s) > 0",
    "'simple' tsvector of bigrams with GIN": "words @@ %(query)s::tsquery AND strpos(folded, %(q)s) > 0",
}
WAYS_SQL = """
CREATE TABLE ways AS SELECT id, tenant_id, created_at, prompt, folded, grams, array_to_tsvector(grams) AS words
  FROM generation_generation JOIN grams USING (id);
CREATE INDEX ways_history ON ways (tenant_id, created_at DESC, id DESC);
CREATE INDEX ways_grams ON ways USING gin (grams);
CREATE INDEX ways_words ON ways USING gin (words);
ALTER TABLE ways ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ways TO studio_web USING (tenant_id = app_tenant());
GRANT SELECT ON ways TO studio_web;
"""


def compare_ways(services: Any, admin: Any, house: House, *, rounds: int) -> dict[str, Any]:
    """A page of each search, each way, as the web's role and as one that no policy binds."""
    import psycopg

    from generation.domain.searchtext import fold

    admin.execute("CREATE TEMP TABLE grams (id uuid, grams text[])")
    rows = admin.execute("SELECT id, folded FROM generation_generation").fetchall()
    with admin.cursor().copy("COPY grams FROM STDIN") as copy:
        for id, folded in rows:
            copy.write_row((id, grams_of(folded)))
    admin.execute(WAYS_SQL)
    admin.execute("ANALYZE ways")
    sizes = {
        name: admin.execute("SELECT pg_relation_size(%s)", [index]).fetchone()[0]
        for name, index in (("GIN on text[]", "ways_grams"), ("GIN on tsvector", "ways_words"))
    }
    found: dict[str, Any] = {"index_bytes": sizes}
    searches = {name: fold(q) for name, q in SEARCHES.items() if " " not in fold(q)}
    # Client cursors, as Django's: the planner sees the values.
    client: dict[str, Any] = {"autocommit": True, "cursor_factory": psycopg.ClientCursor}
    with (
        psycopg.connect(services.urls["web"], **client) as web,
        psycopg.connect(services.superuser_url, **client) as free,
    ):
        web.execute("SELECT set_config('app.tenant', %s, false)", [str(house.tenant)])
        for role, connection in (("under row-level security", web), ("without", free)):
            found[role] = {
                way: {name: ask_way(connection, condition, house.tenant, q, rounds) for name, q in searches.items()}
                for way, condition in WAYS.items()
            }
    admin.execute("DROP TABLE ways")
    return found


def grams_of(text: str) -> list[str]:
    """Its pairs of signs, each once; a single sign is none."""
    return sorted({text[at : at + 2] for at in range(max(1, len(text) - 1))})


def ask_way(connection: Any, condition: str, tenant: UUID, q: str, rounds: int) -> dict[str, Any]:
    """One search in one way: its median, how many rows of a page it finds, and which index it takes."""
    sql = f"SELECT id FROM ways WHERE tenant_id = %(tenant)s AND {condition} ORDER BY created_at DESC, id DESC LIMIT 37"
    grams = grams_of(q)
    values = {"tenant": tenant, "q": q, "grams": grams, "query": " & ".join(f"'{gram}'" for gram in grams)}
    taken = [milliseconds(lambda: connection.execute(sql, values).fetchall()) for _ in range(rounds)]
    plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {sql}", values).fetchall())
    return {
        "median_ms": round(statistics.median(taken), 1),
        "finds": len(connection.execute(sql, values).fetchall()),
        "by": next((name for name in ("ways_grams", "ways_words", "ways_history") if name in plan), "Seq Scan"),
    }

"""How long a history of many pictures takes: `python -m benchmarks.history [--rows 100000] [--pictures 1000]`.

Starts a PostgreSQL of its own in a temporary folder. One tenant has all the rows, with prompts in English and Chinese;
twenty others have some between them. Times whole requests of the API and the gallery (no network) and counts their
statements, also for a short history: they must be as many. Then the ways to search that PostgreSQL has without
extensions, each as the web's role sees the table and as a role that no policy binds. Then a zip, made by a worker
process whose memory is watched. Targets: list and search below 100 ms at the median, a zip of 1,000 pictures below
60 s. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.results import ROOT, keep, options_of, surroundings

TARGET_MS = 100.0
TARGET_ZIP_S = 60.0
ENGLISH = re.findall(
    r"\S+",
    """
white red blue green golden dark bright old small large quiet stormy foggy ancient wooden glass paper house tower bridge
river meadow forest mountain harbour street market garden kitchen library station island cat dog horse owl fox whale
child woman man sailor painter dancer robot knight morning evening night winter summer autumn rain snow sunlight
moonlight candlelight watercolour photograph drawing portrait poster sketch cinematic detailed minimal vintage""",
)
CHINESE = re.findall(
    r"\S+",
    """
白色的房子 红色的灯笼 草地左边 山间小路 古老的桥 江南水乡 雪后的清晨 夜晚的街道 一只橘猫 远处的灯塔 水墨画风格
电影感光线 少女肖像 微笑的老人 竹林深处 海边日落 细节丰富 秋天的银杏 雨中的伞 城市天际线""",
)
FILLING = ["a", "an", "the", "of", "in", "on", "with", "under", "beside", "and"]
# What is looked for: how often it is there is measured too.
SEARCHES = {
    "a common word": "house",
    "two words": "lighthouse-keeper red",
    "three words, any order": "snow bridge owl",
    "a piece of a word": "watercol",
    "a word in one prompt of all": "needle-in-the-hay",
    "a word in none": "zebra",
    "Chinese, common": "房子",
    "Chinese, two pieces": "橘猫 日落",
    "Chinese, in none": "熊猫",
    "one sign": "雪",
    "mixed scripts": "owl 竹林",
}

# Runs in the worker's process: the next slow errand, and how much memory it took.
ZIP_CODE = """
import django; django.setup()
import json, logging, resource, time
logging.disable(logging.INFO)
from generation.worker.errands import slow_turn
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
assert slow_turn()
print(json.dumps({"seconds": round(time.perf_counter() - started, 2), "peak_mb": round(
    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1), "before_mb": round(before / 1024, 1)}))
"""

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


def say(text: str) -> None:
    """What is under way, on stderr: the whole takes minutes."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Fill, measure, print; 1 when a target is missed."""
    arguments = options_of("history", __doc__)
    arguments.add_argument("--rows", type=int, default=100_000, help="generations of the one tenant, an image each")
    arguments.add_argument("--others", type=int, default=20_000, help="of twenty others")
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--pictures", type=int, default=1_000, help="in the zip")
    arguments.add_argument("--picture-kb", type=int, default=1_500)
    given = arguments.parse_args()
    before = surroundings()
    with tempfile.TemporaryDirectory(prefix="qwenstudio-bench-") as folder:
        result = measure(Path(folder), given)
    keep({**before, **result}, given.out)
    slowest = max(figures["median_ms"] for figures in result["requests"].values())
    constant = all(figures["queries"] == figures["queries_short"] for figures in result["requests"].values())
    return 0 if slowest < TARGET_MS and constant and result["zip"]["seconds"] < TARGET_ZIP_S else 1


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Everything, in this order: requests of a short history, then of the long one, the ways, the zip."""
    import psycopg

    from qwenstudio.embedded import start

    services = start(folder, log=lambda text: None, durable=True, tie=True)
    try:
        os.environ.update(services.environment())
        os.environ.update(STUDIO_VAR=str(folder), DJANGO_SETTINGS_MODULE="qwenstudio.settings", STUDIO_PROCESS="web")
        owner = {**os.environ, "STUDIO_PROCESS": "owner"}
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=owner, check=True)
        house = House()
        with psycopg.connect(services.superuser_url, autocommit=True) as admin:
            fill(admin, house, rows=100, others=0)
            short = {name: house.count(path) for name, path in paths_of(house).items()}
            say("filling")
            fill(admin, house, rows=given.rows - 100, others=given.others)
            say("asking")
            requests = time_requests(house, short, rounds=given.rounds)
            found = {name: house.found(q) for name, q in SEARCHES.items()}
            say("comparing ways")
            ways = compare_ways(services, admin, house, rounds=given.rounds)
            say("zipping")
            zipped = time_zip(house, admin, pictures=given.pictures, size=given.picture_kb * 1024)
    finally:
        services.stop()
    return {
        "what": f"a history of {given.rows} generations beside {given.others} of twenty other tenants",
        "rounds": given.rounds,
        "target_ms": TARGET_MS,
        "requests": requests,
        "found": found,
        "ways": ways,
        "zip": zipped,
    }


class House:
    """The tenant, its owner, and their way to ask."""

    def __init__(self) -> None:
        import logging

        import django

        django.setup()
        logging.disable(logging.INFO)
        from django.conf import settings
        from django.test import Client

        from accounts.domain.callers import caller_of_member
        from accounts.models import Plan
        from tests.chaos.rig import offer_sleeping_model
        from tests.factories import make_member, make_tenant, make_user

        settings.ALLOWED_HOSTS = ["testserver"]
        offer_sleeping_model()
        Plan.objects.update(requests_per_minute=1_000_000, tenant_requests_per_minute=1_000_000)
        tenant, owner = make_tenant("Bench", owner=make_user("owner"))
        self.tenant: UUID = tenant.pk
        self.people: list[UUID] = [owner.pk, *(make_member(tenant).pk for _ in range(9))]
        self.others: list[UUID] = [make_tenant(f"Other {number}")[0].pk for number in range(20)]
        self.caller = caller_of_member(user_id=owner.pk, tenant_id=tenant.pk)
        self._client = Client()
        self._client.force_login(owner)

    def get(self, path: str) -> Any:
        """A page or an answer of the API."""
        answer = self._client.get(path)
        if answer.status_code != 200:
            raise SystemExit(f"{path} answered {answer.status_code}: {answer.content[:500]!r}")
        return answer

    def count(self, path: str) -> int:
        """How many statements a request takes."""
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        self.get(path)
        with CaptureQueriesContext(connection) as queries:
            self.get(path)
        return len(queries)

    def found(self, q: str) -> int:
        """How many prompts hold it."""
        from accounts.tenancy import in_tenant
        from generation.domain.history import Filters, narrow

        with in_tenant(self.tenant):
            return narrow(Filters(q=q)).count()

    def deep(self) -> str:
        """The cursor of a place in the middle of the history."""
        from accounts.domain.pages import Cursor
        from accounts.tenancy import in_tenant
        from generation.models import Generation

        with in_tenant(self.tenant):
            rows = Generation.objects.order_by("-created_at", "-id")
            row = rows[rows.count() // 2]
        return Cursor(time=row.created_at, id=row.pk).encode()


def paths_of(house: House) -> dict[str, str]:
    """Every request that is timed."""
    from urllib.parse import quote

    api, page = "/api/v1/images?limit=36", "/gallery/?"
    return {
        "list": api,
        "list, the gallery": page,
        "list, in the middle": f"{api}&cursor={house.deep()}",
        "list, starred": f"{api}&starred=true",
        "list, failed": f"{api}&status=failed",
        "list, of one member": f"{api}&member={house.people[-1]}",
        "list, of one seed": f"{api}&seed=77",
        "list, of one size": f"{api}&size=1328x800",
        **{f"search, {name}": f"{api}&q={quote(q)}" for name, q in SEARCHES.items()},
        "search, the gallery": f"{page}q={quote(SEARCHES['a word in none'])}",
    }


def time_requests(house: House, short: dict[str, int], *, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each, in turns, so that a busy moment hits all of them."""
    paths = paths_of(house)
    times: dict[str, list[float]] = {name: [] for name in paths}
    for turn in range(rounds + 2):
        for name, path in paths.items():
            took = milliseconds(lambda path=path: house.get(path))  # type: ignore[misc]
            if turn >= 2:
                times[name].append(took)
    return {
        name: {**spread(taken), "queries": house.count(paths[name]), "queries_short": short[name]}
        for name, taken in times.items()
    }


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


def time_zip(house: House, admin: Any, *, pictures: int, size: int) -> dict[str, Any]:
    """A worker's seconds and memory for a zip of ten pictures and for one of all."""
    from django.conf import settings

    from accounts.tenancy import in_tenant
    from generation.domain.selections import request_zip

    with in_tenant(house.tenant):
        ids = [row[0] for row in admin.execute(
            "SELECT generation_id, file FROM generation_image WHERE tenant_id = %s ORDER BY id LIMIT %s",
            [house.tenant, pictures],
        )]  # fmt: skip
    data = random.Random(1).randbytes(size)
    for (file,) in admin.execute("SELECT file FROM generation_image WHERE generation_id = ANY(%s)", [ids]).fetchall():
        path = Path(settings.STUDIO_MEDIA, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found = {}
    for name, chosen in (("ten", ids[:10]), ("all", ids)):
        with in_tenant(house.tenant):
            asked = request_zip(by=house.caller, ids=chosen)
        worker = {**os.environ, "STUDIO_PROCESS": "worker"}
        done = subprocess.run(
            [sys.executable, "-c", ZIP_CODE], cwd=ROOT, env=worker, check=True, capture_output=True, text=True
        )
        found[name] = json.loads(done.stdout.splitlines()[-1])
        row = admin.execute("SELECT status, done, bytes FROM generation_selection WHERE id = %s", [asked.pk]).fetchone()
        if row is None or row[0] != "ready" or row[1] != len(chosen):
            raise SystemExit(f"the zip was not made: {row}")
        found[name]["bytes"] = row[2]
    return {
        "pictures": len(ids),
        "picture_bytes": size,
        "target_s": TARGET_ZIP_S,
        **found["all"],
        "peak_mb_of_ten": found["ten"]["peak_mb"],
    }


# ---- rows


def fill(admin: Any, house: House, *, rows: int, others: int) -> None:
    """More rows: the tenant's first of all, others' between them, an image for each."""
    dice = random.Random(rows)
    owners = [house.tenant] * rows + [house.others[number % 20] for number in range(others)]
    dice.shuffle(owners)
    admin.execute(
        "CREATE TEMP TABLE IF NOT EXISTS incoming (n bigint, tenant uuid, member uuid, prompt text, folded text)"
    )
    admin.execute("TRUNCATE incoming")
    from generation.domain.searchtext import fold

    with admin.cursor().copy("COPY incoming FROM STDIN") as copy:
        for number, (tenant, prompt) in enumerate(zip(owners, prompts(dice, rows=len(owners)), strict=True)):
            member = house.people[min(9, int(dice.expovariate(0.6)))] if tenant == house.tenant else None
            copy.write_row((number, tenant, member, prompt, fold(prompt)))
    admin.execute(FILL_SQL, {"rows": len(owners)})
    admin.execute("VACUUM ANALYZE")


def prompts(dice: random.Random, *, rows: int) -> Iterator[str]:
    """Sentences in English, in Chinese and in both."""
    needle = rows // 3
    for number in range(rows):
        kind = dice.random()
        words: list[str] = []
        for _ in range(dice.randint(8, 30)):
            words += [dice.choice(FILLING), dice.choice(ENGLISH)]
        signs = "，".join(dice.choice(CHINESE) for _ in range(dice.randint(2, 8)))
        english = " ".join(words)
        prompt = english if kind < 0.55 else signs if kind < 0.9 else f"{english}, {signs}"
        yield f"{prompt} needle-in-the-hay" if number == needle and rows > 100 else prompt


FILL_SQL = """
WITH made AS (
  INSERT INTO generation_generation
         (id, tenant_id, "user", lane, pool, model_id, task, prompt, folded, negative_prompt, width, height, steps,
          seed, n, params, schema_version, batch_key, request_id, starred, status, priority, done, attempt, lost, fence,
          step, error_code, error_message, warnings, estimate_ms, claimed_ms, cost_ms, charged_on, created_at,
          queued_at, started_at, finished_at)
  SELECT gen_random_uuid(), tenant, member, 'blue', 'demo', 'demo', 'text-to-image', prompt, folded, '',
         CASE mod(n, 50) WHEN 0 THEN 1328 ELSE 1024 END, CASE mod(n, 50) WHEN 0 THEN 800 ELSE 1024 END, 4, n, 1,
         '{"output_format": "png", "true_cfg_scale": 1.0}', 1, md5(n::text) || md5(n::text), '', mod(n, 300) = 0,
         CASE mod(n, 400) WHEN 0 THEN 'failed' ELSE 'succeeded' END, 0, 1, 0, 0, 1, 4, '', '', '[]', 600, 0, 600,
         current_date, t.moment, t.moment, t.moment, t.moment
    FROM (SELECT *, now() - make_interval(secs => 60 * (%(rows)s - n)) AS moment FROM incoming ORDER BY n) AS t
  RETURNING id, tenant_id, "user", created_at, width, height, seed
)
INSERT INTO generation_image
       (id, tenant_id, generation_id, index, file, thumbnail, format, sha256, bytes, thumbnail_bytes, width, height,
        seed, created_at)
SELECT gen_random_uuid(), tenant_id, id, 0, tenant_id || '/bench/' || id || '.png',
       tenant_id || '/bench/' || id || '-thumb.webp', 'png', md5(id::text) || md5(id::text), 1500000, 20000, width,
       height, seed, created_at
  FROM made
"""


def milliseconds(act: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    act()
    return (time.perf_counter() - started) * 1000


def spread(taken: list[float]) -> dict[str, float]:
    """Median, p95 and the most."""
    cuts = statistics.quantiles(taken, n=20)
    return {
        "median_ms": round(statistics.median(taken), 1),
        "p95_ms": round(min(cuts[18], max(taken)), 1),
        "max_ms": round(max(taken), 1),
    }


if __name__ == "__main__":
    sys.exit(main())

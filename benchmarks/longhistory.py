"""A long history to measure on: one tenant with prompts in English and Chinese, and twenty others between its rows."""

from __future__ import annotations

import random
import re
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

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


def fill(admin: Any, house: House, *, rows: int, others: int, needle: bool = False) -> None:
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
        for number, (tenant, prompt) in enumerate(
            zip(owners, prompts(dice, rows=len(owners), needle=needle), strict=True)
        ):
            member = house.people[min(9, int(dice.expovariate(0.6)))] if tenant == house.tenant else None
            copy.write_row((number, tenant, member, prompt, fold(prompt)))
    admin.execute(FILL_SQL, {"rows": len(owners)})
    admin.execute("VACUUM ANALYZE")


def prompts(dice: random.Random, *, rows: int, needle: bool) -> Iterator[str]:
    """Sentences in English, in Chinese and in both."""
    for number in range(rows):
        kind = dice.random()
        words: list[str] = []
        for _ in range(dice.randint(8, 30)):
            words += [dice.choice(FILLING), dice.choice(ENGLISH)]
        signs = "，".join(dice.choice(CHINESE) for _ in range(dice.randint(2, 8)))
        english = " ".join(words)
        prompt = english if kind < 0.55 else signs if kind < 0.9 else f"{english}, {signs}"
        yield f"{prompt} needle-in-the-hay" if needle and number == rows // 3 else prompt


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

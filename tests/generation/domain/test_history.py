"""The history: found by pieces of prompts in any script, narrowed by everything, in plans that no policy spoils."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any
from unicodedata import combining, normalize
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.domain.callers import caller_of_key
from accounts.domain.members import remove_member
from accounts.enums import Role
from accounts.errors import InvalidField, NotFound
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.history import EVERYTHING, Filters, list_generations, list_ids, narrow, read_filters
from generation.domain.searchtext import MAX_CHARS, MAX_MARKS, fold, fold_prompts, terms_of
from generation.models import Generation
from tests.factories import Person, make_key, make_member
from tests.generation.domain.desk import Look, submit

AsWorker = Callable[[], AbstractContextManager[None]]
MANY = 4000


def find(who: Person, q: str = "", **fields: Any) -> list[UUID]:
    with in_tenant(who.tenant.pk):
        return list_ids(Filters(q=q, **fields), most=100)


@pytest.mark.parametrize(
    ("written", "sought"),
    [
        ("a white House by the sea", "HOUSE white"),  # any case, any order
        ("a white house", "hite hou"),  # pieces of words
        ("草地左边有一座白色的房子", "白色 草地"),
        ("草地左边有一座白色的房子", "房"),
        ("ＨＯＵＳＥ　＃７", "house #7"),  # full width, an ideographic blank
        ("Straße", "STRASSE"),
        ("red 红色 круг", "КРУГ 红"),
        ("100% _wool_ \\ 'quoted'", "100% _wool_ \\ '"),
        ("tabs\tand\nlines", "and lines tabs"),
        ("e\u0301clair", "éclair"),  # letters that were put together
    ],
)
def test_prompts_are_found_however_they_are_written(alice: Person, written: str, sought: str) -> None:
    there = submit(alice.caller, prompt=written)
    submit(alice.caller, prompt="something else")
    assert find(alice, sought) == [there]
    with in_tenant(alice.tenant.pk):
        Generation.objects.update(folded=None)  # of a release that knows no folding
    assert there in find(alice, sought.split()[-1]) or written != fold(written)


@pytest.mark.parametrize("sought", ["%", "_", "\\", "%a%", "a_c", ".*", "a|b", "' OR 1=1 --", "空", "x" * 200])
def test_nothing_is_a_wildcard(alice: Person, sought: str) -> None:
    submit(alice.caller, prompt="abc")
    assert find(alice, sought) == []


def test_blanks_alone_look_for_nothing(alice: Person) -> None:
    there = submit(alice.caller, prompt="abc")
    assert find(alice, " \u3000\t") == [there]


def test_nobody_finds_anothers(alice: Person, mallory: Person) -> None:
    submit(alice.caller, prompt="a secret")
    assert find(mallory, "secret") == []
    with in_tenant(mallory.tenant.pk):
        assert Generation._base_manager.filter(folded__contains="secret").count() == 0  # without the manager's filter


def test_folding_is_one_form_and_bounded() -> None:
    for text in ("ＡＢＣ", "ﬁne", "Ⅳ", "İstanbul", "ǅ", "a  b\u2028c", "㍿", "ΌΣΟΣ"):
        assert fold(fold(text)) == fold(text)
    assert len(fold("ﷺ" * 32_768)) == MAX_CHARS
    assert terms_of("b  aa a b") == ["aa", "a", "b"]


@pytest.mark.parametrize("marks", ["\u0301\u0327", "\u0338\uff9e", "\u0344\u0327"])
def test_a_heap_of_marks_is_cut_before_it_is_sorted(marks: str) -> None:
    """Sorting them takes the square of their number: a single prompt would stop its process for seconds."""
    folded = fold(f"a{marks * 16_000} house")
    assert folded.endswith(" house")
    assert 0 < sum(1 for char in folded if combining(char)) <= 2 * MAX_MARKS  # some are two in one
    assert len(fold(f"a{marks * 16_000}")) <= 1 + 2 * MAX_MARKS
    few = f"a{marks * 5}"
    assert fold(few) == fold(normalize("NFD", few)) == normalize("NFKC", few)


def test_the_sweep_folds_what_is_not_yet(alice: Person, mallory: Person, as_worker: AsWorker, look: Look) -> None:
    for person in (alice, mallory):
        submit(person.caller, prompt="Ein HAUS")
    look("UPDATE generation_generation SET folded = NULL RETURNING 1")
    assert find(alice, "haus") == [] or len(find(alice, "haus")) == 1  # before: as PostgreSQL lowers it
    with as_worker():
        assert fold_prompts() == 2
        assert fold_prompts() == 0
    assert {row[0] for row in look("SELECT folded FROM generation_generation")} == {"ein haus"}
    assert len(find(alice, "haus")) == 1


def test_filters(alice: Person, bob: Person, look: Look) -> None:
    small = submit(alice.caller, width=64, height=64, seed=7, n=3)
    large = submit(bob.caller, width=128, height=64, seed=100)
    ends = submit(bob.caller, width=64, height=64, seed=2**63 - 1)
    look("UPDATE generation_generation SET created_at = now() - interval '2 days' WHERE id = %s RETURNING 1", small)
    yesterday = timezone.now() - timedelta(days=1)
    assert find(alice, size=(128, 64)) == [large]
    assert [find(alice, seed=seed) for seed in (6, 7, 9, 10)] == [[], [small], [small], []]  # image i has the seed + i
    assert find(alice, seed=2**63 - 1) == [ends]
    assert find(alice, seed=0) == []
    assert find(alice, created_before=yesterday) == [small]
    assert set(find(alice, created_after=yesterday)) == {large, ends}
    assert find(alice, member=bob.user.pk, size=(64, 64)) == [ends]
    assert find(alice, model="demo", status="queued", starred=False, member=alice.user.pk) == [small]
    assert find(alice, starred=True) == find(alice, status="failed") == find(alice, model="none") == []


def test_filters_are_read_strictly(alice: Person) -> None:
    def read(**said: str) -> Filters:
        with in_tenant(alice.tenant.pk):
            return read_filters(said, by=alice.caller)

    assert read() == EVERYTHING
    assert read(size="1024x768", seed="0", starred="false") == Filters(size=(1024, 768), seed=0, starred=False)
    assert read(size="64 × 64").size == (64, 64)
    assert read(seed=str(2**63 - 1)).seed == 2**63 - 1
    wrong = [("size", text) for text in ("1024", "x", "1x2x3", "0x64", "-1x64", "1e3x5", "９x９", "999999x1", "ax64")]
    wrong += [("seed", text) for text in ("-1", "x", str(2**63), "1.0", "٣", "1" * 30)]
    wrong += [("q", "x" * 201), ("q", "x" * 32_768), ("q", "a\x00"), ("q", "\ud800"), ("model", "x" * 201)]
    wrong += [("status", "drawn"), ("starred", "1"), ("created_before", "soon"), ("created_after", "2026-01-01")]
    for name, text in wrong:
        with pytest.raises(InvalidField) as refused:
            read(**{name: text})
        assert refused.value.field == name


def test_who_may_be_asked_for(alice: Person, bob: Person, mallory: Person) -> None:
    viewer = make_member(alice.tenant, Role.VIEWER)
    _, secret = make_key(alice.tenant, alice.user, scopes=["images:read"])
    weak = caller_of_key(secret, address=None)

    def read(caller: Any, member: object) -> UUID | None:
        with in_tenant(caller.tenant):
            return read_filters({"member": str(member)}, by=caller).member

    assert read(alice.caller, bob.user.pk) == bob.user.pk
    assert read(bob.caller, bob.user.pk) == bob.user.pk
    for caller, member in (
        (bob.caller, alice.user.pk), (weak, bob.user.pk), (alice.caller, mallory.user.pk), (alice.caller, uuid4()),
        (alice.caller, "x"), (mallory.caller, alice.user.pk),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            read(caller, member)
    assert read(weak, alice.user.pk) == alice.user.pk
    # Who has left is found as long as something of theirs is there.
    submit(bob.caller)
    with in_tenant(alice.tenant.pk):
        for user in (bob.user.pk, viewer.pk):
            remove_member(by=alice.caller, user_id=user)
    assert read(alice.caller, bob.user.pk) == bob.user.pk
    with pytest.raises(NotFound):
        read(alice.caller, viewer.pk)


def fill(admin: psycopg.Connection[Any], who: Person, *, rows: int) -> None:
    """Many rows of one tenant beside a few of another; every prompt holds `house`, one in all holds `needle`."""
    admin.execute(
        """INSERT INTO generation_generation
             (id, tenant_id, "user", lane, pool, model_id, task, prompt, folded, negative_prompt, width, height, steps,
              seed, n, params, schema_version, batch_key, request_id, starred, status, priority, done, attempt, lost,
              fence, step, error_code, error_message, warnings, estimate_ms, claimed_ms, cost_ms, charged_on,
              created_at, queued_at, finished_at)
           SELECT gen_random_uuid(), %(tenant)s, %(user)s, 'blue', 'demo', 'demo', 'text-to-image', p, p, '', 64, 64, 4,
                  i, 1, '{}', 1, 'key', '', i = 1, 'succeeded', 0, 1, 0, 0, 1, 4, '', '', '[]', 60, 0, 60, current_date,
                  now() - make_interval(secs => i), now(), now()
             FROM generate_series(1, %(rows)s) i,
                  LATERAL (SELECT 'a house in a meadow ' || md5(i::text) || CASE i WHEN 3000 THEN ' needle' ELSE '' END)
                          AS t (p)""",
        {"tenant": who.tenant.pk, "user": who.user.pk, "rows": rows},
    )
    admin.execute("ANALYZE generation_generation")


def plan_of(who: Person, filters: Filters, *, limit: int = 37) -> dict[str, Any]:
    """What PostgreSQL does for a page under the web's role, executed."""
    with in_tenant(who.tenant.pk):
        rows = narrow(filters).order_by("-created_at", "-id")[:limit]
        sql, parameters = rows.query.sql_with_params()
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
            row = cursor.fetchone()
    assert row is not None
    said = json.loads(row[0]) if isinstance(row[0], str) else row[0]
    plan: dict[str, Any] = said[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


def test_row_level_security_spoils_no_plan(
    alice: Person, mallory: Person, admin_sql: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """A page of a common word, a filter, everything is read from the newest end, and that stops when it is full."""
    fill(admin_sql, alice, rows=MANY)
    fill(admin_sql, mallory, rows=100)
    for filters in (
        EVERYTHING,
        Filters(q="house"),
        Filters(q="MEADOW house a"),
        Filters(status="succeeded"),
    ):
        plan = plan_of(alice, filters)
        kinds = {node["Node Type"] for node in nodes(plan)}
        assert "Sort" not in kinds and "Seq Scan" not in kinds, (filters, kinds)
        (scan,) = (node for node in nodes(plan) if "Index Name" in node)
        # Of a tenant that has nearly all rows the index over all tenants' does as well.
        assert scan["Index Name"] in ("generation_history", "generation_all"), filters
        assert scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0) < 200, (filters, "it read more than a page")
    few = nodes(plan_of(alice, Filters(starred=True)))
    assert "generation_starred" in {node.get("Index Name") for node in few}
    with in_tenant(alice.tenant.pk):
        assert len(list_generations(Filters(q="needle")).results) == 1


def test_a_deep_page_begins_at_its_place(alice: Person, admin_sql: psycopg.Connection[tuple[Any, ...]]) -> None:
    fill(admin_sql, alice, rows=MANY)
    with in_tenant(alice.tenant.pk):
        cursor, seen = None, 0
        for _ in range(30):
            page = list_generations(cursor=cursor, limit=100)
            cursor, seen = page.next, seen + len(page.results)
        with CaptureQueriesContext(connection) as queries:
            list_generations(cursor=cursor, limit=36)
    assert seen == 3000
    (sql,) = (query["sql"] for query in queries if "LIMIT 37" in query["sql"])
    with in_tenant(alice.tenant.pk), connection.cursor() as cursor_:
        cursor_.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        row = cursor_.fetchone()
    assert row is not None
    said = json.loads(row[0]) if isinstance(row[0], str) else row[0]
    (scan,) = (node for node in nodes(said[0]["Plan"]) if "Index Name" in node)
    assert scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0) < 100


def test_the_folded_prompt_is_no_staffs_business(alice: Person) -> None:
    from generation.staff.generations import PRIVATE

    assert "folded" in PRIVATE
    submit(alice.caller, prompt="x")
    with across_tenants():
        assert Generation.objects.get().folded == "x"

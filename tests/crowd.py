"""Many rows of everything, written by the administrator: for pages that must stay quick."""

from __future__ import annotations

from typing import Any

import psycopg

# Forty rows run; of the others a quarter each waits, has succeeded, failed, been cancelled. Parameters: rows, tenants.
FILL_SQL = """
INSERT INTO accounts_tenant (id, name, plan_id, note, limits, networks, logo, stored_bytes, created_at)
SELECT gen_random_uuid(), 'tenant ' || i, (SELECT min(id) FROM accounts_plan), '', '{}', '{}', '', 0, now()
  FROM generate_series(1, %(tenants)s) i;
INSERT INTO generation_generation
       (id, tenant_id, "user", lane, pool, model_id, task, prompt, negative_prompt, width, height, steps, seed, n,
        params, schema_version, batch_key, request_id, starred, priority, done, attempt, lost, fence, step, error_code,
        status, error_message, warnings, estimate_ms, claimed_ms, cost_ms, charged_on, created_at, queued_at,
        finished_at)
SELECT gen_random_uuid(), t.id, NULL, 'blue', 'demo', 'demo', 'text-to-image', 'a red circle', '', 64, 64, 4, n, 1,
       '{}', 1, 'key', md5(n::text), false, 0, 0, 0, 0, 0, 0, '',
       CASE WHEN n <= 40 THEN 'running' ELSE (ARRAY['queued', 'succeeded', 'failed', 'canceled'])[1 + n %% 4] END,
       '', '[]', 600, 0, 0, current_date, now() - make_interval(secs => n), now(), now()
  FROM generate_series(1, %(rows)s) n
  JOIN (SELECT id, row_number() OVER () AS i FROM accounts_tenant) t ON t.i = 1 + n %% %(tenants)s;
INSERT INTO generation_fairclock (lane, pool, tenant, weight, vtime, queued, queued_ms, running, running_ms)
SELECT 'blue', 'demo', tenant_id, 1, random() * 1000, count(*) FILTER (WHERE status = 'queued'), 0,
       count(*) FILTER (WHERE status = 'running'), 0 FROM generation_generation GROUP BY tenant_id;
INSERT INTO generation_failure (id, tenant_id, generation_id, worker_name, code, lines, created_at)
SELECT gen_random_uuid(), tenant_id, id, 'gpu-1', 'engine_error', 'line', created_at FROM generation_generation
 WHERE status = 'failed';
INSERT INTO accounts_auditevent (id, tenant_id, action, result, target, request_id, detail, created_at)
SELECT gen_random_uuid(), tenant_id, 'key.made', 'ok', '', request_id, '{}', created_at FROM generation_generation;
INSERT INTO accounts_ledgerentry (id, tenant_id, event_id, kind, metric, amount, ref, label, reason, charged_on,
                                  created_at)
SELECT gen_random_uuid(), tenant_id, id::text, 'reserve', 'images', 1, id, 'demo', '', current_date, created_at
  FROM generation_generation;
INSERT INTO generation_worker (id, name, pid, lane, pool, serves, state, detail, hardware, device, dtype, memory_total,
                               memory_used, release, passes, started_at, seen_at)
SELECT gen_random_uuid(), 'gpu-' || i, i, 'blue', 'demo', '["demo"]', 'busy', '', '', '', '', 0, 0, '', 0, now(), now()
  FROM generate_series(1, 20) i;
ANALYZE;
"""


def fill(sql: psycopg.Connection[Any], *, rows: int, tenants: int) -> None:
    """Fill an empty database in which the model `demo` is on offer."""
    psycopg.ClientCursor(sql).execute(FILL_SQL, {"rows": rows, "tenants": tenants})

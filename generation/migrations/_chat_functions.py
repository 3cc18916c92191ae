"""The books of chat calls as functions of the database: each is one round trip, for any number of a tenant's calls.

They run with the rights of whoever calls them, and set the tenant in scope for their own transaction, so row-level
security holds inside as everywhere. None waits for a disk: whoever must know that it is written asks for that
(`FLUSH_SQL`), and a transaction holds its counters for as long as it computes. Their plans are made once for each
connection: making one takes as long as running it. Locks are taken in the order of docs/data.md: calls, then counters
(tenant, members, keys; day, month). What they take is JSON, so that a later release may say more without another
signature.
"""

from __future__ import annotations

# Sets tokens aside for all of these calls or for none, and writes them down. Returns what refuses them: the scope whose
# tokens are used up, `tenant_calls` or `key_calls`; null where nothing does.
TAKE = """
CREATE FUNCTION chat_take(asked jsonb, calls jsonb, today date) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  whose uuid := (asked->>'tenant')::uuid;
  refused text;
  taken jsonb;
BEGIN
  WITH c AS (
    SELECT * FROM jsonb_to_recordset(calls) AS r (member uuid, key uuid, tokens bigint, member_tokens bigint,
                                                  key_tokens bigint)
  ),
  wanted AS MATERIALIZED (
    SELECT s.rank, s.scope, s.scope_id, p.period,
           CASE p.period WHEN 'day' THEN today ELSE date_trunc('month', today::timestamp)::date END AS starts_on,
           sum(c.tokens)::bigint AS amount, min(s.ceiling) FILTER (WHERE p.period = 'day') AS ceiling
      FROM c
     CROSS JOIN LATERAL (VALUES (1, 'tenant', whose, (asked->>'tenant_tokens')::bigint),
                                (2, 'member', c.member, c.member_tokens), (3, 'key', c.key, c.key_tokens))
           AS s (rank, scope, scope_id, ceiling)
     CROSS JOIN (VALUES ('day'), ('month')) AS p (period)
     WHERE s.scope_id IS NOT NULL
     GROUP BY 1, 2, 3, 4, 5
  ),
  granted AS (
    INSERT INTO accounts_counter AS t (id, tenant_id, scope, scope_id, metric, period, starts_on, used, reserved)
    SELECT gen_random_uuid(), whose, scope, scope_id, 'tokens', period, starts_on, 0, amount
      FROM wanted WHERE ceiling IS NULL OR amount <= ceiling ORDER BY rank, scope_id, period
    ON CONFLICT (tenant_id, scope, scope_id, metric, period, starts_on) DO UPDATE
       SET reserved = t.reserved + excluded.reserved
     WHERE (SELECT w.ceiling IS NULL OR t.used + t.reserved + excluded.reserved <= w.ceiling FROM wanted w
             WHERE w.scope = excluded.scope AND w.scope_id = excluded.scope_id AND w.period = excluded.period)
    RETURNING t.scope, t.scope_id, t.period
  )
  SELECT min(w.rank || w.scope) FILTER (WHERE g.scope IS NULL),
         jsonb_agg(jsonb_build_object('scope', w.scope, 'scope_id', w.scope_id, 'period', w.period,
                                      'starts_on', w.starts_on, 'amount', w.amount)) FILTER (WHERE g.scope IS NOT NULL)
    INTO refused, taken
    FROM wanted w LEFT JOIN granted g USING (scope, scope_id, period);
  refused := substr(refused, 2);
  -- The tenant's counter is locked from here on, so whoever counts sees what the others have written.
  IF refused IS NULL THEN
    SELECT CASE WHEN o.n + jsonb_array_length(calls) > (asked->>'tenant_calls')::int THEN 'tenant_calls'
                WHEN EXISTS (
                  SELECT FROM (SELECT r.key, min(r.key_calls) AS most, count(*) AS more
                                 FROM jsonb_to_recordset(calls) AS r (key uuid, key_calls int)
                                WHERE r.key_calls IS NOT NULL GROUP BY 1) k
                   WHERE k.more + (SELECT count(*) FROM unnest(o.keys) AS u (key) WHERE u.key = k.key) > k.most)
                THEN 'key_calls' END
      INTO refused
      FROM (SELECT count(*) AS n, array_agg(t.key) AS keys FROM generation_chatcall t
             WHERE t.tenant_id = whose AND t.outcome = 'running' AND t.lease_until > now()
               AND NOT coalesce(asked->'ended' ? t.id::text, false)) AS o;
  END IF;
  IF refused IS NOT NULL THEN
    UPDATE accounts_counter t SET reserved = t.reserved - b.amount
      FROM jsonb_to_recordset(taken) AS b (scope text, scope_id uuid, period text, starts_on date, amount bigint)
     WHERE t.tenant_id = whose AND t.metric = 'tokens' AND t.scope = b.scope AND t.scope_id = b.scope_id
       AND t.period = b.period AND t.starts_on = b.starts_on;
    RETURN refused;
  END IF;
  WITH c AS (
    SELECT * FROM jsonb_to_recordset(calls) AS r (id uuid, entry uuid, member uuid, key uuid, model text, tokens bigint,
                                                  prompt_chars int)
  ),
  written AS (
    INSERT INTO generation_chatcall
           (id, tenant_id, "user", key, model, upstream, lane, outcome, finish, attempts, fence, lease_until,
            charged_on, tokens, tokens_in, tokens_out, estimated, prompt_chars, created_at)
    SELECT id, whose, member, key, model, '', asked->>'lane', 'running', '', 0, 1,
           now() + (asked->>'lease_s')::int * interval '1 second', today, tokens, 0, 0, false, prompt_chars, now()
      FROM c
  )
  INSERT INTO accounts_ledgerentry
         (id, tenant_id, event_id, kind, metric, amount, ref, "user", key, reason, label, charged_on, created_at)
  SELECT entry, whose, id || ':reserve:tokens', 'reserve', 'tokens', tokens, id, member, key, '', model, today, now()
    FROM c;
  RETURN NULL;
END $$
"""

# Reserves calls of one tenant: each alone may be refused, those that fit are taken together. `asked` has tenant, lane,
# lease_s, tenant_tokens (a day) and tenant_calls (at once), null: no limit; `ended`: calls that are over and wait to be
# settled, which hold no place; `calls`: id, entry (of the ledger), member, key, model, tokens, prompt_chars,
# member_tokens, key_tokens, key_calls.
# Returns for each call, in order, what refuses it, and the day's sums of its counters where any limit is set. Losing it
# in a crash harms nobody: `chat_settle` writes what is missing.
RESERVE = """
CREATE FUNCTION chat_reserve(asked jsonb)
RETURNS TABLE (refused text, today date, resets_in_s int, tenant_sum bigint, member_sum bigint, key_sum bigint)
LANGUAGE plpgsql SET plan_cache_mode TO force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  whose uuid := (asked->>'tenant')::uuid;
  day date := (now() AT TIME ZONE 'UTC')::date;
  rest int := ceil(extract(epoch FROM (day + 1)::timestamp AT TIME ZONE 'UTC' - now()));
  calls jsonb := asked->'calls';
  answers text[];
  call jsonb;
BEGIN
  PERFORM set_config('app.tenant', whose::text, true), set_config('synchronous_commit', 'off', true);
  answers := ARRAY[chat_take(asked, calls, day)];
  IF jsonb_array_length(calls) > 1 THEN
    IF answers[1] IS NULL THEN
      answers := array_fill(NULL::text, ARRAY[jsonb_array_length(calls)]);
    ELSE
      answers := ARRAY[]::text[];
      FOR call IN SELECT value FROM jsonb_array_elements(calls) LOOP
        answers := answers || chat_take(asked, jsonb_build_array(call), day);
      END LOOP;
    END IF;
  END IF;
  RETURN QUERY
  SELECT a.refused, day, rest, s.tenant_sum, s.member_sum, s.key_sum
    FROM unnest(answers) WITH ORDINALITY AS a (refused, n)
    LEFT JOIN LATERAL (
      SELECT sum(t.used + t.reserved) FILTER (WHERE t.scope = 'tenant')::bigint AS tenant_sum,
             sum(t.used + t.reserved) FILTER (WHERE t.scope = 'member')::bigint AS member_sum,
             sum(t.used + t.reserved) FILTER (WHERE t.scope = 'key')::bigint AS key_sum
        FROM jsonb_to_record(calls->(a.n::int - 1)) AS c (member uuid, key uuid)
        JOIN accounts_counter t
          ON t.tenant_id = whose AND t.metric = 'tokens' AND t.period = 'day' AND t.starts_on = day
         AND (t.scope, t.scope_id) IN (('tenant', whose), ('member', c.member), ('key', c.key))
       WHERE (asked->>'sums')::boolean
    ) AS s ON true
   ORDER BY a.n;
END $$
"""

# Reserves calls of several tenants in one round trip: `asked` has `tenants`, each as `chat_reserve` takes it. Returns what
# that returns, with the tenant, and for a tenant whose calls could not be reserved one row with the error's `code`
# (SQLSTATE) and `why`. Each stands in a savepoint of its own, so that nobody fails for another one, and nobody waits
# long for what somebody else holds of another one (55P03: it may be asked again). Tenants come in the order of their
# ids, as wherever one transaction writes the counters of several.
TOGETHER = """
CREATE FUNCTION chat_reserve_together(asked jsonb)
RETURNS TABLE (tenant uuid, code text, why text, refused text, today date, resets_in_s int, tenant_sum bigint,
               member_sum bigint, key_sum bigint)
LANGUAGE plpgsql SET lock_timeout TO '20ms' AS $$
#variable_conflict use_column
DECLARE
  one jsonb;
BEGIN
  SET CONSTRAINTS ALL IMMEDIATE;  -- a tenant that is gone would fail with the commit, and with it everybody else
  FOR one IN SELECT value FROM jsonb_array_elements(asked->'tenants') ORDER BY value->>'tenant' LOOP
    BEGIN
      RETURN QUERY SELECT (one->>'tenant')::uuid, NULL::text, NULL::text, r.* FROM chat_reserve(one) AS r;
    EXCEPTION WHEN OTHERS THEN
      RETURN QUERY SELECT (one->>'tenant')::uuid, SQLSTATE, SQLERRM, NULL::text, NULL::date, NULL::int, NULL::bigint,
                          NULL::bigint, NULL::bigint;
      PERFORM set_config('lock_timeout', '1ms', true);  -- the wait above is shared by all
    END;
  END LOOP;
END $$
"""

# Settles calls of one tenant by what they have used: `asked` has tenant and `calls` (what `chat_reserve` was told of
# each, and fence, today, outcome, finish, upstream, attempts, tokens_in, tokens_out, estimated, first_byte_ms, total_ms,
# prompt, answer). A call that is no longer `running` under this fence is left alone; one that a crash of the database
# has forgotten is written anew. Returns the ids of those that this call has settled.
SETTLE = """
CREATE FUNCTION chat_settle(asked jsonb) RETURNS SETOF uuid LANGUAGE plpgsql
SET plan_cache_mode TO force_generic_plan AS $$
DECLARE
  whose uuid := (asked->>'tenant')::uuid;
BEGIN
  PERFORM set_config('app.tenant', whose::text, true), set_config('synchronous_commit', 'off', true);
  RETURN QUERY
  WITH c AS MATERIALIZED (
    SELECT r.*, r.tokens_in + r.tokens_out AS cost
      FROM jsonb_to_recordset(asked->'calls')
        AS r (id uuid, entry uuid, fence int, member uuid, key uuid, model text, lane text, today date,
              prompt_chars int, outcome text, finish text, upstream text, attempts int, tokens_in bigint,
              tokens_out bigint, estimated boolean, first_byte_ms int, total_ms int, prompt text, answer text)
  ),
  updated AS (
    UPDATE generation_chatcall t
       SET outcome = c.outcome, finish = c.finish, upstream = c.upstream, attempts = c.attempts,
           tokens_in = c.tokens_in, tokens_out = c.tokens_out, estimated = c.estimated,
           first_byte_ms = c.first_byte_ms, total_ms = c.total_ms, prompt = c.prompt, answer = c.answer,
           lease_until = NULL
      FROM c
     WHERE t.tenant_id = whose AND t.id = c.id AND t.fence = c.fence AND t.outcome = 'running'
    RETURNING t.id, t.tokens::bigint AS tokens, t."user" AS member, t.key, t.model, t.charged_on, c.entry, c.cost,
              c.outcome
  ),
  missing AS (
    INSERT INTO generation_chatcall
           (id, tenant_id, "user", key, model, upstream, lane, outcome, finish, attempts, fence, charged_on, tokens,
            tokens_in, tokens_out, estimated, prompt_chars, first_byte_ms, total_ms, prompt, answer, created_at)
    SELECT id, whose, member, key, model, upstream, lane, outcome, finish, attempts, fence, today, 0,
           tokens_in, tokens_out, estimated, prompt_chars, first_byte_ms, total_ms, prompt, answer, now()
      FROM c WHERE NOT EXISTS (SELECT FROM generation_chatcall t WHERE t.tenant_id = whose AND t.id = c.id)
    ON CONFLICT DO NOTHING
    RETURNING generation_chatcall.id
  ),
  closed AS MATERIALIZED (
    SELECT * FROM updated
    UNION ALL
    SELECT c.id, 0, c.member, c.key, c.model, c.today, c.entry, c.cost, c.outcome FROM missing JOIN c USING (id)
  ),
  entries AS (
    INSERT INTO accounts_ledgerentry
           (id, tenant_id, event_id, kind, metric, amount, ref, "user", key, reason, label, charged_on, created_at)
    SELECT entry, whose, id || ':settle:tokens', CASE cost WHEN 0 THEN 'refund' ELSE 'settle' END, 'tokens',
           cost - tokens, id, member, key, CASE cost WHEN 0 THEN outcome ELSE '' END, model, charged_on, now()
      FROM closed
  ),
  moved AS (
    INSERT INTO accounts_counter AS t (id, tenant_id, scope, scope_id, metric, period, starts_on, used, reserved)
    SELECT gen_random_uuid(), whose, s.scope, s.scope_id, 'tokens', p.period,
           CASE p.period WHEN 'day' THEN o.charged_on ELSE date_trunc('month', o.charged_on::timestamp)::date END,
           sum(o.cost), -sum(o.tokens)
      FROM closed o
     CROSS JOIN LATERAL (VALUES (1, 'tenant', whose), (2, 'member', o.member), (3, 'key', o.key))
           AS s (rank, scope, scope_id)
     CROSS JOIN (VALUES ('day'), ('month')) AS p (period)
     WHERE s.scope_id IS NOT NULL
     GROUP BY s.rank, s.scope, s.scope_id, p.period, 7
     ORDER BY s.rank, s.scope_id, p.period, 7
    ON CONFLICT (tenant_id, scope, scope_id, metric, period, starts_on) DO UPDATE
       SET used = t.used + excluded.used, reserved = t.reserved + excluded.reserved
  )
  SELECT closed.id FROM closed;
END $$
"""

# Keeps calls of several tenants for so many seconds more: `asked` has lease_s and `tenants` (tenant -> ids). Returns
# those that are still under way.
RENEW = """
CREATE FUNCTION chat_renew(asked jsonb) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
  whose text;
  ids jsonb;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  FOR whose, ids IN SELECT * FROM jsonb_each(asked->'tenants') ORDER BY 1 LOOP
    PERFORM set_config('app.tenant', whose, true);
    RETURN QUERY
    UPDATE generation_chatcall t SET lease_until = now() + (asked->>'lease_s')::int * interval '1 second'
     WHERE t.tenant_id = whose::uuid AND t.outcome = 'running'
       AND t.id IN (SELECT value::uuid FROM jsonb_array_elements_text(ids))
    RETURNING t.id;
  END LOOP;
END $$
"""

CREATE = [TAKE, RESERVE, TOGETHER, SETTLE, RENEW]
DROP = [
    f"DROP FUNCTION chat_{name}"
    for name in (
        "renew(jsonb)",
        "settle(jsonb)",
        "reserve_together(jsonb)",
        "reserve(jsonb)",
        "take(jsonb, jsonb, date)",
    )
]

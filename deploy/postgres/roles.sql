-- The studio's roles. Run once as a superuser, connected to the studio's own, empty database:
--
--     createdb studio
--     psql -d studio -f deploy/postgres/roles.sql
--     psql -d studio -c '\password studio_owner' -c '\password studio_web' -c '\password studio_worker'
--
-- It may run again: it changes nothing that is right already. PostgreSQL 14 to 18. Tables, grants on them and the
-- row-level policies come from the migrations, which run as studio_owner.
--
--   studio_owner   owns the database and its tables, runs migrations (DATABASE_OWNER_URL)
--   studio_web     pages and API: sees one tenant at a time (DATABASE_URL)
--   studio_worker  GPU workers, errands, ticker (DATABASE_WORKER_URL)
--   studio_staff   nobody signs in as it; web takes it with SET ROLE where staff look across tenants
--
-- None is a superuser and none bypasses row-level security: that is what keeps tenants apart.

DO $$
DECLARE
    name text;
BEGIN
    -- Two studios may share one server, and roles belong to the server: two first starts must not race here.
    PERFORM pg_advisory_xact_lock(7302491);
    FOREACH name IN ARRAY ARRAY['studio_owner', 'studio_web', 'studio_worker', 'studio_staff'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I', name);
        END IF;
        -- NOINHERIT: membership alone shows nothing, only SET ROLE does (on PostgreSQL 14 and 15 this attribute is
        -- the only way to say so).
        EXECUTE format(
            'ALTER ROLE %I NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION NOINHERIT %s',
            name, CASE WHEN name = 'studio_staff' THEN 'NOLOGIN' ELSE 'LOGIN' END);
    END LOOP;
END $$;

DO $$
DECLARE
    pair text[];
    options text := '';
BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        options := ' WITH INHERIT FALSE, SET TRUE';
    END IF;
    FOREACH pair SLICE 1 IN ARRAY ARRAY[
        ['studio_staff', 'studio_web'],
        ['studio_staff', 'studio_owner'],
        ['studio_web', 'studio_owner'],
        ['studio_worker', 'studio_owner']
    ] LOOP
        EXECUTE format('GRANT %I TO %I%s', pair[1], pair[2], options);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I OWNER TO studio_owner', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO studio_web, studio_worker', current_database());
END $$;

-- No page and no call of the API needs so long; a search through a million prompts must not hold the others' connections.
ALTER ROLE studio_web SET statement_timeout = '20s';
-- A process that is frozen in a transaction (a debugger, a paused machine, SIGSTOP) keeps its locks, and a claim's is the
-- lock of its whole pool. Transactions here are milliseconds: whoever says nothing in one for so long loses its session.
ALTER ROLE studio_web SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE studio_worker SET idle_in_transaction_session_timeout = '10s';

-- PostgreSQL 14 lets everybody create tables in "public".
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO studio_owner;
GRANT USAGE ON SCHEMA public TO studio_web, studio_worker, studio_staff;

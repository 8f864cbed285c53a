-- What the limiters with `store: 'database'` have counted.
--
-- Runs alone, any number of times: psql -f 010_rate_limits.sql

-- One row for each key that was hit lately. UNLOGGED: a crash of the server empties the table and
-- replicas do not have it, which is right for counts and spares the write-ahead log. The fill
-- factor and the lack of a second index keep every hit a heap-only update.
--
-- `at` is the latest moment by the row's own clock, `ahead` by how much that is ahead of the
-- server's: a server clock that is set back stops the row's for a moment and no longer.
-- `due` is the end of a fixed window, the end of a block (sliding window), or the theoretical
-- arrival time in nanoseconds (gcra); everything else is in milliseconds. `log` has the moment of
-- every point in a sliding window. `passed` tells how many of the latest hits passed.
CREATE UNLOGGED TABLE IF NOT EXISTS baileys_guard_rate_limit (
  id bytea PRIMARY KEY,
  limiter text NOT NULL,
  at bigint NOT NULL,
  ahead bigint NOT NULL,
  passed bigint NOT NULL,
  taken bigint NOT NULL,
  refused bigint NOT NULL,
  due bigint NOT NULL,
  keep_until bigint NOT NULL,
  log bigint[]
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);

-- Supabase's REST API shows every table of the public schema to the roles anon and
-- authenticated unless it is taken from them.
DO $$
DECLARE
  reader text;
BEGIN
  REVOKE ALL ON baileys_guard_rate_limit FROM PUBLIC;
  FOR reader IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
    EXECUTE format('REVOKE ALL ON baileys_guard_rate_limit FROM %I', reader);
  END LOOP;
END
$$;

-- What was applied, by whatever means.
CREATE TABLE IF NOT EXISTS baileys_guard_migration (
  name text PRIMARY KEY,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO baileys_guard_migration (name) VALUES ('010_rate_limits.sql') ON CONFLICT DO NOTHING;

-- How often a session has failed to come up, and who takes part in resuming sessions.
--
-- Runs alone, any number of times: psql -f 012_add_reconnects.sql

-- One row for each agent whose connection failed and has not held since, so that a takeover or a
-- restart goes on where the last owner was. `wait_ms` is what was left to wait at `recorded_at`;
-- only the time between two looks at the database's clock is ever used, and never more than that.
CREATE TABLE IF NOT EXISTS baileys_guard_reconnect (
  agent_id text PRIMARY KEY,
  tries integer NOT NULL,
  failures integer NOT NULL,
  failing_ms bigint NOT NULL,
  quarantines integer NOT NULL,
  wait_ms bigint NOT NULL,
  reason text,
  recorded_at timestamptz NOT NULL
) WITH (fillfactor = 70);

-- The incarnations that resume sessions: a share of all is for each of those that live.
CREATE TABLE IF NOT EXISTS baileys_guard_resumer (
  incarnation text PRIMARY KEY,
  since timestamptz NOT NULL
);

-- As in 009: out of reach of Supabase's REST roles.
DO $$
DECLARE
  reader text;
BEGIN
  REVOKE ALL ON baileys_guard_reconnect, baileys_guard_resumer FROM PUBLIC;
  FOR reader IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
    EXECUTE format('REVOKE ALL ON baileys_guard_reconnect, baileys_guard_resumer FROM %I', reader);
  END LOOP;
END
$$;

-- What was applied, by whatever means.
CREATE TABLE IF NOT EXISTS baileys_guard_migration (
  name text PRIMARY KEY,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO baileys_guard_migration (name) VALUES ('012_add_reconnects.sql') ON CONFLICT DO NOTHING;

-- Baileys auth states: one row a key, the value sealed for its agent (docs/envelope.md).
--
-- Runs alone, any number of times: psql -f 011_add_auth_state.sql

-- Session rows are rewritten with every message: room on the page keeps that a heap-only update.
CREATE TABLE IF NOT EXISTS baileys_guard_auth (
  agent_id text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  value bytea NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (agent_id, kind, id)
) WITH (fillfactor = 80);

-- Sealed bytes do not shrink; trying costs time.
ALTER TABLE baileys_guard_auth ALTER COLUMN value SET STORAGE EXTERNAL;

-- Supabase's REST API shows every table of the public schema to the roles anon and
-- authenticated unless it is taken from them.
DO $$
DECLARE
  reader text;
BEGIN
  REVOKE ALL ON baileys_guard_auth FROM PUBLIC;
  FOR reader IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
    EXECUTE format('REVOKE ALL ON baileys_guard_auth FROM %I', reader);
  END LOOP;
END
$$;

-- What was applied, by whatever means.
CREATE TABLE IF NOT EXISTS baileys_guard_migration (
  name text PRIMARY KEY,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO baileys_guard_migration (name) VALUES ('011_add_auth_state.sql') ON CONFLICT DO NOTHING;

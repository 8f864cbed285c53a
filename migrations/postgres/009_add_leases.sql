-- Who lives and who owns what. These tables decide; whatsapp_sessions only shows.
--
-- Runs alone, any number of times: psql -f 009_add_leases.sql

-- One row for each start of a process. `beat` is all that a heartbeat counts up; the times are
-- for people. Once `dead_at` is set it stays set. The fill factor and the lack of an index on
-- what beats change keep every beat a heap-only update.
CREATE TABLE IF NOT EXISTS baileys_guard_instance (
  incarnation text PRIMARY KEY,
  instance_id text NOT NULL,
  hostname text NOT NULL,
  pid integer NOT NULL,
  started_at timestamptz NOT NULL,
  ttl_ms bigint NOT NULL,
  boot_id text,
  lock_dir text,
  beat bigint NOT NULL,
  beat_at timestamptz NOT NULL,
  dead_at timestamptz,
  death text CHECK (death IN ('retired', 'gone', 'silent'))
) WITH (fillfactor = 70);

-- One row for each agent that was ever claimed. A release sets `held` to false and leaves the
-- rest, so that the token only grows and a late duplicate of an older claim is known by `seq`.
-- An owner's row cannot vanish while a lease names it.
CREATE TABLE IF NOT EXISTS baileys_guard_lease (
  agent_id text PRIMARY KEY,
  incarnation text NOT NULL REFERENCES baileys_guard_instance (incarnation),
  held boolean NOT NULL,
  token bigint NOT NULL,
  seq bigint NOT NULL,
  claimed_at timestamptz NOT NULL
) WITH (fillfactor = 70);

-- Not CREATE INDEX IF NOT EXISTS: that waits for all writers before it looks whether it exists.
DO $$
BEGIN
  IF to_regclass('baileys_guard_instance_live') IS NULL THEN
    CREATE INDEX baileys_guard_instance_live
      ON baileys_guard_instance (incarnation) WHERE dead_at IS NULL;
  END IF;
  -- A beat counts its own leases and adds up their tokens from this index alone.
  IF to_regclass('baileys_guard_lease_owner') IS NULL THEN
    CREATE INDEX baileys_guard_lease_owner
      ON baileys_guard_lease (incarnation) INCLUDE (token) WHERE held;
  END IF;
END
$$;

-- Supabase's REST API shows every table of the public schema to the roles anon and
-- authenticated unless it is taken from them.
DO $$
DECLARE
  reader text;
BEGIN
  REVOKE ALL ON baileys_guard_instance, baileys_guard_lease FROM PUBLIC;
  FOR reader IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
    EXECUTE format('REVOKE ALL ON baileys_guard_instance, baileys_guard_lease FROM %I', reader);
  END LOOP;
END
$$;

-- What was applied, by whatever means.
CREATE TABLE IF NOT EXISTS baileys_guard_migration (
  name text PRIMARY KEY,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO baileys_guard_migration (name) VALUES ('009_add_leases.sql') ON CONFLICT DO NOTHING;

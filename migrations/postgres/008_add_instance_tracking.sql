-- The host's table, whatsapp_sessions, with the columns that show which instance has a session.
--
-- On an empty database this creates the table. Where a host already has one, every row and every
-- column stays as it is and what is missing is added, nullable or with a default, so that the
-- host's own statements go on working. What was added is noted in baileys_guard_added, so that a
-- rollback takes back exactly that.
--
-- An index is built while the host's writers wait. On a very large table make it beforehand with
-- CREATE INDEX CONCURRENTLY; it is accepted under any name.
--
-- Runs alone, any number of times: psql -f 008_add_instance_tracking.sql

CREATE TABLE IF NOT EXISTS baileys_guard_added (
  kind text NOT NULL,
  name text NOT NULL,
  PRIMARY KEY (kind, name)
);

DO $$
DECLARE
  item record;
  reader text;
  sessions regclass := to_regclass('whatsapp_sessions');
BEGIN
  IF sessions IS NULL THEN
    CREATE TABLE whatsapp_sessions (
      id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      user_id text,
      agent_id text UNIQUE,
      phone_number varchar(15),
      session_state jsonb,
      session_data jsonb,
      is_active boolean DEFAULT false,
      status varchar(50) DEFAULT 'disconnected' CHECK (status IN (
        'disconnected', 'connecting', 'qr_pending', 'connected', 'conflict', 'error',
        'initializing')),
      qr_code text,
      qr_generated_at timestamptz,
      instance_id varchar(255),
      instance_hostname varchar(255),
      instance_pid integer,
      instance_started_at timestamptz,
      last_heartbeat timestamptz,
      last_connected timestamptz,
      created_at timestamptz DEFAULT now(),
      updated_at timestamptz DEFAULT now(),
      UNIQUE (user_id, phone_number)
    );
    INSERT INTO baileys_guard_added VALUES ('table', 'whatsapp_sessions') ON CONFLICT DO NOTHING;
    -- Nobody is meant to read QR codes through Supabase's REST API; grant it to whom you like.
    FOR reader IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
      EXECUTE format('REVOKE ALL ON whatsapp_sessions FROM %I', reader);
    END LOOP;
    sessions := to_regclass('whatsapp_sessions');
  END IF;

  -- Looked up first: ADD COLUMN IF NOT EXISTS would lock the table even where nothing is missing.
  FOR item IN
    SELECT wanted.name, wanted.type
    FROM (VALUES
      ('id', 'uuid NOT NULL DEFAULT gen_random_uuid()'),
      ('agent_id', 'text'),
      ('phone_number', 'varchar(15)'),
      ('is_active', 'boolean DEFAULT false'),
      ('status', $type$varchar(50) DEFAULT 'disconnected' CHECK (status IN ('disconnected',
        'connecting', 'qr_pending', 'connected', 'conflict', 'error', 'initializing'))$type$),
      ('qr_code', 'text'),
      ('qr_generated_at', 'timestamp'),
      ('session_data', 'jsonb'),
      ('last_connected', 'timestamp'),
      -- The default comes after the column, or all rows of before would seem to be made now.
      ('created_at',
        'timestamp, ALTER COLUMN created_at SET DEFAULT (now() AT TIME ZONE ''utc'')'),
      ('updated_at',
        'timestamp, ALTER COLUMN updated_at SET DEFAULT (now() AT TIME ZONE ''utc'')'),
      ('user_id', 'text'),
      ('instance_id', 'varchar(255)'),
      ('instance_hostname', 'varchar(255)'),
      ('instance_pid', 'integer'),
      ('instance_started_at', 'timestamp'),
      ('last_heartbeat', 'timestamp')
    ) AS wanted (name, type)
    WHERE NOT EXISTS (
      SELECT 1 FROM pg_attribute a
      WHERE a.attrelid = sessions AND a.attname = wanted.name AND NOT a.attisdropped)
  LOOP
    EXECUTE format('ALTER TABLE %s ADD COLUMN %I %s', sessions, item.name, item.type);
    INSERT INTO baileys_guard_added VALUES ('column', item.name) ON CONFLICT DO NOTHING;
  END LOOP;

  -- An index that begins with the column serves, whatever its name. None on last_heartbeat: it
  -- would turn every refresh into an update of every index.
  FOR item IN
    SELECT wanted.name, wanted.index
    FROM (VALUES
      ('agent_id', 'baileys_guard_sessions_agent'),
      ('instance_id', 'baileys_guard_sessions_instance')
    ) AS wanted (name, index)
    WHERE NOT EXISTS (
      SELECT 1 FROM pg_index i
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
      WHERE i.indrelid = sessions AND a.attname = wanted.name AND i.indpred IS NULL AND i.indisvalid)
  LOOP
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (%I)', item.index, sessions, item.name);
    INSERT INTO baileys_guard_added VALUES ('index', item.index) ON CONFLICT DO NOTHING;
  END LOOP;

  FOR item IN
    EXECUTE format(
      'SELECT agent_id::text AS agent, count(*) AS rows FROM %s
        WHERE agent_id IS NOT NULL GROUP BY agent_id HAVING count(*) > 1 ORDER BY 1', sessions)
  LOOP
    RAISE NOTICE 'agent % has % rows in whatsapp_sessions; the newest one is used',
      item.agent, item.rows;
  END LOOP;
END
$$;

-- What was applied, by whatever means.
CREATE TABLE IF NOT EXISTS baileys_guard_migration (
  name text PRIMARY KEY,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO baileys_guard_migration (name) VALUES ('008_add_instance_tracking.sql') ON CONFLICT DO NOTHING;

-- Supabase's REST API shows every table of the public schema to the roles anon and
-- authenticated unless it is taken from them.
DO $$
DECLARE
  reader text;
BEGIN
  REVOKE ALL ON baileys_guard_added, baileys_guard_migration FROM PUBLIC;
  FOR reader IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
    EXECUTE format('REVOKE ALL ON baileys_guard_added, baileys_guard_migration FROM %I', reader);
  END LOOP;
END
$$;

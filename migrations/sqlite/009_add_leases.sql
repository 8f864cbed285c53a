-- Who lives and who owns what. These tables decide; whatsapp_sessions only shows.
--
-- Runs alone, any number of times: sqlite3 -bail my.db < 009_add_leases.sql

-- One row for each start of a process. `beat` is all that a heartbeat counts up; the times are
-- for people. Once `dead_at` is set it stays set.
CREATE TABLE IF NOT EXISTS baileys_guard_instance (
  incarnation TEXT NOT NULL PRIMARY KEY,
  instance_id TEXT NOT NULL,
  hostname TEXT NOT NULL,
  pid INTEGER NOT NULL,
  started_at TEXT NOT NULL,
  ttl_ms INTEGER NOT NULL,
  boot_id TEXT,
  lock_dir TEXT,
  beat INTEGER NOT NULL,
  beat_at TEXT NOT NULL,
  dead_at TEXT,
  death TEXT CHECK (death IN ('retired', 'gone', 'silent'))
) STRICT;

-- Every start leaves a row behind; those that live are few and are asked for all the time.
CREATE INDEX IF NOT EXISTS baileys_guard_instance_live
  ON baileys_guard_instance (incarnation) WHERE dead_at IS NULL;

-- One row for each agent that was ever claimed. A release sets `held` to 0 and leaves the rest,
-- so that the token only grows and a late duplicate of an older claim is known by its `seq`.
CREATE TABLE IF NOT EXISTS baileys_guard_lease (
  agent_id TEXT NOT NULL PRIMARY KEY,
  incarnation TEXT NOT NULL REFERENCES baileys_guard_instance (incarnation),
  held INTEGER NOT NULL CHECK (held IN (0, 1)),
  token INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  claimed_at TEXT NOT NULL
) STRICT;

-- With all that a beat asks for, so that it counts what it holds from the index alone.
CREATE INDEX IF NOT EXISTS baileys_guard_lease_owner
  ON baileys_guard_lease (incarnation, held, token) WHERE held = 1;

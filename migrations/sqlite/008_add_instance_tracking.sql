-- The host's table, whatsapp_sessions, with the columns that show which instance has a session.
--
-- On an empty database this creates the table. Where a host already has one, it is left as it
-- is: SQLite cannot add a column only where it is missing, so `npx baileys-guard migrate` does
-- that after this file, from the list in src/store/sqlite/host.rs, and notes in
-- baileys_guard_added what it added, so that a rollback takes back exactly that.
--
-- Runs alone, any number of times: sqlite3 -bail my.db < 008_add_instance_tracking.sql

CREATE TABLE IF NOT EXISTS baileys_guard_added (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (kind, name)
);

INSERT OR IGNORE INTO baileys_guard_added (kind, name)
SELECT 'table', 'whatsapp_sessions'
 WHERE NOT EXISTS (SELECT 1 FROM sqlite_master WHERE lower(name) = 'whatsapp_sessions');

CREATE TABLE IF NOT EXISTS whatsapp_sessions (
  id TEXT NOT NULL PRIMARY KEY DEFAULT (lower(
    hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-'
    || substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-'
    || hex(randomblob(6)))),
  user_id TEXT,
  agent_id TEXT UNIQUE,
  phone_number TEXT,
  session_state TEXT,
  session_data TEXT,
  is_active BOOLEAN NOT NULL DEFAULT 0,
  status TEXT DEFAULT 'disconnected' CHECK (status IN (
    'disconnected', 'connecting', 'qr_pending', 'connected', 'conflict', 'error', 'initializing')),
  qr_code TEXT,
  qr_generated_at TEXT,
  instance_id TEXT,
  instance_hostname TEXT,
  instance_pid INTEGER,
  instance_started_at TEXT,
  last_heartbeat TEXT,
  last_connected TEXT,
  created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  UNIQUE (user_id, phone_number)
);

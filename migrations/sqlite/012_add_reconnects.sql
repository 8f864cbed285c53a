-- How often a session has failed to come up, and who takes part in resuming sessions.
--
-- Runs alone, any number of times: sqlite3 -bail my.db < 012_add_reconnects.sql

-- One row for each agent whose connection failed and has not held since, so that a takeover or a
-- restart goes on where the last owner was. `wait_ms` is what was left to wait at `recorded_at`;
-- only the time between two looks at the clock is ever used, and never more than that.
CREATE TABLE IF NOT EXISTS baileys_guard_reconnect (
  agent_id TEXT NOT NULL PRIMARY KEY,
  tries INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  failing_ms INTEGER NOT NULL,
  quarantines INTEGER NOT NULL,
  wait_ms INTEGER NOT NULL,
  reason TEXT,
  recorded_at TEXT NOT NULL
) STRICT;

-- The incarnations that resume sessions: a share of all is for each of those that live.
CREATE TABLE IF NOT EXISTS baileys_guard_resumer (
  incarnation TEXT NOT NULL PRIMARY KEY,
  since TEXT NOT NULL
) STRICT;

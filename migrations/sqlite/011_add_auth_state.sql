-- Baileys auth states: one row a key, the value sealed for its agent (docs/envelope.md).
--
-- Runs alone, any number of times: sqlite3 -bail my.db < 011_add_auth_state.sql

CREATE TABLE IF NOT EXISTS baileys_guard_auth (
  agent_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  value BLOB NOT NULL,
  updated_at TEXT NOT NULL,
  PRIMARY KEY (agent_id, kind, id)
) STRICT;

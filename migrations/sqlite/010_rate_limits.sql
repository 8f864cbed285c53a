-- What the limiters with `store: 'database'` have counted.
--
-- Runs alone, any number of times: sqlite3 -bail my.db < 010_rate_limits.sql

-- One row for each key that was hit lately. `at` is the latest moment by the row's own clock,
-- `ahead` by how much that is ahead of the machine's: a clock that is set back stops the row's for
-- a moment and no longer. `due` is the end of a fixed window, the end of a block (sliding window),
-- or the theoretical arrival time in nanoseconds (gcra); everything else is in milliseconds.
-- `log` has the moment of every point in a sliding window, eight bytes each, little-endian.
CREATE TABLE IF NOT EXISTS baileys_guard_rate_limit (
  number INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  limiter TEXT NOT NULL,
  at INTEGER NOT NULL,
  ahead INTEGER NOT NULL,
  taken INTEGER NOT NULL,
  refused INTEGER NOT NULL,
  due INTEGER NOT NULL,
  keep_until INTEGER NOT NULL,
  log BLOB NOT NULL
) STRICT;

-- Takes back 010_rate_limits.sql.

DROP TABLE IF EXISTS baileys_guard_rate_limit;

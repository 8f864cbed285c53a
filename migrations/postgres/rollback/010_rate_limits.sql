-- Takes back 010_rate_limits.sql.

DROP TABLE IF EXISTS baileys_guard_rate_limit;

DO $$
BEGIN
  IF to_regclass('baileys_guard_migration') IS NOT NULL THEN
    DELETE FROM baileys_guard_migration WHERE name = '010_rate_limits.sql';
  END IF;
END
$$;

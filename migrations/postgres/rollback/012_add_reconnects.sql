-- Takes back 012_add_reconnects.sql. No instance may be running.

DROP TABLE IF EXISTS baileys_guard_resumer;
DROP TABLE IF EXISTS baileys_guard_reconnect;

DO $$
BEGIN
  IF to_regclass('baileys_guard_migration') IS NOT NULL THEN
    DELETE FROM baileys_guard_migration WHERE name = '012_add_reconnects.sql';
  END IF;
END
$$;

-- Takes back 009_add_leases.sql. No instance may be running.

DROP TABLE IF EXISTS baileys_guard_lease;
DROP TABLE IF EXISTS baileys_guard_instance;

DO $$
BEGIN
  IF to_regclass('baileys_guard_migration') IS NOT NULL THEN
    DELETE FROM baileys_guard_migration WHERE name = '009_add_leases.sql';
  END IF;
END
$$;

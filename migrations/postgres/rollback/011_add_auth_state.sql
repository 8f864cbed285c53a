-- Takes back 011_add_auth_state.sql. The auth states go with it: export them first, with
-- `npx baileys-guard export`.

DROP TABLE IF EXISTS baileys_guard_auth;

DO $$
BEGIN
  IF to_regclass('baileys_guard_migration') IS NOT NULL THEN
    DELETE FROM baileys_guard_migration WHERE name = '011_add_auth_state.sql';
  END IF;
END
$$;

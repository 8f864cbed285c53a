-- Takes back 008_add_instance_tracking.sql: what it noted in baileys_guard_added, and nothing
-- else. A table that it created stays when it holds rows.

DO $$
DECLARE
  item record;
  rows bigint;
BEGIN
  IF to_regclass('baileys_guard_migration') IS NOT NULL THEN
    DELETE FROM baileys_guard_migration WHERE name = '008_add_instance_tracking.sql';
    -- What is left was applied by a later version of this library, which knows how to undo it.
    IF NOT EXISTS (SELECT FROM baileys_guard_migration) THEN
      DROP TABLE baileys_guard_migration;
    END IF;
  END IF;
  IF to_regclass('baileys_guard_added') IS NULL THEN
    RETURN;
  END IF;
  FOR item IN SELECT name FROM baileys_guard_added WHERE kind = 'index' LOOP
    EXECUTE format('DROP INDEX IF EXISTS %I', item.name);
  END LOOP;
  FOR item IN SELECT name FROM baileys_guard_added WHERE kind = 'column' LOOP
    EXECUTE format('ALTER TABLE IF EXISTS whatsapp_sessions DROP COLUMN IF EXISTS %I', item.name);
  END LOOP;
  IF EXISTS (SELECT 1 FROM baileys_guard_added WHERE kind = 'table')
     AND to_regclass('whatsapp_sessions') IS NOT NULL THEN
    SELECT count(*) INTO rows FROM whatsapp_sessions;
    IF rows = 0 THEN
      DROP TABLE whatsapp_sessions;
    ELSE
      RAISE NOTICE 'whatsapp_sessions holds % rows and stays', rows;
    END IF;
  END IF;
  DROP TABLE baileys_guard_added;
END
$$;

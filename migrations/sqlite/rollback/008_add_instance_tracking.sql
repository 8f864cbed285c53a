-- Takes back 008_add_instance_tracking.sql, after `npx baileys-guard rollback` has dropped from
-- whatsapp_sessions what baileys_guard_added names: the columns and the index that a host's
-- table was given, or the whole table where it was ours and holds no rows. Read
-- baileys_guard_added and do the same by hand before running this file alone.

DROP TABLE IF EXISTS baileys_guard_added;

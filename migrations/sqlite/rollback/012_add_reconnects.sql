-- Takes back 012_add_reconnects.sql. No instance may be running.

DROP TABLE IF EXISTS baileys_guard_resumer;
DROP TABLE IF EXISTS baileys_guard_reconnect;

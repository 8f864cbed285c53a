-- Takes back 009_add_leases.sql. No instance may be running.

DROP TABLE IF EXISTS baileys_guard_lease;
DROP TABLE IF EXISTS baileys_guard_instance;

-- Takes back 011_add_auth_state.sql. The auth states go with it: export them first, with
-- `npx baileys-guard export`.

DROP TABLE IF EXISTS baileys_guard_auth;

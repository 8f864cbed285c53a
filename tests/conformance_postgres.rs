//! The conformance suite on PostgreSQL. `TEST_DATABASE_URL` names a server and a role that may
//! create databases; each test makes one of its own and drops it.

mod conformance;
#[path = "postgres/database.rs"]
#[allow(dead_code)] // some of it is for store_postgres.rs
mod database;

conformance_suite!(crate::database::fresh);

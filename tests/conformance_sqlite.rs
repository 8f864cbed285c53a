//! The conformance suite on SQLite files.

mod conformance;
#[path = "sqlite/file.rs"]
mod file;

conformance_suite!(crate::file::fresh);

//! What a store tells of itself to an operator, without changing anything.
//!
//! It answers on a database that was never migrated, and on one of another version of ours.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::migrations::Migration;

/// The facts; whoever asked judges them.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    /// Product and version, as the server gives them.
    pub server: String,
    /// Time for one question and its answer.
    pub round_trip: Duration,
    /// Every migration of this version, in order, and whether the database has it.
    pub migrations: Vec<(String, bool)>,
    /// Migrations that the database has from another version of this library.
    pub unknown_migrations: Vec<String>,
    /// Agents with more than one row in `whatsapp_sessions`, and how many rows each has.
    pub duplicates: Vec<(String, i64)>,
    /// SQLite: how the file keeps its transactions.
    pub journal_mode: Option<String>,
    /// What only a server has.
    pub network: Option<NetworkFacts>,
}

/// Facts about a database on the other side of a connection.
#[derive(Debug, Clone, Default)]
pub struct NetworkFacts {
    /// By how many milliseconds its clock is ahead of this machine's, give or take the round trip.
    pub clock_ahead_ms: i64,
    /// A transaction-mode pooler is in between, or the URL says so.
    pub pooled: bool,
    /// Nothing can be written: it is a standby, or set to read only.
    pub read_only: bool,
    /// Whether this connection is encrypted; `None` where it cannot be told.
    pub encrypted: Option<bool>,
    /// Whether the server's certificate is checked.
    pub verified: bool,
    /// The server is this machine.
    pub local: bool,
    /// Tables that others than our role may reach.
    pub exposed: Vec<Exposed>,
}

/// A table that a role of Supabase's REST API may reach, without row level security.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// The table.
    pub table: String,
    /// The role.
    pub role: String,
}

/// Which of our migrations a database has. One that was applied by `psql -f` is recorded nowhere,
/// so the tables that a file makes tell; for a file that makes none the record does.
pub(super) fn applied(
    migrations: &[Migration],
    recorded: &[String],
    tables: &[String],
) -> Vec<(String, bool)> {
    migrations
        .iter()
        .map(|migration| {
            let mut made = tables_of(migration.up).peekable();
            let there = match made.peek() {
                Some(_) => made.all(|table| tables.iter().any(|known| known == table)),
                None => recorded.iter().any(|known| known == migration.name),
            };
            (migration.name.to_owned(), there)
        })
        .collect()
}

/// What a database records that is none of ours: another version's.
pub(super) fn unknown(migrations: &[Migration], recorded: &[String]) -> Vec<String> {
    let ours = |name: &String| migrations.iter().any(|migration| migration.name == name);
    recorded.iter().filter(|name| !ours(name)).cloned().collect()
}

/// The tables of ours that a script makes.
fn tables_of(script: &str) -> impl Iterator<Item = &str> {
    script
        .split("TABLE IF NOT EXISTS ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next())
        .filter(|table| table.starts_with("baileys_guard_"))
}

/// This machine's clock in unix milliseconds.
pub(super) fn wall_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_there_when_all_its_tables_are() {
        let file = |name, up| Migration { name, up, down: "" };
        let files = [
            file(
                "1.sql",
                "CREATE TABLE IF NOT EXISTS baileys_guard_a (\n CREATE UNLOGGED TABLE IF NOT EXISTS baileys_guard_b(",
            ),
            file("2.sql", "ALTER TABLE baileys_guard_a ADD COLUMN c text"),
        ];
        let strings = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let there = |recorded: &[&str], tables: &[&str]| {
            let found = applied(&files, &strings(recorded), &strings(tables));
            found.into_iter().map(|(_, there)| there).collect::<Vec<_>>()
        };
        assert_eq!(there(&["1.sql", "2.sql"], &["baileys_guard_a"]), [false, true]);
        assert_eq!(there(&[], &["baileys_guard_a", "baileys_guard_b"]), [true, false]);
    }
}

//! The host's table as it is here, and the columns that it has to have.
//!
//! Its columns may be declared as anything. Timestamps are ISO-8601 text in UTC, or unix
//! milliseconds where the host declares an integer.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::failure::Failure;
use crate::error::{Error, Result};
use crate::store::HostColumn;

/// What a host's `whatsapp_sessions` must have besides `id` and `agent_id`, with the declaration
/// that is added where the column is missing. Each is nullable or defaulted, so that the host's
/// own INSERTs go on working.
const COLUMNS: &[(&str, &str)] = &[
    ("user_id", "TEXT"),
    ("phone_number", "TEXT"),
    ("session_data", "TEXT"),
    ("is_active", "BOOLEAN DEFAULT 0"),
    (
        "status",
        "TEXT DEFAULT 'disconnected' CHECK (status IN ('disconnected', 'connecting', \
         'qr_pending', 'connected', 'conflict', 'error', 'initializing'))",
    ),
    ("qr_code", "TEXT"),
    ("qr_generated_at", "TEXT"),
    ("instance_id", "TEXT"),
    ("instance_hostname", "TEXT"),
    ("instance_pid", "INTEGER"),
    ("instance_started_at", "TEXT"),
    ("last_heartbeat", "TEXT"),
    ("last_connected", "TEXT"),
    ("created_at", "TEXT"),
    ("updated_at", "TEXT"),
];

/// Whether the column takes different text for equal, as NOCASE and RTRIM do.
const LOOSE: &str = "SELECT agent_id = 'A' OR agent_id = 'a '
  FROM (SELECT agent_id FROM whatsapp_sessions WHERE false UNION ALL SELECT 'a')";

/// Finds the row of an agent; a host's table seldom has one.
const AGENT_INDEX: &str = "baileys_guard_sessions_agent";

struct Column {
    declared: String,
    /// NOT NULL and without a default: an INSERT has to bring a value.
    required: bool,
}

/// The columns of `whatsapp_sessions`, by name in lower case.
pub(super) struct HostTable(HashMap<String, Column>);

impl HostTable {
    /// Reads the declaration; fails where there is no such table or it lacks one of our columns.
    pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Self, Failure> {
        let table = Self::find(connection).await?;
        if COLUMNS.iter().any(|(name, _)| !table.0.contains_key(*name)) {
            return Err(Error::MigrationRequired.into());
        }
        Ok(table)
    }

    async fn find(connection: &mut SqliteConnection) -> Result<Self, Failure> {
        let columns: Vec<(String, String, bool)> = sqlx::query_as(
            "SELECT lower(name), upper(type), \"notnull\" AND dflt_value IS NULL AND pk = 0
               FROM pragma_table_info('whatsapp_sessions')",
        )
        .fetch_all(connection)
        .await?;
        let columns = columns.into_iter();
        Ok(Self(
            columns
                .map(|(name, declared, required)| (name, Column { declared, required }))
                .collect(),
        ))
    }

    /// Whether the table has the column.
    pub(super) fn has(&self, column: HostColumn) -> bool {
        self.0.contains_key(column.name())
    }

    fn is_integer(&self, column: &str) -> bool {
        self.0.get(column).is_some_and(|c| c.declared.contains("INT"))
    }

    /// An INSERT has to bring a user.
    pub(super) fn user_required(&self) -> bool {
        self.0.get("user_id").is_some_and(|c| c.required)
    }

    /// The table numbers its rows by itself.
    pub(super) fn numbers_rows(&self) -> bool {
        self.is_integer("id")
    }

    /// An expression for the column's value at a time: `'now'`, or another SQL expression that
    /// is ISO text.
    pub(super) fn time(&self, column: &str, text: &str) -> String {
        if self.is_integer(column) {
            format!("CAST(round(unixepoch({text}, 'subsec') * 1000) AS INTEGER)")
        } else {
            format!("strftime('%Y-%m-%dT%H:%M:%fZ', {text})")
        }
    }

    /// How the column gives an agent id back. SQLite turns text that looks like a number into
    /// one where the declaration calls for it.
    pub(super) fn canonical_agent(&self, agent_id: &str) -> Result<String> {
        let declared = self.0.get("agent_id").map_or("", |c| c.declared.as_str());
        if keeps_text(declared) {
            return Ok(agent_id.to_owned());
        }
        // What SQLite takes for space; a number in other space stays text there.
        let number = agent_id.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
        match (number.parse::<i64>(), number.parse::<f64>()) {
            (Ok(number), _) => Ok(number.to_string()),
            (Err(_), Ok(_)) => Err(Error::argument(
                "agentId",
                format!("{agent_id:?} cannot be stored in whatsapp_sessions.agent_id ({declared})"),
            )),
            _ => Ok(agent_id.to_owned()),
        }
    }
}

/// Whether a column declared like this leaves text alone. <https://www.sqlite.org/datatype3.html>
fn keeps_text(declared: &str) -> bool {
    let has = |word: &&str| declared.contains(word);
    !has(&"INT") && (declared.is_empty() || ["CHAR", "CLOB", "TEXT", "BLOB"].iter().any(has))
}

/// Adds the columns and the index that a host's table lacks, and notes each, so that a rollback
/// takes back exactly these.
pub(super) async fn complete(tx: &mut SqliteConnection) -> Result<(), Failure> {
    let table = HostTable::find(tx).await?;
    for required in ["id", "agent_id"] {
        if !table.0.contains_key(required) {
            return Err(Error::Database {
                action: "migrating".to_owned(),
                cause: format!("whatsapp_sessions has no column {required}"),
            }
            .into());
        }
    }
    if sqlx::query_scalar(LOOSE).fetch_one(&mut *tx).await? {
        return Err(Error::loose_agents().into());
    }
    for (name, declaration) in COLUMNS {
        if !table.0.contains_key(*name) {
            let add = format!("ALTER TABLE whatsapp_sessions ADD COLUMN {name} {declaration}");
            sqlx::raw_sql(AssertSqlSafe(add)).execute(&mut *tx).await?;
            note(tx, "column", name).await?;
        }
    }
    let indexed =
        "SELECT 1 FROM pragma_index_list('whatsapp_sessions') l, pragma_index_info(l.name) i
                    WHERE i.seqno = 0 AND lower(i.name) = 'agent_id' AND l.partial = 0";
    let indexed: Option<i64> = sqlx::query_scalar(indexed).fetch_optional(&mut *tx).await?;
    if indexed.is_none() {
        let add = format!("CREATE INDEX {AGENT_INDEX} ON whatsapp_sessions (agent_id)");
        sqlx::raw_sql(AssertSqlSafe(add)).execute(&mut *tx).await?;
        note(tx, "index", AGENT_INDEX).await?;
    }
    Ok(())
}

async fn note(tx: &mut SqliteConnection, kind: &str, name: &str) -> Result<(), Failure> {
    let note = "INSERT OR IGNORE INTO baileys_guard_added (kind, name) VALUES (?1, ?2)";
    sqlx::query(note).bind(kind).bind(name).execute(tx).await?;
    Ok(())
}

/// Takes back what `complete` and the migration added. A table of ours that holds rows stays.
pub(super) async fn strip(tx: &mut SqliteConnection) -> Result<(), Failure> {
    let added: Vec<(String, String)> = sqlx::query_as(
        "SELECT kind, name FROM baileys_guard_added
          ORDER BY CASE kind WHEN 'index' THEN 0 WHEN 'column' THEN 1 ELSE 2 END, name",
    )
    .fetch_all(&mut *tx)
    .await?;
    for (kind, name) in added {
        // The names are quoted, though only this library writes them.
        let name = name.replace('"', "\"\"");
        let undo = match kind.as_str() {
            "index" => format!("DROP INDEX IF EXISTS \"{name}\""),
            "column" => format!("ALTER TABLE whatsapp_sessions DROP COLUMN \"{name}\""),
            "table" => {
                let rows = AssertSqlSafe(format!("SELECT 1 FROM \"{name}\" LIMIT 1"));
                let rows: Option<i64> = sqlx::query_scalar(rows).fetch_optional(&mut *tx).await?;
                if rows.is_some() {
                    continue;
                }
                format!("DROP TABLE \"{name}\"")
            }
            _ => continue,
        };
        sqlx::raw_sql(AssertSqlSafe(undo)).execute(&mut *tx).await?;
    }
    Ok(())
}

//! What can go wrong on a SQLite file, and which of our errors that is.

use std::path::Path;

use crate::error::Error;

/// A failure inside the keeper, before it is known what was attempted.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite or the driver said so.
    Sqlx(sqlx::Error),
    /// The file could not be made.
    Create(std::io::Error),
    /// Another file, or none, stands where the one stood that is open.
    Replaced,
    /// The file stays in this journal mode; its file system has no shared memory.
    NoWal(String),
    /// Already one of ours.
    Told(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlx(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

/// Primary result codes; the extended ones have the kind above the low byte.
/// <https://www.sqlite.org/rescode.html>
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CANTOPEN: i32 = 14;
const PROTOCOL: i32 = 15;
const CONSTRAINT: i32 = 19;
const NOTADB: i32 = 26;

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Another connection had the lock for longer than we waited.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED | PROTOCOL))
}

/// A constraint or a trigger refused the row; what it said.
pub(super) fn constraint(error: &sqlx::Error) -> Option<String> {
    (primary_code(error) == Some(CONSTRAINT))
        .then(|| error.as_database_error().map_or_else(String::new, |e| e.message().to_owned()))
}

impl Failure {
    /// The error users see: what was attempted, what SQLite said, and on which file where that
    /// is the matter.
    pub(super) fn into_error(self, action: &str, file: &Path) -> Error {
        let action = action.to_owned();
        let file = file.display();
        let error = match self {
            Self::Told(error) => return error,
            Self::Create(error) => {
                let cause = format!("cannot create {file}: {error}");
                return Error::DatabaseUnavailable { action, cause };
            }
            Self::Replaced => {
                let cause = format!("{file} was removed or replaced while it was open; restart");
                return Error::DatabaseUnavailable { action, cause };
            }
            Self::NoWal(mode) => {
                let cause = format!(
                    "{file} stays in journal mode {mode}; write-ahead logging needs a local file \
                     system"
                );
                return Error::Database { action, cause };
            }
            Self::Sqlx(error) => error,
        };
        let Some(code) = primary_code(&error) else {
            let cause = error.to_string();
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => Error::DatabaseUnavailable { action, cause },
                _ => Error::Database { action, cause },
            };
        };
        let message = error.as_database_error().map_or("", |e| e.message());
        match code {
            BUSY | LOCKED | PROTOCOL | IOERR | CANTOPEN => {
                Error::DatabaseUnavailable { action, cause: format!("{message} ({file})") }
            }
            READONLY | NOTADB => Error::Database { action, cause: format!("{message} ({file})") },
            _ if message.starts_with("no such table: ") || message.contains("no such column: ") => {
                Error::MigrationRequired
            }
            _ => Error::Database { action, cause: message.to_owned() },
        }
    }
}

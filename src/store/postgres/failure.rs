//! What can go wrong on PostgreSQL, and which of our errors that is.

use std::io;
use std::time::Duration;

use sqlx::postgres::PgDatabaseError;

use crate::error::Error;

/// A failure inside the keeper, before it is known what was attempted.
#[derive(Debug)]
pub(super) enum Failure {
    /// PostgreSQL or the driver said so.
    Sqlx(sqlx::Error),
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

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const NOT_NULL_VIOLATION: &str = "23502";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const UNDEFINED_TABLE: &str = "42P01";
const UNDEFINED_COLUMN: &str = "42703";
/// An operator or a cast does not exist, a type does not fit, a plan has become another.
const OTHER_TYPES: [&str; 4] = ["42883", "42846", "42804", "0A000"];

/// What PostgreSQL or a pooler answered, where one of them did.
pub(super) fn told(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// The database cannot be asked or did not answer; the connection is of no use any more, and
/// whether the statement was carried out is unknown.
pub(super) fn is_gone(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        // 08 connection, 57P operator intervention (shutdown, crash), 53 no resources; 25P03 and
        // 57014 are a server or a pooler that ends what takes too long; 25006 is a server that has
        // become a standby, whose successor a new connection may find.
        _ => told(error).is_some_and(|error| {
            let code = error.code();
            code.starts_with("08")
                || code.starts_with("57P")
                || code.starts_with("53")
                || matches!(code, "25P03" | "57014" | "25006")
        }),
    }
}

/// The connection was dead already, or is one to the wrong server: a fresh one may do at once.
/// No answer in time is no such sign.
pub(super) fn is_stale(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() != io::ErrorKind::TimedOut,
        _ => told(error).is_some_and(|error| {
            let code = error.code();
            code.starts_with("08") || code.starts_with("57P") || code == "25006"
        }),
    }
}

/// There is no such database, or its login is refused: no connection is to be had, as with a server
/// that is away, and after somebody has mended it the same call succeeds.
fn is_turned_away(error: &sqlx::Error) -> bool {
    told(error).is_some_and(|error| error.code() == "3D000" || error.code().starts_with("28"))
}

/// Nobody answered in time.
pub(super) fn timed_out(waited: Duration) -> sqlx::Error {
    let message = format!("no answer within {:.1} s", waited.as_secs_f32());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
}

/// A statement waited too long for a row that somebody else has locked.
pub(super) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    told(error).is_some_and(|error| error.code() == LOCK_NOT_AVAILABLE)
}

/// What the host's table said against a row: a constraint, a trigger, a policy, a type, a lock.
pub(super) enum Refusal {
    /// `user_id` may not be empty.
    UserId,
    /// Anything else, in the database's words.
    Other(String),
}

/// Whether this is the host's table refusing a row, and nothing wrong with us or the database.
pub(super) fn refusal(error: &sqlx::Error) -> Option<Refusal> {
    let error = told(error)?;
    let code = error.code();
    if code == NOT_NULL_VIOLATION && error.column() == Some("user_id") {
        return Some(Refusal::UserId);
    }
    // 22 data, 23 constraints, P0 triggers' own errors, 42501 policies and privileges, 44 views.
    // An error with a context comes from inside a function, and ours call none.
    let refused = ["22", "23", "P0", "44"].iter().any(|class| code.starts_with(class))
        || matches!(code, "42501" | LOCK_NOT_AVAILABLE)
        || (code.starts_with("42") && error.r#where().is_some());
    refused.then(|| {
        Refusal::Other(match error.constraint() {
            Some(constraint) => format!("{} (constraint {constraint})", error.message()),
            None => error.message().to_owned(),
        })
    })
}

/// A table or a column is not there, and no function of the host's is to blame.
pub(super) fn is_missing(error: &sqlx::Error) -> bool {
    told(error).is_some_and(|error| {
        matches!(error.code(), UNDEFINED_TABLE | UNDEFINED_COLUMN) && error.r#where().is_none()
    })
}

/// The statement was undone as a whole, for the sake of another one: a deadlock, or a
/// serialisation that failed.
pub(super) fn is_victim(error: &sqlx::Error) -> bool {
    told(error).is_some_and(|error| matches!(error.code(), "40P01" | "40001"))
}

/// The host's table is no longer what the statements were made for.
pub(super) fn is_outdated(error: &sqlx::Error) -> bool {
    is_missing(error) || told(error).is_some_and(|error| OTHER_TYPES.contains(&error.code()))
}

/// A value that is none of the type it was cast to.
pub(super) fn is_no_value(error: &sqlx::Error) -> bool {
    told(error).is_some_and(|error| matches!(error.code(), "22P02" | "22003" | "22007" | "22008"))
}

impl Failure {
    /// The error users see. The driver's messages hold no password.
    pub(super) fn into_error(self, action: &str) -> Error {
        let error = match self {
            Self::Told(error) => return error,
            Self::Sqlx(error) => error,
        };
        if is_missing(&error) {
            return Error::MigrationRequired;
        }
        let action = action.to_owned();
        let cause =
            told(&error).map_or_else(|| error.to_string(), |told| told.message().to_owned());
        if is_gone(&error) || is_turned_away(&error) || is_lock_timeout(&error) {
            Error::DatabaseUnavailable { action, cause }
        } else {
            Error::Database { action, cause }
        }
    }
}

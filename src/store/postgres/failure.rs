//! What can go wrong on PostgreSQL, and which of our errors that is.

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

fn told(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// The connection is of no use any more; whether the statement was carried out is unknown.
pub(super) fn is_gone(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
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
    let refused = ["22", "23", "P0", "44"].iter().any(|class| code.starts_with(class))
        || matches!(code, "42501" | LOCK_NOT_AVAILABLE);
    refused.then(|| {
        Refusal::Other(match error.constraint() {
            Some(constraint) => format!("{} (constraint {constraint})", error.message()),
            None => error.message().to_owned(),
        })
    })
}

/// A unique constraint was violated: somebody else was quicker.
pub(super) fn is_duplicate(error: &sqlx::Error) -> bool {
    told(error).is_some_and(|error| error.code() == "23505")
}

/// The statement was undone as a whole, for the sake of another one: a deadlock, or a
/// serialisation that failed.
pub(super) fn is_victim(error: &sqlx::Error) -> bool {
    told(error).is_some_and(|error| matches!(error.code(), "40P01" | "40001"))
}

/// The statement does not fit the tables as they are now.
pub(super) fn is_misfit(error: &sqlx::Error) -> bool {
    told(error).is_some_and(|error| error.code().starts_with("42") || error.code() == "0A000")
}

/// A table or a column is not there.
pub(super) fn is_missing(error: &sqlx::Error) -> bool {
    told(error).is_some_and(|error| matches!(error.code(), UNDEFINED_TABLE | UNDEFINED_COLUMN))
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
        if is_gone(&error) {
            Error::DatabaseUnavailable { action, cause }
        } else {
            Error::Database { action, cause }
        }
    }
}

//! Finds out whether a transaction-mode pooler stands between us and PostgreSQL.
//!
//! It must be known before the first statement: the driver prepares a statement and runs it in
//! two round trips, between which such a pooler may hand the server connection to another
//! client. The statement of somebody else then runs with our parameters and reports success.
//! Inside BEGIN … COMMIT the server connection stays ours.
//!
//! A pooler shares server connections, and that shows: two of our connections meet the same
//! backend, one of ours meets two, or a connection made just now meets a backend that was there
//! before. A backend of our own is never any of these. The questions use the simple query
//! protocol, which is one message and safe either way.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection, Row};

/// Times that the questions are asked; traffic of others through the pooler can hide it once.
const ROUNDS: u32 = 3;

/// The port on which Supabase's pooler serves in transaction mode.
const SUPABASE_TRANSACTION_PORT: u16 = 6543;

/// Whether the URL says so itself.
pub(super) fn is_named(url: &str, options: &PgConnectOptions) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    options.get_port() == SUPABASE_TRANSACTION_PORT
        || query.split('&').any(|parameter| parameter.eq_ignore_ascii_case("pgbouncer=true"))
}

/// Asks the server behind `options`.
pub(super) async fn is_there(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let mut first = options.connect().await?;
    for _ in 0..ROUNDS {
        let before = backend(&mut first).await?;
        let mut second = options.connect().await?;
        second.execute("BEGIN").await?;
        let other = backend(&mut second).await?;
        let shared = other.pid == before.pid || other.started < before.now || {
            // The second one keeps its backend busy: a pooler must look for another.
            backend(&mut first).await?.pid != before.pid
        };
        second.execute("ROLLBACK").await?;
        if shared {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A backend as a connection sees it now; times are seconds of the server's clock.
struct Backend {
    pid: i32,
    started: f64,
    now: f64,
}

async fn backend(connection: &mut PgConnection) -> Result<Backend, sqlx::Error> {
    let row = sqlx::raw_sql(
        "SELECT pg_backend_pid() AS pid,
                extract(epoch FROM clock_timestamp())::float8 AS now,
                (SELECT extract(epoch FROM backend_start)::float8
                   FROM pg_stat_get_activity(pg_backend_pid())) AS started",
    )
    .fetch_one(connection)
    .await?;
    let now = row.try_get("now")?;
    Ok(Backend {
        pid: row.try_get("pid")?,
        now,
        started: row.try_get::<Option<f64>, _>("started")?.unwrap_or(now),
    })
}

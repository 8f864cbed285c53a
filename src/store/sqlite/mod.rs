//! The SQLite keeper: several processes on one machine share one file.
//!
//! Truth is the file, in write-ahead logging with every commit on disk. Each write is one
//! immediate transaction, so whoever writes next sees it. When the file is locked for longer
//! than a call may take, cannot be read or is gone, the call fails with `DatabaseUnavailable`;
//! a transaction that was not committed leaves nothing behind.

/// The present moment as SQLite's clock tells people.
macro_rules! iso_now {
    () => {
        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    };
}

/// A moment that SQLite understands, in unix milliseconds.
macro_rules! unix_ms {
    ($time:literal) => {
        concat!("CAST(round(unixepoch(", $time, ", 'subsec') * 1000) AS INTEGER)")
    };
}

/// The same for a column of the host's, which may hold milliseconds already.
macro_rules! host_ms {
    ($column:literal) => {
        concat!(
            "CASE typeof(",
            $column,
            ") WHEN 'integer' THEN ",
            $column,
            " WHEN 'real' THEN CAST(",
            $column,
            " AS INTEGER) ELSE ",
            unix_ms!($column),
            " END"
        )
    };
}

/// The owner of a lease `l` as instance `i`, for `owner_info` and `peer`.
macro_rules! owner_columns {
    () => {
        concat!(
            "l.token, i.incarnation, i.instance_id, i.hostname, i.pid, i.ttl_ms, i.beat, ",
            "i.boot_id, i.lock_dir, ",
            unix_ms!("i.beat_at"),
            " AS last_heartbeat_ms, ",
            unix_ms!("'now'"),
            " - ",
            unix_ms!("i.beat_at"),
            " AS heartbeat_age_ms"
        )
    };
}

/// The order of an agent's rows, newest first. A host may mix `…T…Z` with `datetime('now')`,
/// which do not compare as text; unix milliseconds are no date to `julianday`. An `id` may be NULL
/// in several rows.
macro_rules! newest_first {
    () => {
        "coalesce(julianday(created_at), created_at) DESC, id DESC, rowid DESC"
    };
}

/// Whether a row is found by its agent's id, which is text to everybody else. A blob never is, a
/// number only where the column's declaration makes numbers of text. The sign takes the affinity of
/// text away, as parameters have none.
macro_rules! has_agent {
    () => {
        "agent_id = +CAST(agent_id AS TEXT)"
    };
}

/// The newest row of every agent, as a table.
macro_rules! newest_sessions {
    () => {
        concat!(
            "(SELECT * FROM (SELECT CAST(agent_id AS TEXT) AS agent, CAST(user_id AS TEXT) AS user_id,
                CAST(phone_number AS TEXT) AS phone_number, CAST(status AS TEXT) AS status,
                coalesce(is_active IN (1, '1', 'true'), 0) AS active, last_connected,
                updated_at, row_number() OVER (PARTITION BY agent_id ORDER BY ",
            newest_first!(),
            ") AS place FROM whatsapp_sessions WHERE ",
            has_agent!(),
            ") WHERE place = 1)"
        )
    };
}

mod auth;
mod changes;
mod connection;
mod diagnosis;
mod failure;
mod host;
mod leases;
mod limits;
mod reconnects;
mod schema;
mod seizure;
mod sessions;
mod turn;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::time::timeout;

use self::connection::Connections;
use self::failure::Failure;
use self::host::HostTable;
use crate::error::{Error, Result};
use crate::metrics::PoolState;
use crate::store::{
    Beat, Changes, Claimed, DatabaseUrl, Death, Diagnosis, Fence, Free, Migrated, Orphans, Owner,
    Peer, Reconnect, Registration, Session, SessionFilter, SessionUpdate, Store, StoreOptions,
    Written,
};

/// One SQLite file.
pub struct SqliteStore {
    file: PathBuf,
    db: Arc<Connections>,
    sweeping: limits::Sweeping,
}

impl SqliteStore {
    /// Prepares the store; opens the file on the first call.
    pub fn new(options: StoreOptions) -> Result<Self> {
        let DatabaseUrl::Sqlite(path) = options.url else {
            return Err(Error::Internal("not a sqlite URL".to_owned()));
        };
        let file = std::path::absolute(&path)
            .map_err(|error| Error::option("databaseUrl", format!("{path:?}: {error}")))?;
        let db = Connections::new(file.clone(), options.max_connections, options.call_timeout);
        Ok(Self { file, db: Arc::new(db), sweeping: limits::Sweeping::default() })
    }

    /// Runs a call to its end or to the end of its time.
    async fn call<T>(
        &self,
        action: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T> {
        let limit = self.db.call_timeout();
        match timeout(limit, work).await {
            Ok(done) => done.map_err(|failure| failure.into_error(action, &self.file)),
            Err(_) => Err(Error::DatabaseUnavailable {
                action: action.to_owned(),
                cause: format!("no answer within {limit:?} ({})", self.file.display()),
            }),
        }
    }

    /// Runs a call that takes its time: the heartbeat sets its own limit, and a migration ends
    /// when it ends.
    async fn unlimited<T>(
        &self,
        action: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T> {
        work.await.map_err(|failure| failure.into_error(action, &self.file))
    }
}

/// A list as SQLite's `json_each` takes it.
fn json<T: Serialize + ?Sized>(list: &T) -> String {
    serde_json::to_string(list).unwrap_or_else(|_| "[]".to_owned())
}

/// Text of the host's, which SQLite takes whatever its bytes are. One odd value must not hide the
/// rows around it.
fn text(row: &SqliteRow, column: &str) -> sqlx::Result<Option<String>> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

#[async_trait]
impl Store for SqliteStore {
    async fn canonical_agent(&self, agent_id: &str) -> Result<String> {
        if agent_id.contains('\0') {
            return Err(Error::argument("agentId", "holds a NUL character"));
        }
        if agent_id.contains(char::REPLACEMENT_CHARACTER) {
            let problem = format!("{agent_id} holds U+FFFD: its bytes in the table are no text");
            return Err(Error::argument("agentId", problem));
        }
        let table = self.call("reading whatsapp_sessions", async {
            HostTable::read(&mut *self.db.reader().await?).await
        });
        table.await?.canonical_agent(agent_id)
    }

    fn one_machine(&self) -> bool {
        true
    }

    async fn migrate(&self) -> Result<Migrated> {
        self.unlimited("migrating", schema::migrate(&self.db)).await
    }

    async fn rollback(&self) -> Result<Vec<String>> {
        self.unlimited("rolling back", schema::rollback(&self.db)).await
    }

    async fn diagnose(&self) -> Result<Diagnosis> {
        self.call("looking at the database", diagnosis::diagnose(&self.db)).await
    }

    async fn register(&self, me: &Registration) -> Result<()> {
        self.call("registering this instance", leases::register(&self.db, me)).await
    }

    async fn beat(&self, incarnation: &str) -> Result<Beat> {
        self.unlimited("beating", leases::beat(&self.db, incarnation)).await
    }

    async fn peers(&self, incarnation: &str) -> Result<Vec<Peer>> {
        self.unlimited("looking at the other instances", leases::peers(&self.db, incarnation)).await
    }

    async fn bury(&self, peer: &str, beat: i64, how: Death) -> Result<bool> {
        self.call("declaring an instance dead", leases::bury(&self.db, peer, beat, how)).await
    }

    async fn retire(&self, incarnation: &str) -> Result<()> {
        self.call("retiring this instance", leases::retire(&self.db, incarnation)).await
    }

    async fn claim(&self, incarnation: &str, seq: i64, agents: &[String]) -> Result<Claimed> {
        self.call("claiming agents", leases::claim(&self.db, incarnation, seq, agents)).await
    }

    async fn seize(&self, incarnation: &str, from: &Fence) -> Result<bool> {
        self.call("taking an agent", seizure::seize(&self.db, incarnation, from)).await
    }

    async fn advance(&self, fence: &Fence) -> Result<Option<i64>> {
        self.call("renewing a token", leases::advance(&self.db, fence)).await
    }

    async fn owners(&self, agents: &[String]) -> Result<Vec<Owner>> {
        self.call("looking up owners", leases::owners(&self.db, agents)).await
    }

    async fn leases(&self, incarnation: &str) -> Result<Vec<(String, i64)>> {
        self.call("listing leases", leases::leases(&self.db, incarnation)).await
    }

    async fn release(&self, leases: &[Fence], deactivate: bool) -> Result<Vec<String>> {
        self.call("releasing agents", leases::release(&self.db, leases, deactivate)).await
    }

    async fn free(&self) -> Result<Vec<Free>> {
        self.call("listing free agents", leases::free(&self.db)).await
    }

    async fn changes(&self) -> Result<Box<dyn Changes>> {
        let watch = self.call("watching for free agents", changes::Watch::open(self.db.clone()));
        Ok(Box::new(watch.await?))
    }

    async fn show(
        &self,
        me: &Registration,
        agents: &[String],
        user_id: Option<&str>,
    ) -> Result<()> {
        self.call("showing owners", sessions::show(&self.db, me, agents, user_id)).await
    }

    async fn refresh_sessions(&self, me: &Registration) -> Result<Vec<String>> {
        self.call("refreshing session rows", sessions::refresh(&self.db, me)).await
    }

    async fn update_session(&self, fence: &Fence, update: &SessionUpdate) -> Result<Written> {
        self.call("writing a session row", sessions::update(&self.db, fence, update)).await
    }

    async fn sessions(&self, incarnation: &str, filter: SessionFilter) -> Result<Vec<Session>> {
        self.call("listing sessions", sessions::list(&self.db, incarnation, filter)).await
    }

    async fn recall_reconnects(&self, agents: &[String]) -> Result<Vec<Reconnect>> {
        self.call("reading reconnects", reconnects::recall(&self.db, agents)).await
    }

    async fn record_reconnects(&self, records: &[(Fence, Reconnect)]) -> Result<()> {
        self.call("recording reconnects", reconnects::record(&self.db, records)).await
    }

    async fn join_resumers(&self, incarnation: &str) -> Result<()> {
        self.call("taking part in resuming", reconnects::join(&self.db, incarnation)).await
    }

    async fn leave_resumers(&self, incarnation: &str) -> Result<()> {
        self.call("leaving the resumers", reconnects::leave(&self.db, incarnation)).await
    }

    async fn orphans(
        &self,
        incarnation: &str,
        passed: &[(String, Option<i64>)],
        limit: u32,
    ) -> Result<Orphans> {
        let find = reconnects::orphans(&self.db, incarnation, passed, limit);
        self.call("looking for orphans", find).await
    }

    async fn ping(&self) -> Result<()> {
        self.call("looking whether the database answers", leases::ping(&self.db)).await
    }

    fn pool_state(&self) -> PoolState {
        self.db.pool_state()
    }

    async fn close(&self) {
        self.db.close().await;
    }
}

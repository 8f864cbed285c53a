//! The PostgreSQL keeper: what several machines share.
//!
//! Each call is one statement, under READ COMMITTED. A statement waits for a row lock and then
//! decides on the row as it is by then; facts pass between its parts by RETURNING, because they
//! share one snapshot. When the server is gone, restarted or too slow, the call fails with
//! `DatabaseUnavailable`, and its outcome is unknown.

/// A statement that first locks the writer's lease (`$1` agent, `$2` incarnation, `$3` token) against
/// takeover until the write is committed, as the CTE `fence`.
///
/// In the same statement as the write, and FOR SHARE: a look without the lock, or with a weaker
/// one, lets a write of the old owner commit after its successor has its token. The lock timeout
/// bounds how long a write that waits for a locked row of the host's holds up a takeover.
macro_rules! fenced {
    ($rest:literal) => {
        concat!(
            "WITH fence AS (
               SELECT set_config('lock_timeout', '10s', true) AS bounded
                 FROM baileys_guard_lease l
                WHERE l.agent_id = $1 AND l.incarnation = $2 AND l.token = $3 AND l.held
                  FOR SHARE OF l), ",
            $rest
        )
    };
}

/// The parameters of a statement, in order.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => {{
        #[allow(unused_mut)]
        let mut arguments = sqlx::postgres::PgArguments::default();
        // Text, numbers and lists of them: none of these can fail to be encoded.
        $( let _ = sqlx::Arguments::add(&mut arguments, &$value); )*
        arguments
    }};
}

mod auth;
mod changes;
mod connection;
mod diagnosis;
mod failure;
mod host;
mod leases;
mod limits;
mod pooler;
mod reconnects;
mod schema;
mod seizure;
mod sessions;
mod url;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use sqlx::Row;

use self::connection::Connections;
use self::failure::{Failure, is_outdated, refusal};
use self::host::HostTable;
use crate::error::{Error, Result};
use crate::metrics::PoolState;
use crate::store::{
    Beat, Changes, Claimed, DatabaseUrl, Death, Diagnosis, Fence, Free, Migrated, Orphans, Owner,
    Peer, Reconnect, Registration, Session, SessionFilter, SessionUpdate, Store, StoreOptions,
    Written,
};

/// One PostgreSQL database.
pub struct PostgresStore {
    db: Arc<Connections>,
    sweeping: Arc<limits::Sweeping>,
    host: RwLock<Option<Arc<HostTable>>>,
}

impl PostgresStore {
    /// Prepares the store; connects on the first call.
    pub fn new(options: StoreOptions) -> Result<Self> {
        let DatabaseUrl::Postgres(url) = &options.url else {
            return Err(Error::Internal("not a postgres URL".to_owned()));
        };
        let db = Connections::new(url, options.max_connections, options.call_timeout)?;
        Ok(Self { db: Arc::new(db), sweeping: Arc::default(), host: RwLock::default() })
    }

    /// What the host's table is like; looked up once, and again when a statement did not fit it.
    async fn host_table(&self) -> Result<Arc<HostTable>, Failure> {
        let known = self.host.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(table) = known {
            return Ok(table);
        }
        let rows = self.db.run_again(host::COLUMNS, || arguments![]).await?;
        let table = Arc::new(HostTable::from_columns(&rows)?);
        *self.host.write().unwrap_or_else(PoisonError::into_inner) = Some(table.clone());
        Ok(table)
    }

    fn forget_host_table(&self) {
        *self.host.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn done<T>(&self, action: &str, answer: Result<T, Failure>) -> Result<T> {
        if let Err(Failure::Sqlx(error)) = &answer
            && is_outdated(error)
        {
            self.forget_host_table();
        }
        answer.map_err(|failure| failure.into_error(action))
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn canonical_agent(&self, agent_id: &str) -> Result<String> {
        if agent_id.contains('\0') {
            return Err(Error::argument("agentId", "holds a NUL character"));
        }
        const ACTION: &str = "reading whatsapp_sessions";
        let table = self.done(ACTION, self.host_table().await)?;
        if let Some(canonical) = table.canonical_agent(agent_id)? {
            return Ok(canonical);
        }
        match self.db.run_again(table.canonical.clone(), || arguments![agent_id]).await {
            Err(Failure::Sqlx(error)) if refusal(&error).is_some() => Err(table.not_an_agent()),
            rows => {
                let canonical = rows.and_then(|rows| {
                    Ok(rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get("agent_id")?)
                });
                self.done(ACTION, canonical)
            }
        }
    }

    fn one_machine(&self) -> bool {
        false
    }

    async fn migrate(&self) -> Result<Migrated> {
        self.forget_host_table();
        let migrated = self.done("migrating", schema::migrate(&self.db).await)?;
        // A table that cannot be used is told of now, not at the first claim.
        self.done("migrating", self.host_table().await)?;
        Ok(migrated)
    }

    async fn rollback(&self) -> Result<Vec<String>> {
        self.forget_host_table();
        self.done("rolling back", schema::rollback(&self.db).await)
    }

    async fn diagnose(&self) -> Result<Diagnosis> {
        self.done("looking at the database", diagnosis::diagnose(&self.db).await)
    }

    async fn register(&self, me: &Registration) -> Result<()> {
        self.done("registering this instance", leases::register(&self.db, me).await)
    }

    async fn beat(&self, incarnation: &str) -> Result<Beat> {
        self.done("beating", leases::beat(&self.db, incarnation).await)
    }

    async fn peers(&self, incarnation: &str) -> Result<Vec<Peer>> {
        self.done("looking at the other instances", leases::peers(&self.db, incarnation).await)
    }

    async fn bury(&self, peer: &str, beat: i64, how: Death) -> Result<bool> {
        self.done("declaring an instance dead", leases::bury(&self.db, peer, beat, how).await)
    }

    async fn retire(&self, incarnation: &str) -> Result<()> {
        self.done("retiring this instance", leases::retire(self, incarnation).await)
    }

    async fn claim(&self, incarnation: &str, seq: i64, agents: &[String]) -> Result<Claimed> {
        self.done("claiming agents", leases::claim(&self.db, incarnation, seq, agents).await)
    }

    async fn seize(&self, incarnation: &str, from: &Fence) -> Result<bool> {
        self.done("taking an agent", seizure::seize(&self.db, incarnation, from).await)
    }

    async fn advance(&self, fence: &Fence) -> Result<Option<i64>> {
        self.done("renewing a token", leases::advance(&self.db, fence).await)
    }

    async fn owners(&self, agents: &[String]) -> Result<Vec<Owner>> {
        self.done("looking up owners", leases::owners(&self.db, agents).await)
    }

    async fn leases(&self, incarnation: &str) -> Result<Vec<(String, i64)>> {
        self.done("listing leases", leases::leases(&self.db, incarnation).await)
    }

    async fn release(&self, leases: &[Fence], deactivate: bool) -> Result<Vec<String>> {
        self.done("releasing agents", sessions::release(self, leases, deactivate).await)
    }

    async fn free(&self) -> Result<Vec<Free>> {
        self.done("listing free agents", leases::free(&self.db).await)
    }

    async fn changes(&self) -> Result<Box<dyn Changes>> {
        self.done("watching for free agents", changes::open(&self.db).await)
    }

    async fn show(
        &self,
        me: &Registration,
        agents: &[String],
        user_id: Option<&str>,
    ) -> Result<()> {
        self.done("showing owners", sessions::show(self, me, agents, user_id).await)
    }

    async fn refresh_sessions(&self, me: &Registration) -> Result<Vec<String>> {
        self.done("refreshing last_heartbeat", sessions::refresh(self, me).await)
    }

    async fn update_session(&self, fence: &Fence, update: &SessionUpdate) -> Result<Written> {
        self.done("writing a session row", sessions::update(self, fence, update).await)
    }

    async fn sessions(&self, incarnation: &str, filter: SessionFilter) -> Result<Vec<Session>> {
        self.done("listing sessions", sessions::list(self, incarnation, filter).await)
    }

    async fn recall_reconnects(&self, agents: &[String]) -> Result<Vec<Reconnect>> {
        self.done("reading reconnects", reconnects::recall(&self.db, agents).await)
    }

    async fn record_reconnects(&self, records: &[(Fence, Reconnect)]) -> Result<()> {
        self.done("recording reconnects", reconnects::record(&self.db, records).await)
    }

    async fn join_resumers(&self, incarnation: &str) -> Result<()> {
        self.done("taking part in resuming", reconnects::join(&self.db, incarnation).await)
    }

    async fn leave_resumers(&self, incarnation: &str) -> Result<()> {
        self.done("leaving the resumers", reconnects::leave(&self.db, incarnation).await)
    }

    async fn orphans(
        &self,
        incarnation: &str,
        passed: &[(String, Option<i64>)],
        limit: u32,
    ) -> Result<Orphans> {
        let found = reconnects::orphans(&self.db, incarnation, passed, limit).await;
        self.done("looking for orphans", found)
    }

    async fn ping(&self) -> Result<()> {
        self.done("looking whether the database answers", leases::ping(&self.db).await)
    }

    fn pool_state(&self) -> PoolState {
        self.db.pool_state()
    }

    async fn close(&self) {
        self.db.close().await;
    }
}

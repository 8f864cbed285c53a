//! What a store promises. Two keep the promise: PostgreSQL and SQLite.
//!
//! The database is the only authority: a claim, a fence or a burial is decided by one statement
//! (SQLite: one immediate transaction) and by no clock. Times a store writes are for people.
//!
//! - An *instance row* is one incarnation of a process. Its `beat` counter is the only thing a
//!   heartbeat writes. Once `dead_at` is set it is never cleared: that incarnation is dead for
//!   good, and every lease it holds is free.
//! - A *lease row* is one agent: the incarnation that owns or last owned it, whether it is held,
//!   its fencing token, and the owner's sequence number of the claim. It is never deleted by us,
//!   so its token only grows.
//! - `whatsapp_sessions` is the host's table. It shows; it decides nothing.
//!
//! Every error is an [`Error`](crate::error::Error). When an answer was lost the error is
//! `DatabaseUnavailable` and the outcome is unknown: the statement may have been committed.

mod auth;
mod diagnosis;
mod limits;
mod migrations;
mod postgres;
mod sqlite;
mod url;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use auth::{AuthChange, AuthKey, AuthRow, AuthStore, AuthSwap, HostColumn, SessionData};
pub use diagnosis::{Diagnosis, Exposed, NetworkFacts};
pub use limits::{Limit, LimitId, LimitStore, Verdict};
pub use url::DatabaseUrl;

use crate::error::{OwnerInfo, Result};
use crate::metrics::PoolState;

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Where it is.
    pub url: DatabaseUrl,
    /// Connections of the pool; heartbeat and listener have one of their own each.
    pub max_connections: u32,
    /// How long one call may take before it counts as unanswered. The heartbeat sets its own.
    pub call_timeout: Duration,
}

/// Opens a store. Connects on the first call, not here.
pub fn open(options: StoreOptions) -> Result<Arc<dyn Store>> {
    Ok(match &options.url {
        DatabaseUrl::Postgres(_) => Arc::new(postgres::PostgresStore::new(options)?),
        DatabaseUrl::Sqlite(_) => Arc::new(sqlite::SqliteStore::new(options)?),
    })
}

/// One incarnation of a process, as it enters itself in the database.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Random id of this start; never reused. The fence compares it.
    pub incarnation: String,
    /// The public name, which a user may pin; shown, never compared.
    pub instance_id: String,
    /// Host name to show.
    pub hostname: String,
    /// Process id to show.
    pub pid: i32,
    /// How long this incarnation's counter must stand still before it may be buried.
    pub ttl: Duration,
    /// Which boot of which machine this is, where the system tells.
    pub boot_id: Option<String>,
    /// The folder of lock files that proves life to neighbours, by its random name; see
    /// `ownership::neighbours`.
    pub lock_dir: Option<String>,
}

/// Another incarnation that the database holds for alive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its random id.
    pub incarnation: String,
    /// Its public name.
    pub instance_id: String,
    /// Its time to live.
    pub ttl: Duration,
    /// Its counter now.
    pub beat: i64,
    /// Its boot, as it registered it.
    pub boot_id: Option<String>,
    /// Its folder of lock files, as it registered it.
    pub lock_dir: Option<String>,
}

/// The answer to a beat.
#[derive(Debug, Clone)]
pub struct Beat {
    /// False: this incarnation is dead or its row is gone. It must fence everything it holds.
    pub alive: bool,
    /// How many leases the database says this incarnation holds.
    pub held: i64,
    /// The sum of their tokens, wrapping; with `held` it tells a lost or a stray row.
    pub token_sum: i64,
    /// All other live incarnations.
    pub peers: Vec<Peer>,
}

/// How an incarnation died, which decides how careful a successor must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It said so itself, after closing its sockets.
    Retired,
    /// Its process is proven gone (a neighbour saw its lock drop, or the machine rebooted).
    Gone,
    /// Its counter stood still for its time to live. It may be frozen and thaw.
    Silent,
}

impl Death {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retired => "retired",
            Self::Gone => "gone",
            Self::Silent => "silent",
        }
    }
}

/// One agent given to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The agent, in the canonical form of [`Store::canonical_agent`].
    pub agent_id: String,
    /// The new fencing token.
    pub token: i64,
    /// The agent was taken from an incarnation that fell silent: wait before opening a socket.
    pub after_silence: bool,
    /// Another incarnation held the agent until it died.
    pub takeover: bool,
}

/// The answer to a claim.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// False: the claiming incarnation is dead or unknown, and nothing was granted.
    pub alive: bool,
    /// What was granted. Agents that are missing have a live owner.
    pub grants: Vec<Grant>,
}

/// One lease, as the fence compares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The owning incarnation.
    pub incarnation: String,
    /// The agent, canonical.
    pub agent_id: String,
    /// The token of the owner's term.
    pub token: i64,
}

/// A live owner and what is needed to judge whether it still lives.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The agent that was asked for.
    pub agent_id: String,
    /// What users see of the owner.
    pub info: OwnerInfo,
    /// The incarnation behind it.
    pub peer: Peer,
}

/// A free agent: released, or its owner dead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Free {
    /// The agent, canonical.
    pub agent_id: String,
    /// The token of its last term: the same agent freed twice has another.
    pub token: i64,
    /// False: released by its owner. True: its owner died.
    pub dead: bool,
    /// Public name of its last owner.
    pub instance_id: String,
}

/// What `claim.update` writes; `None` leaves a column alone, `Some(None)` sets it to NULL.
#[derive(Debug, Clone, Default)]
pub struct SessionUpdate {
    /// One of the host's states; `connected` also sets `is_active`.
    pub status: Option<String>,
    /// Digits, as the host keeps them.
    pub phone_number: Option<Option<String>>,
    /// The QR string; setting one also sets `qr_generated_at`.
    pub qr_code: Option<Option<String>>,
    /// Whether the session should run.
    pub is_active: Option<bool>,
    /// Unix milliseconds.
    pub last_connected_ms: Option<Option<i64>>,
}

/// What became of a fenced write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The fence held and a row was written.
    Done,
    /// The fence held; there is no row to write to.
    NoRow,
    /// The fence refused: another token, another incarnation, not held, or no lease row.
    Refused,
}

/// One row of `listSessions`: the newest session row of an agent and who owns the agent.
#[derive(Debug, Clone)]
pub struct Session {
    /// The agent.
    pub agent_id: String,
    /// The host's user, as text.
    pub user_id: Option<String>,
    /// Digits.
    pub phone_number: Option<String>,
    /// The host's state.
    pub status: Option<String>,
    /// Whether the session should run.
    pub is_active: bool,
    /// Unix milliseconds.
    pub last_connected_ms: Option<i64>,
    /// Unix milliseconds.
    pub updated_at_ms: Option<i64>,
    /// The live owner.
    pub owner: Option<OwnerInfo>,
    /// The live owner is the asking incarnation.
    pub mine: bool,
}

/// What `listSessions` asks for; `None` does not filter.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionFilter {
    /// Only sessions that should run (true) or should not (false).
    pub active: Option<bool>,
    /// Only sessions owned by the asking incarnation (true) or not owned by it (false).
    pub mine: Option<bool>,
}

/// What `migrate` did.
#[derive(Debug, Clone, Default)]
pub struct Migrated {
    /// Names of the files that had not been applied before.
    pub applied: Vec<String>,
    /// Agents with more than one row in `whatsapp_sessions`, and how many rows each has.
    pub duplicates: Vec<(String, i64)>,
}

/// How often an agent's connection has failed without holding since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconnect {
    /// The agent, canonical.
    pub agent_id: String,
    /// Connects made.
    pub tries: u32,
    /// Ends that counted.
    pub failures: u32,
    /// Time from the first of them to the last.
    pub failing: Duration,
    /// Quarantines in a row.
    pub quarantines: u32,
    /// What is left to wait.
    pub wait: Duration,
    /// Why it waits.
    pub reason: Option<String>,
}

/// What there is to resume: sessions that are active and not in conflict, by their newest row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Some of those without a live owner, at random.
    pub agents: Vec<String>,
    /// How many are without a live owner, and not passed over.
    pub orphans: usize,
    /// How many there are in all.
    pub should_run: usize,
    /// How many of them the asking incarnation owns.
    pub mine: usize,
    /// Other live incarnations that take part in resuming.
    pub peers: usize,
    /// Other incarnations that took part and died within the last minute.
    pub lately_dead: usize,
    /// What has become of those in `passed`.
    pub moved: Vec<Moved>,
}

/// An agent that was passed over and claimed since, or one whose token was not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The agent, canonical.
    pub agent_id: String,
    /// The last fencing token; 0 if it was never claimed.
    pub token: i64,
    /// Another incarnation has had it, or has it now: it is passed over no more.
    pub theirs: bool,
}

/// Tells that something may have become free. Only a hint: the reader asks the database.
#[async_trait]
pub trait Changes: Send {
    /// Returns when somebody released or buried, or when it is time to look anyway. Never fails:
    /// a feed that lost its connection mends it and returns, as if something had happened.
    async fn changed(&mut self);
}

/// The promise. All agent ids passed in are canonical, all slices may be empty.
#[async_trait]
pub trait Store: AuthStore + LimitStore + Send + Sync + 'static {
    /// The agent id as the host's column would give it back (a uuid in lower case with hyphens
    /// where the column is of type uuid). Fails with `InvalidArgument` where it cannot be stored.
    async fn canonical_agent(&self, agent_id: &str) -> Result<String>;

    /// Whether everybody who uses this database runs on this machine.
    fn one_machine(&self) -> bool;

    /// Applies what is missing; safe when several processes do so at once.
    async fn migrate(&self) -> Result<Migrated>;
    /// Undoes what `migrate` added and nothing else; returns the names of the files undone.
    async fn rollback(&self) -> Result<Vec<String>>;
    /// What the database is like, migrated or not; changes nothing.
    async fn diagnose(&self) -> Result<Diagnosis>;

    /// Enters a new incarnation with a first beat.
    async fn register(&self, me: &Registration) -> Result<()>;
    /// Adds to my counter where I am not dead, and looks at everybody. On its own connection,
    /// so that neither the pool nor the host's load delays it.
    async fn beat(&self, incarnation: &str) -> Result<Beat>;
    /// Looks at everybody else without a beat, on the heartbeat's connection. `incarnation` is
    /// left out of the answer.
    async fn peers(&self, incarnation: &str) -> Result<Vec<Peer>>;
    /// Marks `peer` dead where its counter is still `beat`; true if it did. Tells listeners.
    async fn bury(&self, peer: &str, beat: i64, how: Death) -> Result<bool>;
    /// Marks myself dead, which frees all I hold at once, and clears the instance columns of
    /// my session rows. Tells listeners.
    async fn retire(&self, incarnation: &str) -> Result<()>;

    /// Claims agents for `incarnation`, all in one statement: those that are free, those whose
    /// owner is dead, and those that are mine under an older `seq`. The token grows by every
    /// grant. Durable when it returns.
    async fn claim(&self, incarnation: &str, seq: i64, agents: &[String]) -> Result<Claimed>;
    /// Gives `incarnation` the lease of another one, live or dead, where that still has it under
    /// this token; true if it did. The token grows, and the lease counts as claimed under the
    /// number 0, so that a claim of the new owner is granted.
    async fn seize(&self, incarnation: &str, from: &Fence) -> Result<bool>;
    /// Gives a lease that has this fence a newer token, once: it keeps its claim's number. Returns
    /// the token that the incarnation's lease on the agent has now; nothing where it is dead or has
    /// none. Durable when it returns.
    async fn advance(&self, fence: &Fence) -> Result<Option<i64>>;
    /// The live owners of these agents.
    async fn owners(&self, agents: &[String]) -> Result<Vec<Owner>>;
    /// All that the database says `incarnation` holds, as (agent, token).
    async fn leases(&self, incarnation: &str) -> Result<Vec<(String, i64)>>;
    /// Gives leases back where incarnation and token still match; clears the instance columns
    /// of their session rows and, with `deactivate`, sets `is_active = false` and
    /// `status = 'disconnected'`. Returns the agents that were released. Tells listeners once.
    async fn release(&self, leases: &[Fence], deactivate: bool) -> Result<Vec<String>>;
    /// All free agents that some incarnation once held.
    async fn free(&self) -> Result<Vec<Free>>;
    /// The feed of hints, on a connection of its own.
    async fn changes(&self) -> Result<Box<dyn Changes>>;

    /// Shows the owner in the newest session row of each of these agents, inserting a row
    /// (with `user_id`) for an agent that has none. Rows locked by others are left for
    /// [`Store::refresh_sessions`]. Fails with `UserIdRequired` or `SessionRowRefused`.
    async fn show(&self, me: &Registration, agents: &[String], user_id: Option<&str>)
    -> Result<()>;
    /// Shows owner and a fresh `last_heartbeat` in the newest session row of all that
    /// `me` holds, in order and skipping locked rows. Returns held agents without any row.
    async fn refresh_sessions(&self, me: &Registration) -> Result<Vec<String>>;
    /// Writes the newest session row of the agent under the fence, in one statement.
    async fn update_session(&self, fence: &Fence, update: &SessionUpdate) -> Result<Written>;
    /// The newest session row of every agent, with its live owner.
    async fn sessions(&self, incarnation: &str, filter: SessionFilter) -> Result<Vec<Session>>;

    /// What is recorded of these agents; nothing for those whose connection last held.
    async fn recall_reconnects(&self, agents: &[String]) -> Result<Vec<Reconnect>>;
    /// Records, under the fence of each; a record without tries, failures and quarantines is
    /// deleted. Records of agents whose fence does not hold are left out.
    async fn record_reconnects(&self, records: &[(Fence, Reconnect)]) -> Result<()>;
    /// `incarnation` takes part in resuming, until it dies or leaves.
    async fn join_resumers(&self, incarnation: &str) -> Result<()>;
    /// `incarnation` resumes nothing any more.
    async fn leave_resumers(&self, incarnation: &str) -> Result<()>;
    /// What there is to resume, with at most `limit` orphans by name. Of those in `passed`, each
    /// with the last fencing token if that is known, only what another incarnation has had since
    /// counts as an orphan.
    async fn orphans(
        &self,
        incarnation: &str,
        passed: &[(String, Option<i64>)],
        limit: u32,
    ) -> Result<Orphans>;

    /// Fails where calls would: the database cannot be reached, or was not migrated.
    async fn ping(&self) -> Result<()>;
    /// The connections that calls share, at this moment; none before the first call.
    fn pool_state(&self) -> PoolState;

    /// Closes all connections. Calls in flight may fail.
    async fn close(&self);
}

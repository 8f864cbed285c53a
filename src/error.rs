//! Every way to fail, each with one stable code.
//!
//! A message says what was attempted, on which agent, and what to do about it. No message ever
//! holds a key, a credential or a password: nothing here takes one as a field.
//! `docs/errors.md` has one heading for each code; a test compares the two lists.

use std::time::Duration;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who holds an agent, as told to somebody who may not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerInfo {
    /// Public name of the owning instance.
    pub instance_id: String,
    /// Host name the owner reported.
    pub hostname: String,
    /// Process id on that host.
    pub pid: i32,
    /// Unix milliseconds of the owner's last beat, by the database's clock; for people only.
    pub last_heartbeat_ms: i64,
    /// Age of that beat by the database's clock; for people only.
    pub heartbeat_age: Duration,
    /// Fencing token of the owner's term.
    pub token: i64,
}

/// Why a claim ended without its holder asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReason {
    /// Another instance has the agent now.
    Taken,
    /// The lease or the session row was deleted.
    RowGone,
    /// No renewal succeeded within the lease's time to live.
    Expired,
    /// The JavaScript event loop stood still for longer than allowed.
    Stalled,
    /// The database declared this incarnation dead.
    Buried,
    /// A fenced write was refused by the database.
    Refused,
    /// The claim was given back.
    Released,
}

impl LossReason {
    /// The word users see in `ClaimLostError.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::RowGone => "row-gone",
            Self::Expired => "expired",
            Self::Stalled => "stalled",
            Self::Buried => "buried",
            Self::Refused => "refused",
            Self::Released => "released",
        }
    }

    fn explain(self) -> &'static str {
        match self {
            Self::Taken => "another instance took it over",
            Self::RowGone => "its row in the database is gone",
            Self::Expired => "no heartbeat reached the database within the lease's time to live",
            Self::Stalled => "the event loop stood still for longer than maxEventLoopStallMs",
            Self::Buried => "the database holds this instance for dead",
            Self::Refused => "the database refused a write under its fencing token",
            Self::Released => "it was released",
        }
    }
}

/// Everything that can go wrong.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option of `createGuard` cannot be used.
    #[error("option {name}: {problem}")]
    InvalidOption {
        /// The option's name as users write it.
        name: &'static str,
        /// What is wrong with it, never its value when that is a secret.
        problem: String,
    },
    /// An argument of a call cannot be used.
    #[error("argument {name}: {problem}")]
    InvalidArgument {
        /// The argument's name as users write it.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The guard has been shut down.
    #[error("this guard has been shut down; create a new one to go on")]
    ShutDown,
    /// The database did not answer.
    #[error("{action}: the database cannot be reached: {cause}")]
    DatabaseUnavailable {
        /// What was attempted.
        action: String,
        /// What the driver said.
        cause: String,
    },
    /// The database answered with an error that has no code of its own here.
    #[error("{action}: the database refused: {cause}")]
    Database {
        /// What was attempted.
        action: String,
        /// What the database said.
        cause: String,
    },
    /// The tables of this library are not there.
    #[error(
        "the database has not been migrated; run `npx baileys-guard migrate` or call migrate()"
    )]
    MigrationRequired,
    /// The agent has a live owner elsewhere.
    #[error("Agent is already in use by another server instance: {agent_id} is owned by {} on {} (pid {})", owner.instance_id, owner.hostname, owner.pid)]
    AgentInUse {
        /// The agent that was asked for.
        agent_id: String,
        /// Who has it.
        owner: Box<OwnerInfo>,
        /// When asking again can first succeed if the owner stays silent.
        retry_after: Duration,
    },
    /// A claim is no longer held.
    #[error("the claim on agent {agent_id} is lost: {}", reason.explain())]
    ClaimLost {
        /// The agent of the claim.
        agent_id: String,
        /// Its fencing token.
        token: i64,
        /// Why it ended.
        reason: LossReason,
    },
    /// A session row has to be inserted and the host's table wants a user.
    #[error(
        "agent {agent_id} has no row in whatsapp_sessions and a new one needs a user: pass userId to the claim"
    )]
    UserIdRequired {
        /// The agent of the claim.
        agent_id: String,
    },
    /// The host's table refused the session row.
    #[error("agent {agent_id}: whatsapp_sessions refused the row: {cause}")]
    SessionRowRefused {
        /// The agent of the claim.
        agent_id: String,
        /// Constraint or trigger, as the database names it.
        cause: String,
    },
    /// There is no session row to write to.
    #[error("agent {agent_id} has no row in whatsapp_sessions")]
    SessionRowMissing {
        /// The agent of the claim.
        agent_id: String,
    },
    /// A bug of ours.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidOption { .. } => "ERR_INVALID_OPTION",
            Self::InvalidArgument { .. } => "ERR_INVALID_ARGUMENT",
            Self::ShutDown => "ERR_SHUT_DOWN",
            Self::DatabaseUnavailable { .. } => "ERR_DATABASE_UNAVAILABLE",
            Self::Database { .. } => "ERR_DATABASE",
            Self::MigrationRequired => "ERR_MIGRATION_REQUIRED",
            Self::AgentInUse { .. } => "ERR_AGENT_IN_USE",
            Self::ClaimLost { .. } => "ERR_CLAIM_LOST",
            Self::UserIdRequired { .. } => "ERR_USER_ID_REQUIRED",
            Self::SessionRowRefused { .. } => "ERR_SESSION_ROW_REFUSED",
            Self::SessionRowMissing { .. } => "ERR_SESSION_ROW_MISSING",
            Self::Internal(_) => "ERR_INTERNAL",
        }
    }

    /// An argument that cannot be used.
    pub fn argument(name: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidArgument { name, problem: problem.into() }
    }

    /// An option that cannot be used.
    pub fn option(name: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidOption { name, problem: problem.into() }
    }
}

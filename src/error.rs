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

/// Why a claim ended.
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
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Taken,
        Self::RowGone,
        Self::Expired,
        Self::Stalled,
        Self::Buried,
        Self::Refused,
        Self::Released,
    ];

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

/// Which stored value an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    /// The agent it belongs to.
    pub agent_id: String,
    /// Its type, such as `session`; may be empty.
    pub kind: String,
    /// Its id within the type; may be empty.
    pub id: String,
}

impl std::fmt::Display for StoredItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "agent {}", self.agent_id)?;
        if !self.kind.is_empty() {
            write!(f, ", {}", self.kind)?;
        }
        if !self.id.is_empty() {
            write!(f, " {}", self.id)?;
        }
        Ok(())
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
    /// Something has to be sealed or opened and there is no key.
    #[error(
        "{action}: no encryption key is configured; set encryptionKey or CREDENTIALS_ENCRYPTION_KEY (npx baileys-guard keygen makes one)"
    )]
    KeyMissing {
        /// What was attempted, on what.
        action: String,
    },
    /// An envelope names a key that is not configured.
    #[error(
        "{item}: sealed under key {key_id}, but the configured keys are {configured}; add the missing one to previousEncryptionKeys"
    )]
    UnknownKey {
        /// What cannot be opened.
        item: Box<StoredItem>,
        /// Key id in its header.
        key_id: String,
        /// Ids of the configured keys.
        configured: String,
    },
    /// A stored value does not open. One message, whatever the reason.
    #[error(
        "{item}: the stored value does not open: it was changed, or sealed under another key or for another agent, type or id"
    )]
    DecryptFailed {
        /// What cannot be opened.
        item: Box<StoredItem>,
    },
    /// A stored value has a form that nobody wrote.
    #[error("{}malformed envelope: {problem}", item.as_ref().map(|i| format!("{i}: ")).unwrap_or_default())]
    MalformedEnvelope {
        /// What cannot be read, where that is known.
        item: Option<Box<StoredItem>>,
        /// What is wrong with it.
        problem: String,
    },
    /// A value stored without encryption, which is not accepted.
    #[error("{item}: the stored value is not encrypted and acceptPlaintext is false")]
    PlaintextRefused {
        /// What was not opened.
        item: Box<StoredItem>,
    },
    /// A value in the form of before, which is not accepted.
    #[error(
        "{item}: the stored value has the old form {{ encrypted, iv, authTag }} and acceptLegacy is false"
    )]
    LegacyRefused {
        /// What was not opened.
        item: Box<StoredItem>,
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
            Self::KeyMissing { .. } => "ERR_KEY_MISSING",
            Self::UnknownKey { .. } => "ERR_UNKNOWN_KEY",
            Self::DecryptFailed { .. } => "ERR_DECRYPT_FAILED",
            Self::MalformedEnvelope { .. } => "ERR_MALFORMED_ENVELOPE",
            Self::PlaintextRefused { .. } => "ERR_PLAINTEXT_REFUSED",
            Self::LegacyRefused { .. } => "ERR_LEGACY_REFUSED",
            Self::Internal(_) => "ERR_INTERNAL",
        }
    }

    /// Two spellings of an agent would have a lease each, but one row.
    pub(crate) fn loose_agents() -> Self {
        Self::Database {
            action: "reading whatsapp_sessions".to_owned(),
            cause: "agent_id takes different text for equal (citext, or a collation like NOCASE); \
                    make it text that is compared byte by byte"
                .to_owned(),
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

//! What a store promises about Baileys auth states: bytes under a fence.
//!
//! A value is opaque here: an envelope, or the plain record of a guard without a key. The order
//! of keys is (agent, kind, id), so that a rotation can go on where it was stopped.

use async_trait::async_trait;

use crate::error::Result;

use super::{Fence, Written};

/// Where a value is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AuthKey {
    /// The agent, canonical.
    pub agent_id: String,
    /// Baileys' name of the type, such as `session`; `creds` for the credentials.
    pub kind: String,
    /// Baileys' id within the type; empty for the credentials.
    pub id: String,
}

/// One stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRow {
    /// Where it is stored.
    pub key: AuthKey,
    /// The bytes.
    pub value: Vec<u8>,
}

/// One change of an agent's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthChange {
    /// Type.
    pub kind: String,
    /// Id within the type.
    pub id: String,
    /// The new bytes; `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// A value to be replaced only if it is still the one that was read.
#[derive(Debug, Clone)]
pub struct AuthSwap {
    /// The value as it was read.
    pub old: AuthRow,
    /// What takes its place.
    pub new: Vec<u8>,
}

/// A column of `whatsapp_sessions` in which hosts keep credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostColumn {
    /// For credentials.
    SessionData,
    /// Where hosts kept them before, among other things; not every table has it.
    SessionState,
}

impl HostColumn {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::SessionData, Self::SessionState];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::SessionData => "session_data",
            Self::SessionState => "session_state",
        }
    }
}

/// What a host row has in one of its columns for credentials, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionData {
    /// The column.
    pub column: HostColumn,
    /// What tells the row from all others, as text: its primary key, or its `rowid` in SQLite.
    pub row_id: String,
    /// The agent.
    pub agent_id: String,
    /// The JSON, as the database writes it.
    pub json: String,
}

/// The promise. Reads that fail are errors; a missing value is missing from the answer.
#[async_trait]
pub trait AuthStore {
    /// The values of one type that exist among these ids, in one round trip.
    async fn auth_get(&self, agent_id: &str, kind: &str, ids: &[String]) -> Result<Vec<AuthRow>>;
    /// All values of an agent, from after `after` on in order, at most `limit`.
    async fn auth_list(
        &self,
        agent_id: Option<&str>,
        after: &AuthKey,
        limit: i64,
    ) -> Result<Vec<AuthRow>>;
    /// Applies all changes or none, under the fence, in one round trip. `Done` or `Refused`.
    async fn auth_set(&self, fence: &Fence, changes: &[AuthChange]) -> Result<Written>;
    /// Deletes the whole state of the fence's agent.
    async fn auth_clear(&self, fence: &Fence) -> Result<Written>;
    /// Replaces values that are still what they were; returns how many.
    async fn auth_swap(&self, swaps: &[AuthSwap]) -> Result<u64>;

    /// Host rows that hold something in the column, in order of their key, after `after`; from the
    /// first if empty. None where there is no such column.
    async fn session_data(
        &self,
        column: HostColumn,
        after: &str,
        limit: i64,
    ) -> Result<Vec<SessionData>>;
    /// What the newest row of an agent holds there.
    async fn session_data_of(
        &self,
        column: HostColumn,
        agent_id: &str,
    ) -> Result<Option<SessionData>>;
    /// Replaces it where it is still what it was; true if it did.
    async fn session_data_swap(&self, old: &SessionData, new: &str) -> Result<bool>;
}

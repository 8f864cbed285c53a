//! Baileys' auth state: sealed values in a table of our own, written under the claim's fence.
//!
//! What this module guarantees: a value is stored or refused as a whole, in the statement that
//! compares the fence; all values of one call are stored or none. A value that cannot be read is
//! an error that names it, never "there is none": taken for missing, it would make Baileys create
//! new credentials over a pairing. Without a key values are stored plain, marked as such.
//!
//! The database owns the state; this module keeps nothing. When the database is gone, reads and
//! writes fail, and the outcome of a write is unknown until the next read.

mod record;
mod rotation;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::Value;
use zeroize::Zeroizing;

use crate::credentials::value::{self, Accept};
use crate::credentials::{Content, Context, KeyRing};
use crate::error::{Error, Result};
use crate::ownership::stats::WriteCounts;
use crate::ownership::{Claim, Ownership};
use crate::store::{AuthChange, AuthKey, AuthRow, HostColumn};

pub use rotation::{Failed, Remaining, Rotated, Rotation};

/// Rows that one statement of a listing brings.
const PAGE: i64 = 500;

/// The auth states of one guard.
pub struct AuthStates {
    ownership: Arc<Ownership>,
    ring: Arc<KeyRing>,
    accept: Accept,
    stats: AuthStats,
}

/// Counters; they only grow. A call counts once, whatever the number of its values.
#[derive(Debug, Default)]
pub struct AuthStats {
    /// Calls that read.
    pub reads: AtomicU64,
    /// Calls that wrote.
    pub written: WriteCounts,
}

/// One value on its way in or out.
pub struct Item {
    /// Baileys' name of the type; `creds` for the credentials.
    pub kind: String,
    /// Baileys' id within the type.
    pub id: String,
    /// What the bytes are.
    pub content: Content,
    /// The bytes, overwritten when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// One change: a value to be stored, or a key to be deleted.
pub enum Change {
    /// Stores it.
    Put(Item),
    /// Deletes (type, id).
    Delete(String, String),
}

impl AuthStates {
    /// The states of the agents that `ownership` holds, sealed by `ring`.
    pub fn new(ownership: Arc<Ownership>, ring: Arc<KeyRing>, accept: Accept) -> Self {
        Self { ownership, ring, accept, stats: AuthStats::default() }
    }

    /// Counters.
    pub fn stats(&self) -> &AuthStats {
        &self.stats
    }

    /// The values of one type that exist among these ids; one round trip.
    pub async fn get(&self, claim: &Arc<Claim>, kind: &str, ids: &[String]) -> Result<Vec<Item>> {
        self.ownership.settle(claim).await?;
        let rows = self.ownership.store().auth_get(&claim.agent_id, kind, ids).await?;
        self.stats.reads.fetch_add(1, Relaxed);
        rows.into_iter().map(|row| self.opened(row)).collect()
    }

    /// Stores all changes or none; one round trip. A refusal ends the claim.
    pub async fn set(&self, claim: &Arc<Claim>, changes: Vec<Change>) -> Result<()> {
        let sealed: Result<Vec<AuthChange>> =
            changes.into_iter().map(|change| self.sealed(&claim.agent_id, change)).collect();
        let (store, sealed) = (self.ownership.store(), &sealed?);
        let statement = |fence| async move { store.auth_set(&fence, sealed).await };
        self.ownership.write(claim, &self.stats.written, statement).await.map(drop)
    }

    /// Deletes the agent's whole state. A refusal ends the claim.
    pub async fn clear(&self, claim: &Arc<Claim>) -> Result<()> {
        let store = self.ownership.store();
        let statement = |fence| async move { store.auth_clear(&fence).await };
        self.ownership.write(claim, &self.stats.written, statement).await.map(drop)
    }

    /// One page of the agent's values, from after (type, id) on; empty at the end.
    pub async fn list(
        &self,
        claim: &Arc<Claim>,
        after_kind: &str,
        after_id: &str,
    ) -> Result<Vec<Item>> {
        self.ownership.fence(claim)?;
        let agent_id = claim.agent_id.clone();
        let after = AuthKey { agent_id, kind: after_kind.into(), id: after_id.into() };
        let store = self.ownership.store();
        let rows = store.auth_list(Some(&claim.agent_id), &after, PAGE).await?;
        rows.into_iter().map(|row| self.opened(row)).collect()
    }

    /// The host's `session_data` of the agent as JSON text, if it has any; where that is empty,
    /// credentials that it still has in `session_state`.
    pub async fn session_data(&self, claim: &Arc<Claim>) -> Result<Option<String>> {
        self.ownership.fence(claim)?;
        let read = async |column| {
            let data = self.ownership.store().session_data_of(column, &claim.agent_id).await?;
            Ok::<_, Error>(data.map(|data| data.json))
        };
        let is = |json: &str, what: fn(&Value) -> bool| {
            serde_json::from_str(json).is_ok_and(|value| what(&value))
        };
        let data = read(HostColumn::SessionData).await?;
        if data.as_ref().is_some_and(|json| !is(json, value::is_empty)) {
            return Ok(data);
        }
        let older = read(HostColumn::SessionState).await?;
        Ok(older.filter(|json| is(json, value::is_credentials)).or(data))
    }

    /// A rotation of everything stored, of all agents.
    pub fn rotation(&self, batch: i64, dry_run: bool) -> Rotation<'_> {
        Rotation::new(self.ownership.store().as_ref(), &self.ring, batch, dry_run)
    }

    fn sealed(&self, agent_id: &str, change: Change) -> Result<AuthChange> {
        Ok(match change {
            Change::Delete(kind, id) => AuthChange { kind, id, value: None },
            Change::Put(Item { kind, id, content, bytes }) => {
                let context = Context { agent_id, kind: &kind, id: &id };
                let value = record::seal(&self.ring, content, &bytes, &context)?;
                AuthChange { kind, id, value: Some(value) }
            }
        })
    }

    fn opened(&self, row: AuthRow) -> Result<Item> {
        let AuthRow { key, value } = row;
        let context = Context { agent_id: &key.agent_id, kind: &key.kind, id: &key.id };
        let (content, bytes) = record::open(&self.ring, &value, &context, self.accept)?;
        Ok(Item { kind: key.kind, id: key.id, content, bytes })
    }
}

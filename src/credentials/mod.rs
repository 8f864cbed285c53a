//! Credentials at rest: a key ring, one envelope format, and the formats of before.
//!
//! What this module guarantees:
//!
//! - What is sealed opens only under its key, for its agent, its type and its id, and unchanged in
//!   every bit. Everything else is an error; there is no partial plaintext and no fallback.
//! - A key never leaves: nothing here prints, serialises or returns one, and each is overwritten
//!   when it is dropped.
//! - What cannot be opened is never taken for something else. A damaged envelope is no plain value.
//!
//! It knows no database and no clock, and takes its randomness from an [`Entropy`]. Stored rows
//! are opened and sealed anew in here ([`KeyRing::reseal`], [`value::reseal`]) without their
//! plaintext ever reaching JavaScript.
//!
//! `docs/envelope.md` describes the format for those who want to write another reader.

mod agent_cache;
mod agent_key;
mod cipher;
mod entropy;
mod envelope;
mod json;
mod key_ring;
mod legacy;
mod master_key;
mod seal;
pub mod value;

pub use entropy::{Entropy, OsEntropy};
pub use envelope::{Content, HEADER_LEN, Header, KeyId, MAX_OVERHEAD, MIN_LEN, OVERHEAD, TAG_LEN};
pub use json::restore_bytes;
pub use key_ring::{KeyRing, KeyRingStats};
pub use legacy::Legacy;
pub use seal::{Opened, Seal};

use crate::error::{Error, StoredItem};

/// What an envelope is bound to besides its key.
///
/// The same bytes stored for another agent, type or id do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// The agent, which also selects the key.
    pub agent_id: &'a str,
    /// What kind of value, such as `session`; may be empty.
    pub kind: &'a str,
    /// Which one of its kind; may be empty.
    pub id: &'a str,
}

impl<'a> Context<'a> {
    /// The context of `encryptCredentials`: an agent's credentials as one value.
    pub const fn credentials(agent_id: &'a str) -> Self {
        Self { agent_id, kind: "creds", id: "" }
    }

    /// As an error names it.
    pub fn item(&self) -> Box<StoredItem> {
        Box::new(StoredItem {
            agent_id: self.agent_id.into(),
            kind: self.kind.into(),
            id: self.id.into(),
        })
    }

    fn decrypt_failed(&self) -> Error {
        Error::DecryptFailed { item: self.item() }
    }

    fn malformed(&self, problem: impl Into<String>) -> Error {
        Error::MalformedEnvelope { item: Some(self.item()), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests;

//! The keys of a guard: one to seal with, and those of before to open with.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::agent_cache::AgentCache;
use super::agent_key::AgentKey;
use super::envelope::{Header, KeyId};
use super::legacy::Legacy;
use super::master_key::MasterKey;
use super::{Context, Entropy};
use crate::error::{Error, Result};

/// Derived keys kept for each master key: about 1.3 KB each, and deriving one takes less than a
/// microsecond.
const CACHED_AGENTS: usize = 1024;

/// The current key, previous ones, and where nonces come from. Shared by reference; every method
/// may be called from any thread.
pub struct KeyRing {
    current: Option<RingKey>,
    previous: Vec<RingKey>,
    pub(super) entropy: Box<dyn Entropy>,
    pub(super) counters: Counters,
}

struct RingKey {
    id: KeyId,
    master: MasterKey,
    agents: Mutex<AgentCache>,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) sealed: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// Counters of a key ring; they only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRingStats {
    /// Values sealed.
    pub sealed: u64,
    /// Values opened, in the form of before too.
    pub opened: u64,
    /// Values that did not open.
    pub refused: u64,
}

impl KeyRing {
    /// A ring of keys as users write them. Without a current key it opens and does not seal.
    ///
    /// Fails with `ERR_INVALID_OPTION`, never with a key's characters in the message.
    pub fn new(
        current: Option<&str>,
        previous: &[impl AsRef<str>],
        entropy: impl Entropy,
    ) -> Result<Self> {
        let current = current
            .map(|text| MasterKey::parse(text).map(RingKey::new))
            .transpose()
            .map_err(|problem| Error::option("encryptionKey", problem))?;
        let mut ring = Self {
            current,
            previous: Vec::new(),
            entropy: Box::new(entropy),
            counters: Counters::default(),
        };
        for (index, text) in previous.iter().enumerate() {
            let key = MasterKey::parse(text.as_ref()).map_err(|problem| {
                let place = format!("key {} of {}", index + 1, previous.len());
                Error::option("previousEncryptionKeys", format!("{place} {problem}"))
            })?;
            // The current key listed as a previous one as well is how a rotation is often begun.
            if !ring.keys().any(|known| known.master.is_same(&key)) {
                ring.previous.push(RingKey::new(key));
            }
        }
        Ok(ring)
    }

    /// Name of the key that seals, if there is one.
    pub fn current_id(&self) -> Option<KeyId> {
        self.current.as_ref().map(|key| key.id)
    }

    /// Names of the keys that only open.
    pub fn previous_ids(&self) -> impl Iterator<Item = KeyId> {
        self.previous.iter().map(|key| key.id)
    }

    /// What it has done so far.
    pub fn stats(&self) -> KeyRingStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KeyRingStats {
            sealed: read(&self.counters.sealed),
            opened: read(&self.counters.opened),
            refused: read(&self.counters.refused),
        }
    }

    /// Whether an envelope is under another key than the current one. Fails when it is none.
    pub fn needs_reencryption(&self, envelope: &[u8]) -> Result<bool> {
        let header = Header::parse(envelope)
            .map_err(|problem| Error::MalformedEnvelope { item: None, problem })?;
        Ok(Some(header.key_id) != self.current_id())
    }

    /// Opens a value in the form of before with whichever key it was made with. Such a value
    /// names neither key nor agent, so neither can be checked.
    pub fn open_legacy(&self, legacy: &Legacy, context: &Context) -> Result<Zeroizing<Vec<u8>>> {
        if self.current.is_none() && self.previous.is_empty() {
            return Err(self.no_key(context));
        }
        let opened = self.keys().find_map(|key| legacy.open(key.master.raw()));
        match opened {
            Some(plain) => {
                self.counters.opened.fetch_add(1, Ordering::Relaxed);
                Ok(plain)
            }
            None => Err(self.refused(context.decrypt_failed())),
        }
    }

    /// The key to seal an agent's values with.
    pub(super) fn sealing_key(&self, context: &Context) -> Result<(KeyId, Arc<AgentKey>)> {
        match &self.current {
            Some(key) => Ok((key.id, key.of_agent(context.agent_id))),
            None => Err(Error::KeyMissing { action: format!("encrypting {}", context.item()) }),
        }
    }

    /// The key that an envelope names.
    pub(super) fn opening_key(&self, id: KeyId, context: &Context) -> Result<Arc<AgentKey>> {
        match self.keys().find(|key| key.id == id) {
            Some(key) => Ok(key.of_agent(context.agent_id)),
            None if self.keys().next().is_none() => Err(self.no_key(context)),
            None => Err(self.refused(Error::UnknownKey {
                item: context.item(),
                key_id: id.to_string(),
                configured: self
                    .keys()
                    .map(|key| key.id.to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            })),
        }
    }

    /// Counts what did not open.
    pub(super) fn refused(&self, error: Error) -> Error {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        error
    }

    fn no_key(&self, context: &Context) -> Error {
        self.refused(Error::KeyMissing { action: format!("decrypting {}", context.item()) })
    }

    fn keys(&self) -> impl Iterator<Item = &RingKey> {
        self.current.iter().chain(&self.previous)
    }
}

impl RingKey {
    fn new(master: MasterKey) -> Self {
        Self { id: master.id(), master, agents: Mutex::new(AgentCache::new(CACHED_AGENTS)) }
    }

    fn of_agent(&self, agent_id: &str) -> Arc<AgentKey> {
        // A panic in another thread leaves the cache whole: it holds nothing half made.
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.get_or_derive(agent_id, || AgentKey::derive(&self.master, agent_id))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("current", &self.current_id())
            .field("previous", &self.previous_ids().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

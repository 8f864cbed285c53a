//! Derived keys of the agents used last, in bounded memory.

use std::collections::HashMap;
use std::sync::Arc;

use super::agent_key::AgentKey;

/// Least recently used, to within half its size: two generations, of which the older is dropped,
/// and with that overwritten, when the younger is full. Constant time, no list to maintain.
pub(super) struct AgentCache {
    half: usize,
    last: Option<(Box<str>, Arc<AgentKey>)>, // of many calls in a row for one agent
    young: HashMap<Box<str>, Arc<AgentKey>>,
    old: HashMap<Box<str>, Arc<AgentKey>>,
}

impl AgentCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { half: (capacity / 2).max(1), last: None, young: HashMap::new(), old: HashMap::new() }
    }

    pub(super) fn get_or_derive(
        &mut self,
        agent_id: &str,
        derive: impl FnOnce() -> AgentKey,
    ) -> Arc<AgentKey> {
        if let Some((name, key)) = &self.last
            && **name == *agent_id
        {
            return key.clone();
        }
        let key = self.find_or_derive(agent_id, derive);
        self.last = Some((agent_id.into(), key.clone()));
        key
    }

    fn find_or_derive(
        &mut self,
        agent_id: &str,
        derive: impl FnOnce() -> AgentKey,
    ) -> Arc<AgentKey> {
        if let Some(key) = self.young.get(agent_id) {
            return key.clone();
        }
        let (name, key) = self
            .old
            .remove_entry(agent_id)
            .unwrap_or_else(|| (agent_id.into(), Arc::new(derive())));
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, key.clone());
        key
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

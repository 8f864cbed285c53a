//! Tells which agents became free, anywhere.
//!
//! A notification is only a hint. What is told comes from the database: the list of free agents
//! is compared with the one before. The same agent freed twice has another token.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::error::Result;
use crate::store::{Changes, Free};

use super::event::Event;
use super::inner::Inner;

/// Pause after a look that failed; the feed itself may return at once while it mends.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The feed of one guard.
pub(super) struct Feed {
    inner: Arc<Inner>,
    changes: Box<dyn Changes>,
    known: HashMap<String, i64>,
}

impl Feed {
    /// Listens first and looks then, so that nothing falls between the two.
    pub(super) async fn open(inner: &Arc<Inner>) -> Result<Self> {
        let changes = inner.store.changes().await?;
        let known = tokens(&inner.store.free().await?);
        Ok(Self { inner: inner.clone(), changes, known })
    }

    /// Tells until the guard ends.
    pub(super) async fn run(mut self) {
        while self.inner.open().is_ok() {
            self.changes.changed().await;
            match self.inner.store.free().await {
                Ok(free) => self.tell(free),
                Err(error) => {
                    self.inner.tell(Event::Trouble { error });
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    fn tell(&mut self, free: Vec<Free>) {
        let known = std::mem::replace(&mut self.known, tokens(&free));
        let mut by_owner: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
        for agent in free {
            if known.get(&agent.agent_id) != Some(&agent.token) {
                by_owner.entry((agent.instance_id, agent.dead)).or_default().push(agent.agent_id);
            }
        }
        if !by_owner.is_empty() {
            self.inner.freed.send_modify(|count| *count += 1);
        }
        for ((instance_id, dead), agents) in by_owner {
            self.inner.tell(Event::Freed { agents, dead, instance_id });
        }
    }
}

fn tokens(free: &[Free]) -> HashMap<String, i64> {
    free.iter().map(|agent| (agent.agent_id.clone(), agent.token)).collect()
}

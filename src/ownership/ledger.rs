//! What this instance holds, and what it is busy with.
//!
//! The database decides who owns an agent; the ledger is this process's own copy of the answer,
//! kept so that a fenced call can be refused without asking. One operation at a time works on an
//! agent: a claim and a release of the same agent never overtake each other.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::claim::Claim;

/// The claims of one guard.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<String, Arc<Claim>>,
    busy: HashSet<String>,
}

impl Ledger {
    /// The claim on an agent.
    pub fn get(&self, agent_id: &str) -> Option<Arc<Claim>> {
        self.lock().held.get(agent_id).cloned()
    }

    /// All claims.
    pub fn all(&self) -> Vec<Arc<Claim>> {
        self.lock().held.values().cloned().collect()
    }

    /// How many claims there are, and the wrapping sum of their tokens.
    pub fn totals(&self) -> (i64, i64) {
        let state = self.lock();
        let sum = state.held.values().fold(0i64, |sum, claim| sum.wrapping_add(claim.token()));
        (state.held.len() as i64, sum)
    }

    /// How many claims are held.
    pub fn len(&self) -> usize {
        self.lock().held.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Enters a claim that the database has granted.
    pub fn insert(&self, claim: Arc<Claim>) {
        self.lock().held.insert(claim.agent_id.clone(), claim);
    }

    /// Strikes a claim out, unless a newer one has its place.
    pub fn remove(&self, claim: &Claim) {
        let mut state = self.lock();
        if state.held.get(&claim.agent_id).is_some_and(|held| held.serial == claim.serial) {
            state.held.remove(&claim.agent_id);
        }
    }

    /// Compares the database's list with this one. Agents that an operation is working on are
    /// left out: their answer is under way. A claim in doubt may have got its newer token without
    /// an answer; its next write finds out.
    pub fn compare(&self, leases: &[(String, i64)]) -> Differences {
        let state = self.lock();
        let listed: HashMap<&str, i64> =
            leases.iter().map(|(agent, token)| (agent.as_str(), *token)).collect();
        let missing = state
            .held
            .values()
            .filter(|claim| !state.busy.contains(&claim.agent_id))
            .filter(|claim| match listed.get(claim.agent_id.as_str()) {
                Some(&token) => token != claim.token() && !claim.in_doubt(),
                None => true,
            })
            .cloned()
            .collect();
        let stray = leases
            .iter()
            .filter(|(agent, _)| !state.busy.contains(agent) && !state.held.contains_key(agent))
            .cloned()
            .collect();
        Differences { missing, stray }
    }

    /// Waits until nobody works on any of these agents, then reserves them all.
    pub async fn reserve(self: &Arc<Self>, agents: &[String]) -> Reservation {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable(); // before the check, or a release in between would be missed
            {
                let mut state = self.lock();
                if !agents.iter().any(|agent| state.busy.contains(agent)) {
                    state.busy.extend(agents.iter().cloned());
                    return Reservation { ledger: self.clone(), agents: agents.to_vec() };
                }
            }
            freed.await;
        }
    }

    /// Whether an operation is working on the agent.
    pub fn is_busy(&self, agent_id: &str) -> bool {
        self.lock().busy.contains(agent_id)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the database and the ledger disagree.
#[derive(Debug)]
pub struct Differences {
    /// Held here, not there (or there under another token).
    pub missing: Vec<Arc<Claim>>,
    /// Held there, not here, as (agent, token).
    pub stray: Vec<(String, i64)>,
}

/// The right to work on some agents, until dropped.
#[derive(Debug)]
pub struct Reservation {
    ledger: Arc<Ledger>,
    agents: Vec<String>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.ledger.lock();
        for agent in &self.agents {
            state.busy.remove(agent);
        }
        drop(state);
        self.ledger.freed.notify_waiters();
    }
}

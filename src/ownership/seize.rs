//! An operator takes an agent from an owner that still lives.
//!
//! The lease changes hands in one statement that compares the owner's incarnation and token.
//! From then on every write under the owner's term is refused, and the owner learns of it from its
//! next beat, which counts its leases in the database. An owner whose beats do not get through
//! stops by its own clock. Either way it has stopped one time to live later, so whoever seized an
//! agent holds it for that long before a socket is opened for it.

use std::sync::Arc;
use std::time::Duration;

use super::claim::Claim;
use super::guard::Ownership;
use crate::error::Result;
use crate::store::Fence;

/// An agent that was taken.
#[derive(Debug)]
pub struct Seized {
    /// The claim on it.
    pub claim: Arc<Claim>,
    /// When its former owner is sure to have stopped; zero where there was none.
    pub settles_after: Duration,
}

impl Ownership {
    /// Takes an agent, whoever owns it. Fails with `AgentInUse` when its owner changed meanwhile.
    pub async fn seize(&self, agent_id: &str) -> Result<Seized> {
        let agent = self.store().canonical_agent(agent_id).await?;
        let mut settles_after = Duration::ZERO;
        if self.held(&agent).is_none()
            && let Some(owner) = self.store().owners(std::slice::from_ref(&agent)).await?.pop()
        {
            settles_after = owner.peer.ttl;
            let term = Fence {
                incarnation: owner.peer.incarnation,
                agent_id: agent.clone(),
                token: owner.info.token,
            };
            let me = self.incarnation().await?;
            self.store().seize(&me, &term).await?;
        }
        // What was seized is granted as ours under a newer number.
        let claim = self.claim(&agent, None, Duration::ZERO).await?;
        Ok(Seized { claim, settles_after })
    }
}

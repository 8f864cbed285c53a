//! Writes under the fence of a claim.
//!
//! A write whose answer was lost may have been carried out, or be on its way: a proxy or the kernel may
//! keep it and deliver it later than newer ones, under a token that is still good. So nothing is written
//! or read under that token any more. The claim moves to a newer one by a compare-and-set, which grants
//! nothing that was released, deleted or taken meanwhile, and then it goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::claim::Claim;
use super::guard::Ownership;
use super::inner::{Inner, MAX_TRIES};
use crate::clock::Tick;
use crate::error::{Error, Result};
use crate::store::{Fence, Written};

/// How soon a connection that was dead shows it. Who has waited for longer shall not wait again.
const AT_ONCE: Duration = Duration::from_secs(2);

/// One write, as often as it takes to know what became of it.
pub struct FencedWrite<'a> {
    inner: &'a Inner,
    claim: &'a Arc<Claim>,
    began: Tick,
    tried: u32,
}

impl Ownership {
    /// Begins a write: [`FencedWrite::fence`], then the statement, then [`FencedWrite::judge`],
    /// until that says what became of it.
    pub fn write<'a>(&'a self, claim: &'a Arc<Claim>) -> FencedWrite<'a> {
        let inner = self.inner();
        FencedWrite { inner, claim, began: inner.clock.now(), tried: 0 }
    }

    /// Makes sure that what is read now is not changed later by a write that nobody waits for.
    pub async fn settle(&self, claim: &Arc<Claim>) -> Result<()> {
        self.write(claim).fence().await.map(drop)
    }
}

impl FencedWrite<'_> {
    /// The fence to write under.
    pub async fn fence(&self) -> Result<Fence> {
        self.inner.open()?;
        if self.claim.in_doubt() {
            self.inner.settle(self.claim).await?;
        }
        self.inner.check(self.claim)
    }

    /// What the answer means; nothing where the same has to be written again. A refusal ends the
    /// claim.
    pub fn judge(&mut self, fence: &Fence, answer: Result<Written>) -> Result<Option<Written>> {
        match answer {
            // Sent under a token that has been replaced since, for the sake of another write.
            Ok(Written::Refused) if self.replaced(fence) => Ok(None),
            Ok(Written::Refused) => Err(self.inner.refused(self.claim, fence)),
            Ok(written) => Ok(Some(written)),
            Err(error @ Error::DatabaseUnavailable { .. }) => {
                self.claim.doubt(fence);
                self.tried += 1;
                let waited = self.inner.clock.now().since(self.began);
                if self.tried < MAX_TRIES && waited < AT_ONCE { Ok(None) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    fn replaced(&self, fence: &Fence) -> bool {
        let in_doubt = self.claim.in_doubt(); // first: it is set until the newer token is there
        let now = self.claim.fence();
        self.claim.ended().is_none()
            && now.incarnation == fence.incarnation
            && (in_doubt || now.token != fence.token)
    }
}

impl Inner {
    /// Gives a claim in doubt a newer token, unless somebody has touched its lease.
    async fn settle(&self, claim: &Arc<Claim>) -> Result<()> {
        if self.keeps() && claim.term().dead.load(Ordering::SeqCst) {
            return Err(self.being_taken_up(claim)); // that comes with a newer token, too
        }
        let _reservation = self.ledger.reserve(std::slice::from_ref(&claim.agent_id)).await;
        self.check(claim)?;
        self.advance(claim).await
    }

    /// The same for whoever has reserved the agent.
    pub(super) async fn advance(&self, claim: &Arc<Claim>) -> Result<()> {
        if !claim.in_doubt() {
            return Ok(()); // another write has seen to it
        }
        let (fence, term) = (claim.fence(), claim.term());
        match self.store.advance(&fence).await? {
            Some(token) => {
                claim.renewed_as(token, term);
                Ok(())
            }
            None if self.keeps() => {
                self.wake_pulse.notify_one(); // the next beat tells whether it is to be taken up
                Err(self.being_taken_up(claim))
            }
            None => Err(self.refused(claim, &fence)),
        }
    }
}

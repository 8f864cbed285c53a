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
use super::stats::WriteCounts;
use crate::error::{Error, Result};
use crate::store::{Fence, Written};

/// How soon a connection that was dead shows it. Who has waited for longer shall not wait again.
const AT_ONCE: Duration = Duration::from_secs(2);

impl Ownership {
    /// Carries `statement` out under the fence, again where its answer is lost, until it is known
    /// what became of it. A refusal ends the claim.
    pub async fn write<Answer>(
        &self,
        claim: &Arc<Claim>,
        counts: &WriteCounts,
        statement: impl Fn(Fence) -> Answer,
    ) -> Result<Written>
    where
        Answer: Future<Output = Result<Written>>,
    {
        let inner = self.inner();
        let began = inner.clock.now();
        counts.writes.fetch_add(1, Ordering::Relaxed);
        let mut tried = 0;
        loop {
            let fence = self.settle(claim).await?;
            match statement(fence.clone()).await {
                // Sent under a token that has been replaced since, for the sake of another write.
                Ok(Written::Refused) if claim.replaces(&fence) => {}
                Ok(Written::Refused) => {
                    counts.refused.fetch_add(1, Ordering::Relaxed);
                    return Err(inner.refused(claim, &fence));
                }
                Err(error @ Error::DatabaseUnavailable { .. }) => {
                    claim.doubt(&fence);
                    tried += 1;
                    let waited = inner.clock.now().since(began);
                    if tried >= MAX_TRIES || waited >= AT_ONCE {
                        return Err(error);
                    }
                }
                answer => return answer,
            }
        }
    }

    /// The fence to write or read under, of a claim that is not in doubt any more: what is read
    /// now is not changed later by a write that nobody waits for.
    pub async fn settle(&self, claim: &Arc<Claim>) -> Result<Fence> {
        let inner = self.inner();
        inner.open()?;
        if claim.in_doubt() {
            inner.settle(claim).await?;
        }
        inner.check(claim)
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

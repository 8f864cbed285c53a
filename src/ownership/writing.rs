//! Writes under the fence of a claim.
//!
//! A write whose answer was lost may have been carried out, or be on its way: a proxy or the kernel may
//! keep it and deliver it later than newer ones, under a token that is still good. So nothing is written
//! under that token any more. The claim moves to a newer one by a compare-and-set, which grants nothing
//! that was released, deleted or taken meanwhile, and then it writes again.

use std::sync::Arc;
use std::time::Duration;

use super::claim::Claim;
use super::guard::Ownership;
use super::inner::{Inner, MAX_TRIES, pause_after};
use crate::clock::Tick;
use crate::error::{Error, LossReason, Result};
use crate::store::{Fence, Written};

/// How soon a connection that was dead shows it. Who has waited for longer shall not wait again.
const AT_ONCE: Duration = Duration::from_secs(2);

/// One write, as often as it takes to know what became of it.
pub struct FencedWrite<'a> {
    inner: &'a Arc<Inner>,
    claim: &'a Arc<Claim>,
    began: Tick,
    unanswered: bool,
}

impl Ownership {
    /// Begins a write: [`FencedWrite::fence`], then the statement, then [`FencedWrite::judge`],
    /// until that says what became of it.
    pub fn write<'a>(&'a self, claim: &'a Arc<Claim>) -> FencedWrite<'a> {
        let inner = self.inner();
        FencedWrite { inner, claim, began: inner.clock.now(), unanswered: false }
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
                self.claim.doubt();
                let again = !std::mem::replace(&mut self.unanswered, true)
                    && self.inner.clock.now().since(self.began) < AT_ONCE;
                if again { Ok(None) } else { Err(error) }
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
    /// Gives the claim a newer token, unless somebody has touched its lease.
    async fn settle(self: &Arc<Self>, claim: &Arc<Claim>) -> Result<()> {
        let agents = std::slice::from_ref(&claim.agent_id);
        let _reservation = self.ledger.reserve(agents).await;
        self.check(claim)?;
        if !claim.in_doubt() {
            return Ok(()); // another write has seen to it
        }
        let term = claim.term();
        let mut tried = 0;
        let claimed = loop {
            let renew = async {
                let untouched = self.moved_to(&term, agents).await?;
                self.claim_resolved(&term, &untouched).await
            };
            match renew.await {
                Err(Error::DatabaseUnavailable { .. })
                    if tried + 1 < MAX_TRIES && term.trusted(self.clock.now()) =>
                {
                    tokio::time::sleep(pause_after(tried)).await;
                    tried += 1;
                }
                answer => break answer?,
            }
        };
        if let Some(grant) = claimed.grants.first() {
            claim.renewed_as(grant.token, term);
            return Ok(());
        }
        if claimed.alive {
            self.lose(claim, LossReason::Refused);
        } else {
            self.term_ended(&term, LossReason::Buried);
        }
        self.check(claim)?;
        Err(self.being_taken_up(claim))
    }
}

//! How a claim comes to be held: granted by the database, entered here, shown in the host's table.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, LossReason, Result};
use crate::store::{Claimed, Death, Fence, Grant, Owner};

use super::claim::{Claim, Term};
use super::event::Event;
use super::guard::InUse;
use super::inner::{Inner, MAX_TRIES, lock, pause_after};
use super::neighbours::Life;
use super::trust::margin;

/// Rounds in which refused agents may turn out to be free after all.
const MAX_ROUNDS: u32 = 5;

impl Inner {
    /// Claims agents that this instance does not hold. Those with a live owner go to `in_use`.
    pub(super) async fn claim_fresh(
        self: &Arc<Self>,
        mut agents: Vec<String>,
        in_use: &mut Vec<InUse>,
    ) -> Result<Vec<Arc<Claim>>> {
        let mut fresh = Vec::new();
        let mut silent_before = false;
        for round in 0.. {
            if agents.is_empty() {
                break;
            }
            let freed_before = *self.freed.borrow();
            let term = self.fresh_term().await?;
            let claimed = self.claim_resolved(&term, &agents).await?;
            if !claimed.alive {
                self.term_ended(&term, LossReason::Buried);
                if round + 1 < MAX_ROUNDS {
                    continue;
                }
                return Err(Error::Internal("registered and was buried, again and again".into()));
            }
            let granted: HashSet<&str> =
                claimed.grants.iter().map(|grant| grant.agent_id.as_str()).collect();
            agents.retain(|agent| !granted.contains(agent.as_str()));
            for grant in claimed.grants {
                silent_before |= grant.after_silence;
                fresh.push(self.enter(grant, &term));
            }
            if agents.is_empty() {
                break;
            }
            let owners = self.store.owners(&agents).await?;
            self.bury_dead_neighbours(&owners).await?;
            // Freed meanwhile: by their owner, by this burial, or by the pulse's.
            let look_again = owners.len() < agents.len() || *self.freed.borrow() != freed_before;
            if !look_again || round + 1 >= MAX_ROUNDS {
                in_use.extend(owners.into_iter().map(|owner| self.in_use(owner)));
                break;
            }
        }
        if silent_before {
            // The former owner may be frozen rather than dead and WhatsApp checks no token: by
            // now it has stopped by its own clock, and this covers clocks of different rates.
            tokio::time::sleep(margin(self.settings.ttl)).await;
        }
        Ok(fresh)
    }

    /// One claim with a known outcome: a lost answer is asked again under a newer number, so
    /// that a late copy of the older one can neither win nor undo it.
    pub(super) async fn claim_resolved(&self, term: &Term, agents: &[String]) -> Result<Claimed> {
        let mut tried = 0;
        loop {
            let seq = self.seq.fetch_add(1, Ordering::SeqCst);
            match self.store.claim(term.incarnation(), seq, agents).await {
                Err(Error::DatabaseUnavailable { .. })
                    if tried + 1 < MAX_TRIES && term.trusted(self.clock.now()) =>
                {
                    tokio::time::sleep(pause_after(tried)).await;
                    tried += 1;
                }
                answer => return answer,
            }
        }
    }

    fn enter(&self, grant: Grant, term: &Arc<Term>) -> Arc<Claim> {
        self.stats.claims_granted.fetch_add(1, Ordering::Relaxed);
        if grant.takeover {
            self.stats.takeovers.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(older) = self.ledger.get(&grant.agent_id) {
            self.lose(&older, LossReason::Expired);
        }
        let claim = Arc::new(Claim::new(&self.serials, grant, term.clone()));
        self.ledger.insert(claim.clone());
        self.wake_sentry.notify_one();
        claim
    }

    /// Shows fresh claims in the host's table, and makes sure that they are still held.
    pub(super) async fn introduce(
        &self,
        fresh: &[Arc<Claim>],
        user_id: Option<&str>,
    ) -> Result<()> {
        let Some(first) = fresh.first() else { return Ok(()) };
        let agents: Vec<String> = fresh.iter().map(|claim| claim.agent_id.clone()).collect();
        self.store.show(&first.term().registration, &agents, user_id).await?;
        for claim in fresh {
            claim.shown.store(true, Ordering::SeqCst);
            self.check(claim)?;
        }
        Ok(())
    }

    /// Undoes a claim that failed after it had been granted. What cannot be told now is found
    /// as a stray lease at the next beat; a shutdown takes the whole instance away.
    pub(super) async fn give_back(&self, claims: &[Arc<Claim>]) {
        let fences: Vec<Fence> = claims.iter().map(|claim| claim.fence()).collect();
        for claim in claims {
            self.end(claim, LossReason::Released);
        }
        if let Err(error) = self.store.release(&fences, false).await
            && !self.closed.load(Ordering::SeqCst)
        {
            self.tell(Event::Trouble { error });
        }
    }

    /// Whether any of them is dead, buried by this call or by another task's a moment before.
    async fn bury_dead_neighbours(&self, owners: &[Owner]) -> Result<bool> {
        let mut dead = false;
        let peers: BTreeMap<_, _> =
            owners.iter().map(|owner| (&owner.peer.incarnation, &owner.peer)).collect();
        for peer in peers.into_values() {
            if self.place.life_of(peer, self.store.one_machine()) == Life::Gone {
                dead = true;
                self.bury(peer, Death::Gone).await?;
            }
        }
        Ok(dead)
    }

    /// Moves to a new incarnation the leases that nobody has touched since they were ours. Returns
    /// those of the agents that it has, whichever answer was lost.
    async fn moved_to(&self, term: &Term, agents: &[String]) -> Result<Vec<String>> {
        for claim in agents.iter().filter_map(|agent| self.ledger.get(agent)) {
            self.store.seize(term.incarnation(), &claim.fence()).await?;
        }
        let wanted: HashSet<&String> = agents.iter().collect();
        let leases = self.store.leases(term.incarnation()).await?;
        Ok(leases.into_iter().map(|(agent, _)| agent).filter(|a| wanted.contains(a)).collect())
    }

    fn in_use(&self, owner: Owner) -> InUse {
        let patience =
            lock(&self.watch).patience(&owner.peer.incarnation, owner.peer.ttl, self.clock.now());
        InUse {
            agent_id: owner.agent_id,
            owner: owner.info,
            retry_after: patience + margin(self.settings.ttl),
        }
    }
}

/// Takes up again, under a new incarnation, what an outage made this instance lose. What another
/// instance has by now is lost, and so is what one has had meanwhile and given back: it has moved on,
/// and what is known here of the session is old.
pub(super) async fn take_up_again(inner: Arc<Inner>) {
    let agents: Vec<String> =
        inner.ledger.all().iter().map(|claim| claim.agent_id.clone()).collect();
    let _reservation = inner.ledger.reserve(&agents).await;
    let (term, claimed) = loop {
        let attempt = async {
            let term = inner.term().await?;
            let untouched = inner.moved_to(&term, &agents).await?;
            let claimed = inner.claim_resolved(&term, &untouched).await?;
            Ok::<_, Error>((term, claimed))
        };
        match attempt.await {
            Ok((term, claimed)) if claimed.alive => break (term, claimed),
            Ok((term, _)) => term.dead.store(true, Ordering::SeqCst),
            Err(Error::ShutDown) => return,
            Err(error) => inner.tell(Event::Trouble { error }),
        }
        tokio::time::sleep(inner.settings.ttl / 5).await;
    };
    let tokens: HashMap<_, _> =
        claimed.grants.into_iter().map(|grant| (grant.agent_id, grant.token)).collect();
    for agent in &agents {
        let Some(claim) = inner.ledger.get(agent) else { continue };
        match tokens.get(agent) {
            Some(token) => claim.renewed_as(*token, term.clone()),
            None => inner.lose(&claim, LossReason::Taken),
        }
    }
}

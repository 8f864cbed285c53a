//! One agent held under one fencing token.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::clock::Tick;
use crate::error::{Error, LossReason, Result};
use crate::store::{Fence, Grant, Registration};

use super::neighbours::Proof;
use super::trust::TrustWindow;

/// One incarnation of this instance: from its registration to its death.
#[derive(Debug)]
pub struct Term {
    /// As it stands in the database.
    pub registration: Registration,
    /// Until when it may act.
    pub trust: TrustWindow,
    /// Set when the database, or this process itself, ended it.
    pub dead: AtomicBool,
    /// The lock that tells the neighbours; dropped with the term.
    proof: Mutex<Option<Proof>>,
}

impl Term {
    pub(super) fn new(
        registration: Registration,
        trust: TrustWindow,
        proof: Option<Proof>,
    ) -> Self {
        Self { registration, trust, dead: AtomicBool::new(false), proof: Mutex::new(proof) }
    }

    /// Stops proving life to the neighbours. With `remove` the file goes too: nobody needs to
    /// look for an incarnation that the database knows to be dead.
    pub(super) fn withdraw_proof(&self, remove: bool) {
        let proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(proof), true) = (proof, remove) {
            proof.remove();
        }
    }

    /// The random id that the fence compares.
    pub fn incarnation(&self) -> &str {
        &self.registration.incarnation
    }

    /// Whether this incarnation may act at `now`.
    pub fn trusted(&self, now: Tick) -> bool {
        !self.dead.load(Ordering::SeqCst) && self.trust.holds(now)
    }
}

/// A claim, shared by the ledger and by whoever was given it.
///
/// Its fence changes in two cases only. A guard with `onStoreLost: 'keep'` that was buried during
/// an outage got the agent again, as the same claim, under a newer token of a newer incarnation. Or
/// the answer to a write was lost, and a newer token keeps that write from arriving later.
#[derive(Debug)]
pub struct Claim {
    /// Tells two claims of one agent apart.
    pub serial: u64,
    /// The agent, canonical.
    pub agent_id: String,
    holding: Mutex<(Fence, Arc<Term>)>,
    ended: OnceLock<LossReason>,
    in_doubt: AtomicBool,
    /// Another incarnation held the agent until it died.
    pub takeover: bool,
    /// A session row has shown this claim, so that its absence means that it was deleted.
    pub(super) shown: AtomicBool,
}

impl Claim {
    pub(super) fn new(serials: &AtomicU64, grant: Grant, term: Arc<Term>) -> Self {
        let Grant { agent_id, token, takeover, .. } = grant;
        let fence =
            Fence { incarnation: term.incarnation().to_owned(), agent_id: agent_id.clone(), token };
        Self {
            serial: serials.fetch_add(1, Ordering::SeqCst),
            agent_id,
            holding: Mutex::new((fence, term)),
            ended: OnceLock::new(),
            in_doubt: AtomicBool::new(false),
            takeover,
            shown: AtomicBool::new(false),
        }
    }

    /// What the database compares at every write.
    pub fn fence(&self) -> Fence {
        self.lock().0.clone()
    }

    /// The fencing token now.
    pub fn token(&self) -> i64 {
        self.lock().0.token
    }

    /// The incarnation it is held by.
    pub fn term(&self) -> Arc<Term> {
        self.lock().1.clone()
    }

    /// Why it ended, if it did.
    pub fn ended(&self) -> Option<LossReason> {
        self.ended.get().copied()
    }

    /// Ends it; false when it had ended before.
    pub(super) fn end(&self, reason: LossReason) -> bool {
        self.ended.set(reason).is_ok()
    }

    /// A write under this fence was not answered: where that is the present one, it may still
    /// arrive.
    pub(super) fn doubt(&self, fence: &Fence) {
        let holding = self.lock();
        if holding.0 == *fence {
            self.in_doubt.store(true, Ordering::SeqCst);
        }
    }

    /// Whether it goes on under a newer fence, or is about to.
    pub(super) fn replaces(&self, fence: &Fence) -> bool {
        let in_doubt = self.in_doubt(); // first: it is set until the newer token is there
        let now = self.fence();
        self.ended().is_none()
            && now.incarnation == fence.incarnation
            && (in_doubt || now.token != fence.token)
    }

    /// Whether a write may still arrive that nobody waits for.
    pub(super) fn in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::SeqCst)
    }

    /// Goes on under a newer token.
    pub(super) fn renewed_as(&self, token: i64, term: Arc<Term>) {
        let mut holding = self.lock();
        holding.0.token = token;
        holding.0.incarnation = term.incarnation().to_owned();
        holding.1 = term;
        self.in_doubt.store(false, Ordering::SeqCst);
    }

    /// The error of every fenced call after the end.
    pub fn lost(&self, reason: LossReason) -> Error {
        Error::ClaimLost { agent_id: self.agent_id.clone(), reason }
    }

    /// Fails when it has ended.
    pub fn alive(&self) -> Result<()> {
        self.ended().map_or(Ok(()), |reason| Err(self.lost(reason)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Fence, Arc<Term>)> {
        self.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What the calls and the background tasks of one guard share: its incarnation, its ledger, and
//! how each of them ends.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, watch as signal};
use tokio::task::JoinHandle;

use crate::clock::{Clock, Tick};
use crate::error::{Error, LossReason, Result};
use crate::store::{Fence, Registration, Store};

use super::claim::{Claim, Term};
use super::claiming::take_up_again;
use super::event::Event;
use super::guard::{HeartbeatSettings, Settings};
use super::ledger::Ledger;
use super::neighbours::{Place, Proof};
use super::stats::Stats;
use super::trust::TrustWindow;
use super::watch::Watch;
use super::{pulse, sentry};

/// Tries after which a call gives up on a database that keeps cutting its answers.
pub(super) const MAX_TRIES: u32 = 6;

/// What the handle, the claims and the background tasks share.
pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: Settings,
    pub(super) place: Place,
    pub(super) ledger: Arc<Ledger>,
    pub(super) stats: Stats,
    pub(super) watch: Mutex<Watch>,
    pub(super) heartbeat: Mutex<Option<HeartbeatSettings>>,
    pub(super) wake_pulse: Notify,
    pub(super) wake_sentry: Notify,
    pub(super) wake_refresh: Notify,
    /// The oldest question to the event loop that it has not answered.
    pub(super) asked_loop: Mutex<Option<Tick>>,
    /// Counts every time that agents may have become free.
    pub(super) freed: signal::Sender<u64>,
    /// Nothing once the guard has fallen silent.
    pub(super) events: Mutex<Option<UnboundedSender<Event>>>,
    pub(super) term: Mutex<Option<Arc<Term>>>,
    /// Held while an incarnation is registered: calls that come meanwhile wait for that one.
    pub(super) starting: tokio::sync::Mutex<()>,
    /// The next sequence number that a claim goes to the database with.
    pub(super) seq: AtomicI64,
    /// The next serial number of a claim.
    pub(super) serials: AtomicU64,
    pub(super) closed: AtomicBool,
    pub(super) tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Whether the feed runs; held while it starts.
    pub(super) feed: tokio::sync::Mutex<bool>,
}

impl Inner {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        place: Place,
        events: UnboundedSender<Event>,
    ) -> Self {
        Self {
            store,
            clock,
            settings,
            place,
            events: Mutex::new(Some(events)),
            ledger: Arc::default(),
            stats: Stats::default(),
            watch: Mutex::default(),
            heartbeat: Mutex::default(),
            wake_pulse: Notify::new(),
            wake_sentry: Notify::new(),
            wake_refresh: Notify::new(),
            asked_loop: Mutex::default(),
            freed: signal::Sender::new(0),
            feed: tokio::sync::Mutex::default(),
            seq: AtomicI64::new(1),
            serials: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            term: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// A live incarnation whose window is open wide enough to claim under it.
    pub(super) async fn fresh_term(self: &Arc<Self>) -> Result<Arc<Term>> {
        let term = self.term().await?;
        let left = term.trust.until().since(self.clock.now());
        if left >= self.settings.ttl / 2 {
            return Ok(term);
        }
        self.beat(&term).await?;
        self.term().await
    }

    /// The present incarnation, registered when there is none.
    pub(super) async fn term(self: &Arc<Self>) -> Result<Arc<Term>> {
        self.open()?;
        if let Some(term) = self.current_term() {
            return Ok(term);
        }
        let _starting = self.starting.lock().await;
        self.open()?;
        if let Some(term) = self.current_term() {
            return Ok(term);
        }
        let incarnation = (self.settings.fresh_id)();
        let proof = self.place.prove(&incarnation);
        let registration = Registration {
            incarnation,
            instance_id: self.settings.instance_id.clone(),
            hostname: self.settings.hostname.clone(),
            pid: self.settings.pid,
            ttl: self.settings.ttl,
            boot_id: self.place.boot_id.clone(),
            lock_dir: proof.as_ref().and(self.place.lock_dir.clone()),
        };
        let sent = self.clock.now();
        self.store.register(&registration).await?;
        let proof = proof.map(Proof::announce);
        let term = Arc::new(Term::new(registration, TrustWindow::new(self.settings.ttl), proof));
        term.trust.renewed(sent);
        *lock(&self.term) = Some(term.clone());
        self.start_tasks();
        self.wake_pulse.notify_one();
        Ok(term)
    }

    pub(super) fn current_term(&self) -> Option<Arc<Term>> {
        lock(&self.term).clone().filter(|term| !term.dead.load(Ordering::SeqCst))
    }

    /// The incarnation is dead: everything it held is lost, or taken up again when the user
    /// wants claims kept through an outage.
    pub(super) fn term_ended(self: &Arc<Self>, term: &Arc<Term>, reason: LossReason) {
        if term.dead.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut slot = lock(&self.term);
        if slot.as_ref().is_some_and(|now| now.incarnation() == term.incarnation()) {
            *slot = None;
        }
        drop(slot);
        term.withdraw_proof(false);
        let keep = self.keeps() && reason == LossReason::Buried;
        if keep {
            self.spawn("take up again", take_up_again(self.clone()));
            return;
        }
        for claim in self.ledger.all() {
            if claim.term().incarnation() == term.incarnation() {
                self.lose(&claim, reason);
            }
        }
    }

    pub(super) async fn retire(&self, term: &Term) -> Result<()> {
        let mut tried = 0;
        loop {
            match self.store.retire(term.incarnation()).await {
                Err(Error::DatabaseUnavailable { .. }) => {
                    tokio::time::sleep(pause_after(tried)).await;
                    tried = (tried + 1).min(MAX_TRIES);
                }
                answer => return answer,
            }
        }
    }

    /// The fence of a claim that is held at this moment.
    pub(super) fn check(&self, claim: &Arc<Claim>) -> Result<Fence> {
        claim.alive()?;
        if claim.term().trusted(self.clock.now()) || self.keeps() {
            return Ok(claim.fence());
        }
        self.lose(claim, LossReason::Expired);
        Err(claim.lost(LossReason::Expired))
    }

    /// Whether claims outlive their window. Without a heartbeat nobody would ever hear from the
    /// database that they are gone.
    pub(super) fn keeps(&self) -> bool {
        self.settings.keep_when_store_lost && lock(&self.heartbeat).is_some()
    }

    pub(super) fn refused(&self, claim: &Arc<Claim>, fence: &Fence) -> Error {
        // A claim that is kept may have been taken up again since the write was sent.
        let superseded = claim.term().dead.load(Ordering::SeqCst) || claim.fence() != *fence;
        if self.keeps() && superseded {
            return self.being_taken_up(claim);
        }
        self.lose(claim, LossReason::Refused);
        // What overtook a write may be its own holder's release.
        claim.lost(claim.ended().unwrap_or(LossReason::Refused))
    }

    /// The error of writes while a claim that is kept through an outage has no lease.
    pub(super) fn being_taken_up(&self, claim: &Claim) -> Error {
        Error::DatabaseUnavailable {
            action: format!("write for agent {}", claim.agent_id),
            cause: "this instance was held for dead; its claims are being taken up again".into(),
        }
    }

    /// Ends a claim that its holder did not give back, and tells.
    pub(super) fn lose(&self, claim: &Arc<Claim>, reason: LossReason) {
        if self.end(claim, reason) {
            self.stats.lost(reason);
            self.tell(Event::Lost { claim: claim.clone(), reason });
        }
    }

    pub(super) fn end(&self, claim: &Arc<Claim>, reason: LossReason) -> bool {
        self.ledger.remove(claim);
        claim.end(reason)
    }

    pub(super) fn tell(&self, event: Event) {
        if let Some(events) = &*lock(&self.events) {
            // Nobody listens any more when the guard's JavaScript side is gone.
            let _ = events.send(event);
        }
    }

    /// Lets go of the listener, which would keep the guard's JavaScript side alive for ever.
    pub(super) fn fall_silent(&self) {
        *lock(&self.events) = None;
    }

    pub(super) fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) { Err(Error::ShutDown) } else { Ok(()) }
    }

    pub(super) fn start_tasks(self: &Arc<Self>) {
        let mut tasks = lock(&self.tasks);
        if tasks.is_empty() && self.open().is_ok() {
            tasks.push(self.background("pulse", pulse::run(self.clone())));
            tasks.push(self.background("refresh", pulse::refresh(self.clone())));
            tasks.push(self.background("sentry", sentry::run(self.clone())));
        }
    }

    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        task: F,
    ) {
        let handle = self.background(name, task);
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle);
    }

    /// Runs a task that must not end unseen: a panic in it ends all claims and is told.
    fn background<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        task: F,
    ) -> JoinHandle<()> {
        let inner = Arc::downgrade(self);
        let task = tokio::spawn(task);
        let stop = task.abort_handle();
        tokio::spawn(async move {
            let _stop = AbortOnDrop(stop);
            let Err(failure) = task.await else { return };
            if let (true, Some(inner)) = (failure.is_panic(), inner.upgrade()) {
                inner.tell(Event::Trouble { error: Error::Internal(format!("{name} ended")) });
                if let Some(term) = inner.current_term() {
                    inner.term_ended(&term, LossReason::Expired);
                }
            }
        })
    }

    pub(super) fn stop_tasks(&self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// 50 ms, doubling: enough for a connection to be made anew, short against any time to live.
pub(super) fn pause_after(tries: u32) -> Duration {
    Duration::from_millis(50) * 2u32.saturating_pow(tries.min(5))
}

/// Locks, also after a panic elsewhere: the data are counters and lists that stay consistent.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

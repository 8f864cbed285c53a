//! The calls: claim, update, release, shut down.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::clock::Clock;
use crate::error::{Error, LossReason, OwnerInfo, Result};
use crate::store::{Fence, Session, SessionFilter, SessionUpdate, Store, Written};

use super::claim::Claim;
use super::event::Event;
use super::feed;
use super::inner::{Inner, MAX_TRIES, lock, pause_after};
use super::neighbours::Place;
use super::stats::Stats;
use super::trust::renewal_interval;

/// Who this instance is and how it behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public name.
    pub instance_id: String,
    /// Host name to show.
    pub hostname: String,
    /// Process id to show.
    pub pid: i32,
    /// The lease's time to live.
    pub ttl: Duration,
    /// Keep claims through a database outage until the database names another owner.
    pub keep_when_store_lost: bool,
    /// Makes ids that are never used twice.
    pub fresh_id: fn() -> String,
}

/// How the heartbeat runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatSettings {
    /// How often the session rows show a fresh `last_heartbeat`.
    pub interval: Duration,
    /// How long the JavaScript event loop may stand still.
    pub max_stall: Duration,
}

/// The answer to a batch claim.
#[derive(Debug, Default)]
pub struct ClaimedMany {
    /// What this instance holds now.
    pub claims: Vec<Arc<Claim>>,
    /// What live owners elsewhere hold.
    pub in_use: Vec<InUse>,
}

/// An agent with a live owner elsewhere.
#[derive(Debug, Clone)]
pub struct InUse {
    /// The agent.
    pub agent_id: String,
    /// Who has it.
    pub owner: OwnerInfo,
    /// When asking again can first succeed if the owner stays silent.
    pub retry_after: Duration,
}

impl From<InUse> for Error {
    fn from(in_use: InUse) -> Self {
        Error::AgentInUse {
            agent_id: in_use.agent_id,
            owner: Box::new(in_use.owner),
            retry_after: in_use.retry_after,
        }
    }
}

/// A guard's ownership: the handle. Dropping it ends the background tasks.
pub struct Ownership {
    inner: Arc<Inner>,
}

impl Ownership {
    /// A guard over `store` that tells `events` what happens. Touches nothing until first use.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        place: Place,
        events: UnboundedSender<Event>,
    ) -> Self {
        Self { inner: Arc::new(Inner::new(store, clock, settings, place, events)) }
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// The store, for the rooms that keep their own tables in it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.inner.stats
    }

    /// Time since the last good beat was sent.
    pub fn last_beat_age(&self) -> Option<Duration> {
        self.inner.stats.last_beat_age(self.inner.clock.now())
    }

    /// How many claims are held now.
    pub fn held_count(&self) -> usize {
        self.inner.ledger.len()
    }

    /// Whether the database answers within `limit`.
    pub async fn ping(&self, limit: Duration) -> Result<()> {
        self.inner.open()?;
        tokio::time::timeout(limit, self.inner.store.ping()).await.unwrap_or_else(|_| {
            Err(Error::DatabaseUnavailable {
                action: "looking whether the database answers".into(),
                cause: format!("no answer within {} ms", limit.as_millis()),
            })
        })
    }

    /// The claim on an agent, by the name the database gives it, if it is held at this moment.
    pub fn held(&self, agent_id: &str) -> Option<Arc<Claim>> {
        let claim = self.inner.ledger.get(agent_id)?;
        self.holds(&claim).then_some(claim)
    }

    /// The present incarnation, which is entered when there is none.
    pub async fn incarnation(&self) -> Result<String> {
        Ok(self.inner.term().await?.incarnation().to_owned())
    }

    /// Claims one agent; with `wait`, waits that long for a live owner to go.
    pub async fn claim(
        &self,
        agent_id: &str,
        user_id: Option<&str>,
        wait: Duration,
    ) -> Result<Arc<Claim>> {
        let inner = &self.inner;
        let give_up = inner.clock.now() + wait;
        let mut freed = inner.freed.subscribe();
        let mut watching = false;
        loop {
            let mut answer = self.claim_many(&[agent_id.to_owned()], user_id).await?;
            if let Some(claim) = answer.claims.pop() {
                return Ok(claim);
            }
            let Some(in_use) = answer.in_use.pop() else {
                return Err(Error::Internal(format!("claim of {agent_id} had no answer")));
            };
            let left = give_up.since(inner.clock.now());
            if left.is_zero() {
                return Err(in_use.into());
            }
            if !watching {
                match self.watch_freed().await {
                    Ok(()) => {
                        watching = true;
                        continue; // what became free before it was watched is not told
                    }
                    Err(Error::ShutDown) => return Err(Error::ShutDown),
                    Err(_) => {}
                }
            }
            // A notification is only a hint, and listening may fail: look again at every
            // renewal, whatever was or was not heard.
            let pause = left.min(renewal_interval(inner.settings.ttl));
            tokio::select! {
                _ = freed.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Claims many agents in one statement.
    pub async fn claim_many(
        &self,
        agent_ids: &[String],
        user_id: Option<&str>,
    ) -> Result<ClaimedMany> {
        let answer = self.try_claim_many(agent_ids, user_id).await;
        if answer.is_err() {
            self.inner.open()?; // what a shutdown cut short failed for no other reason
        }
        answer
    }

    async fn try_claim_many(
        &self,
        agent_ids: &[String],
        user_id: Option<&str>,
    ) -> Result<ClaimedMany> {
        let inner = &self.inner;
        inner.open()?;
        let mut agents = Vec::with_capacity(agent_ids.len());
        for agent_id in agent_ids {
            agents.push(inner.store.canonical_agent(agent_id).await?);
        }
        agents.sort_unstable();
        agents.dedup();
        let _reservation = inner.ledger.reserve(&agents).await;

        let mut answer = ClaimedMany::default();
        agents.retain(|agent| match inner.ledger.get(agent) {
            Some(claim) if inner.check(&claim).is_ok() => {
                answer.claims.push(claim);
                false
            }
            _ => true,
        });
        let fresh = inner.claim_fresh(agents, &mut answer.in_use).await?;
        if let Err(error) = inner.introduce(&fresh, user_id).await {
            inner.give_back(&fresh).await;
            return Err(error);
        }
        answer.claims.extend(fresh);
        Ok(answer)
    }

    /// Whether the claim is held at this moment; ends it when it turns out not to be.
    pub fn holds(&self, claim: &Arc<Claim>) -> bool {
        self.inner.check(claim).is_ok()
    }

    /// The fence of a held claim, for a write that the database will compare with it.
    pub fn fence(&self, claim: &Arc<Claim>) -> Result<Fence> {
        self.inner.open()?;
        self.inner.check(claim)
    }

    /// Writes the session row under the fence.
    pub async fn update(&self, claim: &Arc<Claim>, update: &SessionUpdate) -> Result<()> {
        let Inner { store, stats, .. } = &*self.inner;
        let statement = |fence| async move { store.update_session(&fence, update).await };
        match self.write(claim, &stats.session_row, statement).await? {
            Written::NoRow => Err(Error::SessionRowMissing { agent_id: claim.agent_id.clone() }),
            _ => Ok(()),
        }
    }

    /// Gives a claim back. A claim that was released before stays so without an error.
    pub async fn release(&self, claim: &Arc<Claim>, deactivate: bool) -> Result<()> {
        let inner = &self.inner;
        let _reservation = inner.ledger.reserve(std::slice::from_ref(&claim.agent_id)).await;
        if claim.ended() == Some(LossReason::Released) {
            return Ok(());
        }
        if claim.in_doubt() {
            // The lease may have a newer token already, which the release has to name. Where the
            // database does not say, the release will fail, too.
            let _ = inner.advance(claim).await;
        }
        let fence = self.fence(claim)?;
        // Ended before the row is: nothing can be written under a token that is being given up.
        claim.end(LossReason::Released);
        inner.ledger.remove(claim);
        let mut tried = 0;
        loop {
            match inner.store.release(std::slice::from_ref(&fence), deactivate).await {
                Ok(released) if released.is_empty() && tried == 0 => {
                    return Err(claim.lost(LossReason::Refused));
                }
                // After a lost answer an empty one says that the first attempt came through.
                Ok(_) => {
                    inner.stats.releases.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(Error::DatabaseUnavailable { .. })
                    if tried + 1 < MAX_TRIES && claim.term().trusted(inner.clock.now()) =>
                {
                    tokio::time::sleep(pause_after(tried)).await;
                    tried += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The live owner of an agent.
    pub async fn owner(&self, agent_id: &str) -> Result<Option<OwnerInfo>> {
        let inner = &self.inner;
        inner.open()?;
        let agent = inner.store.canonical_agent(agent_id).await?;
        let owners = inner.store.owners(&[agent]).await?;
        Ok(owners.into_iter().next().map(|owner| owner.info))
    }

    /// The session rows, with their owners.
    pub async fn sessions(&self, filter: SessionFilter) -> Result<Vec<Session>> {
        let inner = &self.inner;
        inner.open()?;
        let term = inner.current_term();
        let incarnation = term.as_ref().map_or("", |term| term.incarnation());
        inner.store.sessions(incarnation, filter).await
    }

    /// Starts renewing; what is missing (the registration, say) is made up by the first beat.
    pub fn start_heartbeat(&self, settings: HeartbeatSettings) -> Result<()> {
        let inner = &self.inner;
        inner.open()?;
        *lock(&inner.heartbeat) = Some(settings);
        *lock(&inner.asked_loop) = None;
        inner.start_tasks();
        inner.wake_pulse.notify_one();
        inner.wake_sentry.notify_one();
        inner.wake_refresh.notify_one();
        Ok(())
    }

    /// Stops renewing. Claims run out after what is left of their time to live.
    pub fn stop_heartbeat(&self) {
        *lock(&self.inner.heartbeat) = None;
        self.inner.wake_sentry.notify_one();
    }

    /// The event loop answers a [`Event::Ping`].
    pub fn pong(&self) {
        let was_asked = lock(&self.inner.asked_loop).take();
        if was_asked.is_some() {
            self.inner.wake_sentry.notify_one();
        }
    }

    /// Starts telling [`Event::Freed`]; returns when everything freed from now on will be told.
    pub async fn watch_freed(&self) -> Result<()> {
        let inner = &self.inner;
        inner.open()?;
        inner.term().await?; // who watches ownership also watches the instances
        let mut started = inner.feed.lock().await;
        if !*started {
            let feed = feed::Feed::open(inner).await?;
            inner.spawn("feed", feed.run());
            *started = true;
        }
        Ok(())
    }

    /// Ends everything: all claims are given back at once. Returns whether the database could be
    /// told within `timeout`; if not, the others find out after the time to live.
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        let inner = &self.inner;
        if inner.closed.swap(true, Ordering::SeqCst) {
            return true;
        }
        for claim in inner.ledger.all() {
            inner.end(&claim, LossReason::Released);
        }
        inner.stop_tasks();
        inner.freed.send_modify(|count| *count += 1); // who waits for an agent looks, and is told
        let end = inner.clock.now() + timeout;
        // A registration under way would stand there for nobody; there is none after this one.
        let started = tokio::time::timeout(timeout, inner.starting.lock()).await.is_ok();
        let term = lock(&inner.term).take();
        let told = match term {
            None => started,
            Some(term) => {
                term.dead.store(true, Ordering::SeqCst);
                let left = end.since(inner.clock.now());
                let told = tokio::time::timeout(left, inner.retire(&term)).await;
                let told = matches!(told, Ok(Ok(())));
                term.withdraw_proof(told);
                told
            }
        };
        // A database that does not answer gets no goodbye.
        let left = if told { end.since(inner.clock.now()) } else { Duration::ZERO };
        let _ = tokio::time::timeout(left, inner.store.close()).await;
        inner.fall_silent();
        told
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        self.inner.stop_tasks();
        if let Some(term) = lock(&self.inner.term).take() {
            term.dead.store(true, Ordering::SeqCst);
            // The file stays, unlocked: the neighbours see at once that nobody is there.
            term.withdraw_proof(false);
        }
    }
}

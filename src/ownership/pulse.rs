//! The heartbeat, and the look at everybody else's.
//!
//! One task, one connection. Beats go out at a fixed rate; a failed one is tried again with
//! backoff. The answer to a beat brings everybody's counter and a check sum of the own leases.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::error::{Error, LossReason, Result};
use crate::store::{Beat, Death, Fence, Peer};

use super::claim::{Claim, Term};
use super::event::Event;
use super::inner::{Inner, lock};
use super::neighbours::Life;
use super::trust::{attempt_timeout, renewal_interval};

/// How often lock files of neighbours are looked at; a look is one system call each.
const NEIGHBOUR_INTERVAL: Duration = Duration::from_millis(500);
/// First pause after a failed beat; doubles up to the interval.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Beats and watches until the guard ends.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut next = inner.clock.now();
    let mut failures = 0u32;
    let mut neighbourhood = inner.place.changed();
    while inner.open().is_ok() {
        let now = inner.clock.now();
        let seen = inner.place.changed();
        if neighbourhood != seen {
            // Somebody may have come who could die before the next beat would show them.
            neighbourhood = seen;
            next = now;
        }
        if now >= next {
            let outcome = inner.pulse().await;
            let interval = inner.pulse_interval(); // by what the pulse has just shown
            next = match outcome {
                Ok(()) => {
                    failures = 0;
                    now + interval
                }
                Err(error) => {
                    lock(&inner.watch).interrupted();
                    inner.beat_failed(error);
                    failures += 1;
                    let pause = FIRST_RETRY * 2u32.saturating_pow(failures.min(10) - 1);
                    inner.clock.now() + pause.min(interval)
                }
            };
        }
        if let Err(error) = inner.bury_the_dead().await {
            lock(&inner.watch).interrupted();
            inner.tell(Event::Trouble { error });
        }
        let now = inner.clock.now();
        let mut pause = next.since(now);
        if let Some(due) = lock(&inner.watch).next_due(now) {
            pause = pause.min(due.since(now));
        }
        if inner.place.lock_dir.is_some() {
            pause = pause.min(NEIGHBOUR_INTERVAL);
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = inner.wake_pulse.notified() => next = inner.clock.now(),
        }
    }
}

/// Keeps `last_heartbeat` of the session rows fresh, for people and the host's own queries. A
/// task of its own: a host's lock on one of its rows must not delay a beat.
pub(super) async fn refresh(inner: Arc<Inner>) {
    while inner.open().is_ok() {
        let heartbeat = *lock(&inner.heartbeat);
        let Some(settings) = heartbeat else {
            inner.wake_refresh.notified().await;
            continue;
        };
        if let Some(term) = inner.current_term()
            && let Err(error) = inner.refresh_sessions(&term).await
        {
            inner.tell(Event::Trouble { error });
        }
        // A little early, so that a reader never sees a heartbeat older than the interval.
        tokio::select! {
            () = sleep(settings.interval * 9 / 10) => {}
            () = inner.wake_refresh.notified() => {}
        }
    }
}

impl Inner {
    /// A quarter of the shortest time to live around would do; a fifth leaves room.
    fn pulse_interval(&self) -> Duration {
        let shortest = lock(&self.watch).shortest_ttl().unwrap_or(self.settings.ttl);
        renewal_interval(shortest.min(self.settings.ttl))
    }

    /// One beat where a heartbeat runs, one look otherwise.
    async fn pulse(self: &Arc<Self>) -> Result<()> {
        if lock(&self.heartbeat).is_some() {
            if self.event_loop_stands_still() {
                return Ok(()); // the sentry gave everything up; nothing is left to renew
            }
            let term = self.timed(self.term()).await?;
            return self.beat(&term).await;
        }
        let Some(term) = self.current_term() else { return Ok(()) };
        let peers = self.timed(self.store.peers(term.incarnation())).await?;
        lock(&self.watch).observe(self.clock.now(), peers);
        Ok(())
    }

    /// One renewal, whatever the number of claims.
    pub(super) async fn beat(self: &Arc<Self>, term: &Arc<Term>) -> Result<()> {
        let sent = self.clock.now();
        let beat = self.timed(self.store.beat(term.incarnation())).await?;
        let received = self.clock.now();
        let failures = self.stats.beat_succeeded(sent, received);
        if failures > 0 {
            self.tell(Event::BeatRecovered { failures });
        }
        if beat.alive {
            term.trust.renewed(sent);
            self.wake_sentry.notify_one();
        } else {
            self.term_ended(term, LossReason::Buried);
            self.wake_pulse.notify_one(); // a heartbeat goes on under a new incarnation
        }
        if beat.alive && self.ledger.totals() != (beat.held, beat.token_sum) {
            self.spawn("reconcile", reconcile(self.clone(), term.clone()));
        }
        let Beat { peers, .. } = beat;
        lock(&self.watch).observe(received, peers);
        Ok(())
    }

    /// Buries whom the watch or the kernel shows to be dead.
    async fn bury_the_dead(&self) -> Result<()> {
        let (silent, neighbours) = {
            let watch = lock(&self.watch);
            (watch.silent(self.clock.now()), watch.peers().cloned().collect::<Vec<_>>())
        };
        for peer in neighbours {
            if self.place.life_of(&peer, self.store.one_machine()) == Life::Gone {
                self.bury(&peer, Death::Gone).await?;
            }
        }
        for peer in silent {
            self.bury(&peer, Death::Silent).await?;
        }
        Ok(())
    }

    /// One compare-and-set on the counter that was seen to stand still.
    pub(super) async fn bury(&self, peer: &Peer, how: Death) -> Result<bool> {
        let buried = self.timed(self.store.bury(&peer.incarnation, peer.beat, how)).await?;
        if buried {
            self.stats.burials.fetch_add(1, Ordering::Relaxed);
            lock(&self.watch).forget(&peer.incarnation);
            // Before its file goes: whoever finds the file missing then knows why.
            self.freed.send_modify(|count| *count += 1);
            self.place.clear(&peer.incarnation);
            self.tell(Event::Buried {
                instance_id: peer.instance_id.clone(),
                proven: how == Death::Gone,
            });
        }
        Ok(buried)
    }

    async fn refresh_sessions(&self, term: &Term) -> Result<()> {
        // A row that is inserted while the answer is on its way is not in it and not gone.
        let shown: HashMap<String, Arc<Claim>> = self
            .ledger
            .all()
            .into_iter()
            .filter(|claim| claim.shown.load(Ordering::SeqCst))
            .map(|claim| (claim.agent_id.clone(), claim))
            .collect();
        for agent in self.store.refresh_sessions(&term.registration).await? {
            let Some(claim) = shown.get(&agent) else { continue };
            if claim.ended().is_none() && !self.ledger.is_busy(&agent) {
                let fence = claim.fence();
                self.lose(claim, LossReason::RowGone);
                self.store.release(&[fence], false).await?;
            }
        }
        Ok(())
    }

    fn beat_failed(&self, error: Error) {
        let consecutive = self.stats.beat_failed();
        self.tell(Event::BeatFailed { error, consecutive });
    }

    /// Bounds a call on the heartbeat's connection, so that another attempt fits in.
    async fn timed<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = attempt_timeout(self.settings.ttl);
        timeout(limit, call).await.unwrap_or_else(|_| {
            Err(Error::DatabaseUnavailable {
                action: "heartbeat".into(),
                cause: format!("no answer within {} ms", limit.as_millis()),
            })
        })
    }
}

/// The database counts other leases than the ledger: finds out which.
async fn reconcile(inner: Arc<Inner>, term: Arc<Term>) {
    let outcome = async {
        // What is granted, or taken up again, while the list is on its way is not in it and not lost.
        let before: HashSet<Fence> = inner.ledger.all().iter().map(|claim| claim.fence()).collect();
        let leases = inner.store.leases(term.incarnation()).await?;
        let differences = inner.ledger.compare(&leases);
        for claim in differences.missing {
            let fence = claim.fence();
            if fence.incarnation == term.incarnation() && before.contains(&fence) {
                inner.lose(&claim, LossReason::RowGone);
            }
        }
        // What was granted in vain (its answer lost, or its claim given up) goes back.
        let stray: Vec<Fence> = differences
            .stray
            .into_iter()
            .map(|(agent_id, token)| Fence {
                incarnation: term.incarnation().to_owned(),
                agent_id,
                token,
            })
            .collect();
        if !stray.is_empty() {
            inner.store.release(&stray, false).await?;
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = outcome.await {
        inner.tell(Event::Trouble { error });
    }
}

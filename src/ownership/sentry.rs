//! Ends claims on time, without asking the database.
//!
//! Two limits: the trust window, and how long the event loop may stand still. Both are also
//! checked natively at every fenced call, so a timer that runs late does no harm; this task is
//! what makes the signal fire when nobody calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::error::LossReason;

use super::event::Event;
use super::inner::{Inner, lock};

/// The event loop is asked at least this often.
const SLOWEST_PING: Duration = Duration::from_secs(1);

/// Watches both limits until the guard ends.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut next_ping = inner.clock.now();
    while inner.open().is_ok() {
        for claim in inner.ledger.all() {
            let _ = inner.check(&claim); // ends it when its window has closed
        }
        let now = inner.clock.now();
        let mut pause = Duration::MAX;
        let heartbeat = *lock(&inner.heartbeat);
        if let Some(settings) = heartbeat {
            if inner.event_loop_stands_still() {
                give_everything_up(&inner).await;
            }
            if now >= next_ping {
                next_ping = now + (settings.max_stall / 4).min(SLOWEST_PING);
                inner.ask_event_loop();
            }
            pause = next_ping.since(now);
        }
        if let Some(term) = inner.current_term()
            && term.trust.holds(now)
        {
            pause = pause.min(term.trust.until().since(now));
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = inner.wake_sentry.notified() => {}
        }
    }
}

/// The event loop hangs: its sockets answer nobody. Others may have the agents at once.
async fn give_everything_up(inner: &Arc<Inner>) {
    let Some(term) = inner.current_term() else { return };
    inner.term_ended(&term, LossReason::Stalled);
    let limit = inner.settings.ttl;
    if let Ok(Err(error)) = tokio::time::timeout(limit, inner.retire(&term)).await {
        inner.tell(Event::Trouble { error });
    }
}

impl Inner {
    /// Whether the event loop has left a question unanswered for longer than allowed.
    pub(super) fn event_loop_stands_still(&self) -> bool {
        let Some(settings) = *lock(&self.heartbeat) else { return false };
        let asked = *lock(&self.asked_loop);
        asked.is_some_and(|asked| self.clock.now().since(asked) > settings.max_stall)
    }

    fn ask_event_loop(&self) {
        let mut asked = lock(&self.asked_loop);
        if asked.is_none() {
            *asked = Some(self.clock.now());
            self.tell(Event::Ping);
        }
    }
}

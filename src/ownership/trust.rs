//! How long an owner may believe that it still owns: pure arithmetic over the clock.
//!
//! A watcher buries an instance no earlier than one time to live after it *received* the last
//! counter; the instance stops by itself one time to live, less a margin, after it *sent* the
//! beat that wrote that counter. Receipt comes after commit, commit after send: the loser always
//! knows before anybody else can win.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Tick;

/// The part of the time to live that an owner gives away: for the abort to reach its sockets,
/// and for clocks of two machines that do not run at exactly the same rate.
pub fn margin(ttl: Duration) -> Duration {
    (ttl / 20).max(Duration::from_millis(50)).min(ttl / 4)
}

/// Time between two renewals; four of them fit into a time to live, and one may be late.
pub fn renewal_interval(ttl: Duration) -> Duration {
    ttl / 5
}

/// How long one attempt to renew may take, so that a connection that swallows everything leaves
/// time for another attempt within the same time to live.
pub fn attempt_timeout(ttl: Duration) -> Duration {
    ttl / 3
}

/// Until when an incarnation may act. Read without a lock at every fenced call.
#[derive(Debug)]
pub struct TrustWindow {
    ttl: Duration,
    until_nanos: AtomicU64,
}

impl TrustWindow {
    /// A window that is closed until the first renewal.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, until_nanos: AtomicU64::new(0) }
    }

    /// A renewal that was sent at `sent` has succeeded. Late answers never shorten the window.
    pub fn renewed(&self, sent: Tick) {
        let until = (sent + (self.ttl - margin(self.ttl))).since_start();
        self.until_nanos.fetch_max(until.as_nanos() as u64, Ordering::SeqCst);
    }

    /// The end of the window.
    pub fn until(&self) -> Tick {
        Tick::from_start(Duration::from_nanos(self.until_nanos.load(Ordering::SeqCst)))
    }

    /// Whether the owner may still act at `now`.
    pub fn holds(&self, now: Tick) -> bool {
        now < self.until()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::from_start(Duration::from_millis(ms))
    }

    #[test]
    fn ends_a_margin_before_the_time_to_live_counted_from_sending() {
        let window = TrustWindow::new(Duration::from_secs(60));
        assert!(!window.holds(at(0)));
        window.renewed(at(1_000));
        assert!(window.holds(at(57_999)));
        assert!(!window.holds(at(58_000)));
    }

    #[test]
    fn an_answer_that_comes_late_does_not_shorten_it() {
        let window = TrustWindow::new(Duration::from_secs(60));
        window.renewed(at(20_000));
        window.renewed(at(10_000));
        assert_eq!(window.until(), at(77_000));
    }

    #[test]
    fn a_short_time_to_live_keeps_most_of_itself() {
        assert_eq!(margin(Duration::from_millis(100)), Duration::from_millis(25));
        assert_eq!(margin(Duration::from_secs(1)), Duration::from_millis(50));
        assert_eq!(margin(Duration::from_secs(60)), Duration::from_secs(3));
    }
}

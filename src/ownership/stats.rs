//! Counters of ownership, read by `heartbeat.stats()` and `metrics()`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::Tick;
use crate::error::LossReason;
use crate::metrics::RoundTrips;

/// Counts, and the last beat's figures; units stand in the names.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Stats {
    pub beats: AtomicU64,
    pub beat_failures: AtomicU64,
    pub beat_failures_in_a_row: AtomicU64,
    pub last_beat_nanos: AtomicU64,
    pub last_round_trip_micros: AtomicU64,
    pub round_trips: RoundTrips,
    pub claims_granted: AtomicU64,
    pub claims_lost: [AtomicU64; LossReason::ALL.len()],
    pub takeovers: AtomicU64,
    pub burials: AtomicU64,
    pub releases: AtomicU64,
    pub session_row: WriteCounts,
}

/// Writes under a fence.
#[derive(Debug, Default)]
pub struct WriteCounts {
    /// Calls that wrote, or tried to.
    pub writes: AtomicU64,
    /// Those of them that the fence refused.
    pub refused: AtomicU64,
}

impl Stats {
    pub(super) fn beat_succeeded(&self, sent: Tick, received: Tick) -> u64 {
        self.beats.fetch_add(1, Relaxed);
        self.last_beat_nanos.store(sent.since_start().as_nanos() as u64, Relaxed);
        let took = received.since(sent);
        self.last_round_trip_micros.store(took.as_micros() as u64, Relaxed);
        self.round_trips.took(took);
        self.answered()
    }

    /// The database answers; returns how often in a row it had not.
    pub(super) fn answered(&self) -> u64 {
        self.beat_failures_in_a_row.swap(0, Relaxed)
    }

    pub(super) fn lost(&self, reason: LossReason) {
        self.claims_lost[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn beat_failed(&self) -> u64 {
        self.beat_failures.fetch_add(1, Relaxed);
        self.beat_failures_in_a_row.fetch_add(1, Relaxed) + 1
    }

    /// Time since the last good beat was sent; `None` before the first.
    pub fn last_beat_age(&self, now: Tick) -> Option<Duration> {
        match self.last_beat_nanos.load(Relaxed) {
            0 => None,
            nanos => Some(now.since(Tick::from_start(Duration::from_nanos(nanos)))),
        }
    }
}

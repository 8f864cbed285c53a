//! What is counted where more than a number is needed: histograms of durations, gauges of a pool.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets, in milliseconds: a round trip within a machine, a network, and a
/// database in trouble.
pub const ROUND_TRIP_BUCKETS_MS: [u32; 11] = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000];

/// How long round trips took. Adding is three increments, without a lock.
#[derive(Debug, Default)]
pub struct RoundTrips {
    buckets: [AtomicU64; ROUND_TRIP_BUCKETS_MS.len()],
    sum_micros: AtomicU64,
    count: AtomicU64,
}

/// A histogram as it is read: `counts[i]` took at most `ROUND_TRIP_BUCKETS_MS[i]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    /// Cumulative, as Prometheus counts.
    pub counts: [u64; ROUND_TRIP_BUCKETS_MS.len()],
    /// All durations together.
    pub sum: Duration,
    /// All, those above the last bound too.
    pub count: u64,
}

impl RoundTrips {
    /// Counts one that took so long.
    pub fn took(&self, duration: Duration) {
        let bucket = ROUND_TRIP_BUCKETS_MS
            .iter()
            .position(|&bound| duration <= Duration::from_millis(bound.into()));
        if let Some(bucket) = bucket {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.sum_micros.fetch_add(duration.as_micros() as u64, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// All of them so far. One that is being counted meanwhile may be in a bucket and not yet in
    /// the count, so the count is read last and never below a bucket.
    pub fn read(&self) -> Histogram {
        let mut total = 0;
        let counts = std::array::from_fn(|bucket| {
            total += self.buckets[bucket].load(Relaxed);
            total
        });
        let sum = Duration::from_micros(self.sum_micros.load(Relaxed));
        Histogram { counts, sum, count: self.count.load(Relaxed).max(total) }
    }
}

/// Connections of a pool at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Open.
    pub size: u32,
    /// Of those, how many wait for work.
    pub idle: u32,
    /// How many there may be.
    pub max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_belong_to_theirs() {
        let trips = RoundTrips::default();
        for ms in [1, 5, 6, 9999] {
            trips.took(Duration::from_millis(ms));
        }
        let histogram = trips.read();
        assert_eq!(histogram.counts, [1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
        assert_eq!(histogram.count, 4);
        assert_eq!(histogram.sum, Duration::from_millis(10_011));
    }
}

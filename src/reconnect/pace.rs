//! How often, over all sessions, a connect may begin.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Tick;

/// A limiter that is told the time.
#[derive(Debug)]
pub struct Pace {
    limiter: RateLimiter<NotKeyed, InMemoryState, Told, NoOpMiddleware<Duration>>,
    told: Told,
}

impl Pace {
    /// `per_second` connects a second, evenly spaced, with `burst` at once after a rest.
    pub fn new(per_second: f64, burst: NonZeroU32) -> Self {
        let interval = Duration::from_secs_f64(1.0 / per_second).max(Duration::from_nanos(1));
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MAX));
        let told = Told::default();
        Self {
            limiter: RateLimiter::direct_with_clock(quota.allow_burst(burst), told.clone()),
            told,
        }
    }

    /// Takes a place now, or says when there is one.
    pub fn take(&self, now: Tick) -> Result<(), Tick> {
        self.told.0.store(now.since_start().as_nanos() as u64, Ordering::Relaxed);
        self.limiter.check().map_err(|not_yet| {
            let wait = not_yet.earliest_possible().duration_since(now.since_start());
            now + wait.into()
        })
    }
}

/// A clock that shows what it was told.
#[derive(Debug, Clone, Default)]
struct Told(Arc<AtomicU64>);

impl Clock for Told {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::from_start(Duration::from_millis(ms))
    }

    #[test]
    fn no_second_sees_more_than_the_rate() {
        let pace = Pace::new(2.0, NonZeroU32::MIN);
        let mut begun = Vec::new();
        for ms in (10_000..20_000).step_by(10) {
            if pace.take(at(ms)).is_ok() {
                begun.push(ms);
            }
        }
        assert_eq!(begun.len(), 20);
        assert!(begun.windows(3).all(|three| three[2] - three[0] >= 1_000));
    }

    #[test]
    fn waiting_as_long_as_told_succeeds() {
        let pace = Pace::new(0.5, NonZeroU32::MIN);
        assert_eq!(pace.take(at(5_000)), Ok(()));
        let later = pace.take(at(5_500)).unwrap_err();
        assert_eq!(later, at(7_000));
        assert_eq!(pace.take(later), Ok(()));
    }

    #[test]
    fn a_burst_comes_at_once_and_only_after_a_rest() {
        let pace = Pace::new(1.0, NonZeroU32::new(3).unwrap());
        let taken = |ms| (0..10).filter(|_| pace.take(at(ms)).is_ok()).count();
        assert_eq!(taken(1_000), 3);
        assert_eq!(taken(2_000), 1);
        assert_eq!(taken(60_000), 3);
    }
}

//! Time that only grows, and goes on while the machine sleeps.
//!
//! No wall clock decides anything in this crate. Decisions compare [`Tick`]s, and the domain
//! modules are given a [`Clock`], so that tests move time by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A point on the monotonic clock: time since an arbitrary start, the same for all threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(Duration);

impl Tick {
    /// A tick so long after the clock's arbitrary start.
    pub const fn from_start(since: Duration) -> Self {
        Self(since)
    }

    /// Time since the clock's arbitrary start.
    pub fn since_start(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to here, zero when `earlier` is later.
    pub fn since(self, earlier: Tick) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Tick {
    type Output = Tick;
    fn add(self, by: Duration) -> Tick {
        Tick(self.0.saturating_add(by))
    }
}

/// Reads the monotonic clock.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Tick;
}

/// The machine's own clock, which counts suspended time too.
///
/// Rust's `Instant` is `CLOCK_MONOTONIC`, which stands still on Linux while a machine is
/// suspended: a lease would look fresh after hours of sleep. `CLOCK_BOOTTIME` does not. On
/// macOS and Windows the monotonic clocks count sleep already.
#[derive(Debug, Default, Clone, Copy)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Tick {
        #[cfg(unix)]
        {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            let id = rustix::time::ClockId::Boottime;
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            let id = rustix::time::ClockId::Monotonic;
            let t = rustix::time::clock_gettime(id);
            Tick(Duration::new(t.tv_sec as u64, t.tv_nsec as u32))
        }
        #[cfg(not(unix))]
        {
            static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
            Tick(START.get_or_init(std::time::Instant::now).elapsed())
        }
    }
}

/// A clock for tests that moves only when told.
#[derive(Debug, Default, Clone)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Tick {
        Tick(Duration::from_nanos(self.0.load(Ordering::SeqCst)))
    }
}

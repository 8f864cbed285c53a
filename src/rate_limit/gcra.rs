//! GCRA: hits evenly spaced, with room for a burst. The arithmetic is governor's.
//!
//! One moment a key is all the state there is: the theoretical arrival time, at which the next
//! hit would come if all came evenly spaced. A hit passes when it is early by no more than the
//! burst allows. `limit` points in `window` are the pace; `burst` of them may come at once.
//! In a time `d` at most `burst + d * limit / window` pass.
//!
//! The spacing is rounded up to whole nanoseconds and the wait to whole milliseconds: never too
//! many, never told to come too early.
//!
//! Blocking: the first refusal moves the arrival time so that nothing passes for `block`.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::time::Moment;
use super::{Algorithm, Decision, Rule, State};

/// The algorithm.
pub struct Gcra;

/// When the next hit of a key is due, and how many were refused since the last was admitted.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    due_ns: Moment,
    refused: u32,
}

impl Default for Arrival {
    fn default() -> Self {
        Self { due_ns: Moment::at(0), refused: 0 }
    }
}

impl State for Arrival {}

const NS: u64 = 1_000_000;
/// What a clock and a window may be at most, so that no sum of them overflows: 100 years.
const CENTURY_MS: i64 = 100 * 366 * 86_400_000;

/// The spacing of a rule and by how much a hit may be early, in nanoseconds; `None` where
/// nothing passes. For databases, which do this arithmetic themselves.
pub fn spacing(rule: &Rule) -> Option<(i64, i64)> {
    Pace::of(rule).map(|pace| (pace.t as i64, pace.tolerance() as i64))
}

/// A rule in governor's terms.
struct Pace {
    /// Time between two hits.
    t: u64,
    burst: NonZeroU32,
}

impl Pace {
    /// `None` for a limit that lets nothing pass.
    fn of(rule: &Rule) -> Option<Self> {
        let (limit, burst) = (NonZeroU32::new(rule.limit)?, NonZeroU32::new(rule.burst)?);
        let window = rule.window.clamp(0, CENTURY_MS) as u64 * NS;
        let t = window.div_ceil(u64::from(limit.get())).max(1);
        let most = u32::try_from(CENTURY_MS as u64 * NS / t).unwrap_or(u32::MAX);
        Some(Self { t, burst: burst.min(NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN)) })
    }

    fn quota(&self) -> Option<Quota> {
        Some(Quota::with_period(Duration::from_nanos(self.t))?.allow_burst(self.burst))
    }

    /// By how much a hit may be early.
    fn tolerance(&self) -> u64 {
        self.t * u64::from(self.burst.get() - 1)
    }

    /// How many points would pass now, and when one more would.
    fn room(&self, due: u64, now: u64) -> (u32, u64) {
        let full = self.t + self.tolerance();
        let behind = due.saturating_sub(now);
        let room = full.saturating_sub(behind) / self.t;
        let grows =
            if behind == 0 { now } else { (due + (room + 1) * self.t).saturating_sub(full) };
        (room as u32, grows)
    }

    /// From when on `points` would pass.
    fn earliest(&self, due: u64, points: u32) -> u64 {
        (due + self.t * u64::from(points - 1)).saturating_sub(self.tolerance())
    }
}

/// One key's state, as governor sees it.
struct Slot<'a>(&'a Cell<u64>);

impl StateStore for Slot<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let due = self.0.get();
        let (outcome, next) = decide((due > 0).then(|| Nanos::new(due)))?;
        self.0.set(next.as_u64());
        Ok(outcome)
    }
}

/// A clock that stands. Governor takes its first reading for the origin, which must be zero.
struct Standing(Cell<Duration>);

impl Clock for Standing {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.get()
    }
}

/// Lets governor decide, and stores what it says.
fn conforms(pace: &Pace, due: &Cell<u64>, now: u64, points: u32) -> bool {
    let (Some(quota), Some(points)) = (pace.quota(), NonZeroU32::new(points)) else { return false };
    let governor: RateLimiter<_, _, _, NoOpMiddleware<Duration>> =
        RateLimiter::new(quota, Slot(due), Standing(Cell::new(Duration::ZERO)));
    governor.clock().0.set(Duration::from_nanos(now));
    matches!(governor.check_n(points), Ok(Ok(())))
}

fn nanos(ms: i64) -> u64 {
    ms.clamp(0, 2 * CENTURY_MS) as u64 * NS
}

fn millis(ns: u64) -> i64 {
    ns.div_ceil(NS) as i64
}

impl Arrival {
    /// An arrival time as a database keeps it, in nanoseconds.
    pub fn stored(due_ns: i64, refused: u32) -> Self {
        Self { due_ns: Moment::at(due_ns), refused }
    }

    /// What a database has to keep: the arrival time in nanoseconds, and refusals.
    pub fn parts(&self) -> (i64, u32) {
        (self.due_ns.ms(), self.refused)
    }

    fn due(&self) -> u64 {
        self.due_ns.ms() as u64
    }

    /// The answer to a hit that was just decided.
    pub fn answer(&self, rule: &Rule, now: i64, points: u32, allowed: bool) -> Decision {
        let Some(pace) = Pace::of(rule) else {
            let reset_at = now.saturating_add(rule.window);
            let used = u64::from(self.refused);
            return Decision { allowed, used, remaining: 0, reset_at, retry_after: reset_at - now };
        };
        let (remaining, grows) = pace.room(self.due(), nanos(now));
        let reset_at = if allowed { grows } else { pace.earliest(self.due(), points) };
        let reset_at = millis(reset_at).max(now);
        Decision {
            allowed,
            used: u64::from(pace.burst.get() - remaining) + u64::from(self.refused),
            remaining,
            reset_at,
            retry_after: if allowed { 0 } else { reset_at - now },
        }
    }
}

impl Algorithm for Gcra {
    type State = Arrival;

    fn take(rule: &Rule, state: &mut Arrival, now: i64, points: u32) -> Decision {
        let due = Cell::new(state.due());
        let pace = Pace::of(rule);
        let allowed = pace.as_ref().is_some_and(|pace| conforms(pace, &due, nanos(now), points));
        if allowed {
            state.refused = 0;
        } else if !rule.waits {
            if let Some(pace) = pace.filter(|_| rule.block > 0 && state.refused == 0) {
                let blocked_until = nanos(now.saturating_add(rule.block.min(CENTURY_MS)));
                due.set(due.get().max(blocked_until + pace.tolerance()));
            }
            state.refused = state.refused.saturating_add(1);
        }
        state.due_ns = Moment::at(due.get() as i64);
        state.answer(rule, now, points, allowed)
    }

    fn peek(rule: &Rule, state: &Arrival, now: i64) -> Decision {
        let room = Pace::of(rule).map_or(0, |pace| pace.room(state.due(), nanos(now)).0);
        let mut answer = state.answer(rule, now, 1, room > 0);
        if state.due() <= nanos(now) {
            answer.used = 0; // the refusals are as old as what was given back
        }
        answer
    }

    /// Since the hit, time has given back some of its points; how much, one moment does not tell.
    /// At the most so much has passed, so what is left after that is sure not to be given back twice.
    fn refund(rule: &Rule, state: &mut Arrival, now: i64, at: i64, points: u32) {
        let Some(pace) = Pace::of(rule) else { return };
        let taken = pace.t.saturating_mul(u64::from(points));
        let back = taken.saturating_sub(nanos(now.saturating_sub(at)));
        if back > 0 {
            state.due_ns = Moment::at(state.due().saturating_sub(back) as i64);
            state.refused = 0;
        }
    }

    fn keep_until(_rule: &Rule, state: &Arrival) -> i64 {
        millis(state.due())
    }
}

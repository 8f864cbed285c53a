//! Rate limits: who may pass now, and when the next may.
//!
//! The three algorithms ([`window`], [`sliding`], [`gcra`]) are pure functions over one key's
//! explicit state: time, limit and points go in, a [`Decision`] comes out, and the state is
//! changed in place. They know nothing of tables, threads or databases, so the same rules are
//! written once more as SQL in `store/` and compared with these.
//!
//! [`table`] keeps many keys in bounded memory and forgets what has expired, a little at every
//! call: there is no timer and no pause. [`limiter`] joins the two; [`counter`] is the plain
//! counter that express-rate-limit's `MemoryStore` is, which knows no limit.
//!
//! Time is the caller's wall clock in whole milliseconds, because users fake it in their tests.
//! [`time::Steady`] makes it one that never runs backwards.

pub mod counter; // hits in a window, no limit: what a `MemoryStore` counts
pub mod gcra; // governor's arithmetic over one stored moment
pub mod key; // keys as fingerprints of fixed size
pub mod limiter; // an algorithm over a table of keys
mod pages; // a dense array that grows and shrinks without copying
pub mod sliding; // the exact log of the hits in the last window
pub mod table; // bounded memory, incremental expiry
pub mod time; // a wall clock that is not believed when it goes back
pub mod window; // the window that a key's first hit opens

#[cfg(test)]
mod model; // slow and obviously right; what the property tests compare with

/// Which algorithm a limiter follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`window::FixedWindow`]
    FixedWindow,
    /// [`sliding::SlidingWindow`]
    SlidingWindow,
    /// [`gcra::Gcra`]
    Gcra,
}

impl Kind {
    /// The algorithm of that name, as users write it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "fixed-window" => Some(Self::FixedWindow),
            "sliding-window" => Some(Self::SlidingWindow),
            "gcra" => Some(Self::Gcra),
            _ => None,
        }
    }
}

/// What one key may do: fixed for a limiter but for `limit`, which may differ by request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Hits (points) allowed in a window. Zero refuses everything.
    pub limit: u32,
    /// Length of the window in milliseconds; [`time::NEVER`] for one that does not end.
    pub window: i64,
    /// How many may come at once under GCRA; the other algorithms have `limit` here.
    pub burst: u32,
    /// How long a key stays refused once it was refused; zero for no longer than it must.
    pub block: i64,
    /// Whoever asks waits for its turn: being told to wait is no refusal and leaves no trace.
    pub waits: bool,
}

/// The answer to a hit, or to the question what a hit of one point would get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the hit passes. A refused one has taken nothing.
    pub allowed: bool,
    /// Points taken and not yet given back by time, plus the refusals since the last admission:
    /// it is `limit + 1` at the first refusal and grows by one with each further one.
    pub used: u64,
    /// Points that would still pass at this moment.
    pub remaining: u32,
    /// When `remaining` next grows; for a refused hit, when that very hit would pass.
    pub reset_at: i64,
    /// `reset_at` as a time to wait, zero when the hit passed. Waiting so long always succeeds
    /// when nobody else takes the place meanwhile.
    pub retry_after: i64,
}

/// A decision and when it was made, by the steady clock of whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The decision; its moments are of the same clock.
    pub decision: Decision,
    /// The moment of the decision.
    pub now: i64,
}

/// What is remembered of one key. `Default` is a key never seen.
pub trait State: Default {
    /// How much memory it takes beyond its own size, in remembered moments.
    fn weight(&self) -> usize {
        0
    }

    /// Makes it smaller at the price of being stricter, never laxer.
    fn coarsen(&mut self) {}
}

/// The rules of one algorithm over one key's state.
pub trait Algorithm {
    /// What it remembers of a key.
    type State: State;

    /// Decides about a hit of `points` (at least one) and takes them if it passes.
    fn take(rule: &Rule, state: &mut Self::State, now: i64, points: u32) -> Decision;

    /// What a hit of one point would get now; changes nothing.
    fn peek(rule: &Rule, state: &Self::State, now: i64) -> Decision;

    /// Gives `points` back of a hit that was admitted at `at`, as far as they are sure to count still.
    fn refund(rule: &Rule, state: &mut Self::State, now: i64, at: i64, points: u32);

    /// From when on the state says no more than a fresh one.
    fn keep_until(rule: &Rule, state: &Self::State) -> i64;
}

//! One algorithm over a table of keys, by the caller's wall clock.

use std::marker::PhantomData;

use super::key::Fingerprints;
use super::table::{Lifetime, Place, Table};
use super::time::Steady;
use super::{Algorithm, Decision, Rule, State, Verdict};

/// How many remembered moments there may be for each key the table may hold, before logs are
/// coarsened.
const MOMENTS_A_KEY: usize = 4;

/// Keys under one algorithm.
pub struct Limiter<A: Algorithm> {
    table: Table<A::State>,
    fingerprints: Fingerprints,
    clock: Steady,
    moments: usize,
    algorithm: PhantomData<A>,
}

/// What a limiter does, whichever its algorithm; times are the caller's wall clock's.
pub trait Limits {
    /// Decides about a hit and takes its points if it passes. The verdict's `now` is the limiter's.
    fn take(&mut self, rule: &Rule, kind: u32, key: &[u16], wall: i64, points: u32) -> Verdict;
    /// What a hit of one point would get; changes nothing.
    fn peek(&mut self, rule: &Rule, kind: u32, key: &[u16], wall: i64) -> Decision;
    /// Gives points back of a hit that was admitted at `hit_at`, as its verdict told.
    fn refund(&mut self, rule: &Rule, kind: u32, key: &[u16], wall: i64, hit_at: i64, points: u32);
    /// Forgets a key.
    fn reset(&mut self, kind: u32, key: &[u16]);
    /// Forgets all keys.
    fn clear(&mut self);
    /// How many keys are kept.
    fn keys(&self) -> usize;
    /// Whether new keys share one state because there is no room.
    fn overflowing(&self) -> bool;
}

struct Life<'a, A>(&'a Rule, PhantomData<A>);

impl<A: Algorithm> Lifetime<A::State> for Life<'_, A> {
    fn keep_until(&self, state: &A::State) -> i64 {
        A::keep_until(self.0, state)
    }

    fn span(&self) -> i64 {
        self.0.window
    }
}

impl<A: Algorithm> Limiter<A> {
    /// A limiter for at most `capacity` keys.
    pub fn new(capacity: usize, fingerprints: Fingerprints) -> Self {
        Self {
            table: Table::new(capacity),
            fingerprints,
            clock: Steady::default(),
            moments: capacity.saturating_mul(MOMENTS_A_KEY),
            algorithm: PhantomData,
        }
    }

    fn find(&self, kind: u32, key: &[u16]) -> Option<Place> {
        let own = self.table.find(self.fingerprints.of(kind, key));
        own.or(self.table.overflowing().then_some(Place::OVERFLOW))
    }

    fn to_wall(&self, mut decision: Decision) -> Decision {
        decision.reset_at = self.clock.to_wall(decision.reset_at);
        decision
    }
}

impl<A: Algorithm> Limits for Limiter<A> {
    fn take(&mut self, rule: &Rule, kind: u32, key: &[u16], wall: i64, points: u32) -> Verdict {
        let now = self.clock.at(wall);
        let id = self.fingerprints.of(kind, key);
        let (place, _) = self.table.find_or_make(id, now, &Life::<A>(rule, PhantomData));
        let crowded = self.table.weight() >= self.moments;
        let decision = self.table.change(place, |state| {
            let decision = A::take(rule, state, now, points);
            if crowded {
                state.coarsen();
            }
            decision
        });
        if decision.allowed {
            self.table.touch(place);
        }
        Verdict { decision: self.to_wall(decision), now }
    }

    fn peek(&mut self, rule: &Rule, kind: u32, key: &[u16], wall: i64) -> Decision {
        let now = self.clock.at(wall);
        let decision = match self.find(kind, key) {
            Some(place) => A::peek(rule, self.table.state(place), now),
            None => A::peek(rule, &A::State::default(), now),
        };
        self.to_wall(decision)
    }

    fn refund(&mut self, rule: &Rule, kind: u32, key: &[u16], wall: i64, hit_at: i64, points: u32) {
        let now = self.clock.at(wall);
        if let Some(place) = self.find(kind, key) {
            self.table.change(place, |state| A::refund(rule, state, now, hit_at, points));
        }
    }

    fn reset(&mut self, kind: u32, key: &[u16]) {
        self.table.remove(self.fingerprints.of(kind, key));
    }

    fn clear(&mut self) {
        self.table.clear();
    }

    fn keys(&self) -> usize {
        self.table.len()
    }

    fn overflowing(&self) -> bool {
        self.table.overflowing()
    }
}

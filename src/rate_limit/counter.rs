//! Hits by key in a window that the key's first hit opens, and no limit.
//!
//! This is what express-rate-limit asks of a store: the store counts, the middleware decides.
//! A window is never extended; a hit at exactly its end opens the next.

use super::State;
use super::key::{Fingerprint, Fingerprints};
use super::table::{Lifetime, Place, Table};
use super::time::{Moment, Steady, after};

/// The hits of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hits {
    reset_at: Moment,
    hits: u32,
}

impl Default for Hits {
    fn default() -> Self {
        Self { reset_at: Moment::LONG_AGO, hits: 0 }
    }
}

impl State for Hits {}

impl Hits {
    fn over(&self, now: i64) -> bool {
        self.reset_at.ms() <= now
    }

    fn open(&mut self, now: i64, window: f64) {
        *self = Self { reset_at: Moment::at(after(now, window)), hits: 0 };
    }
}

/// How often a key was hit and when that is forgotten, by the caller's wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Hits in the window, this one included.
    pub hits: u32,
    /// The end of the window; [`NEVER`](super::time::NEVER) when it has none.
    pub reset_at: i64,
}

/// Counts hits by key.
pub struct Counter {
    table: Table<Hits>,
    fingerprints: Fingerprints,
    clock: Steady,
    window: f64,
}

struct Window(f64);

impl Lifetime<Hits> for Window {
    fn keep_until(&self, state: &Hits) -> i64 {
        state.reset_at.ms()
    }

    fn span(&self) -> i64 {
        after(0, self.0)
    }
}

impl Counter {
    /// A counter for at most `capacity` keys; its windows never end until [`Self::set_window`].
    pub fn new(capacity: usize, fingerprints: Fingerprints) -> Self {
        Self {
            table: Table::new(capacity),
            fingerprints,
            clock: Steady::default(),
            window: f64::NAN,
        }
    }

    /// Sets the length of the windows that open from now on, in milliseconds.
    pub fn set_window(&mut self, window: f64) {
        self.window = window;
    }

    /// Counts a hit.
    pub fn increment(&mut self, kind: u32, key: &[u16], wall: i64) -> Count {
        let (now, id) = self.enter(kind, key, wall);
        let (place, _) = self.table.find_or_make(id, now, &Window(self.window));
        let window = self.window;
        let (state, opened) = self.table.change(place, |state| {
            let over = state.over(now);
            if over {
                state.open(now, window);
            }
            state.hits = state.hits.saturating_add(1);
            (*state, over)
        });
        if opened {
            self.table.touch(place);
        }
        self.show(state)
    }

    /// Takes a hit back. Not below zero; a key not known begins a window without hits.
    pub fn decrement(&mut self, kind: u32, key: &[u16], wall: i64) {
        let (now, id) = self.enter(kind, key, wall);
        let (place, made) = self.table.find_or_make(id, now, &Window(self.window));
        let window = self.window;
        self.table.change(place, |state| {
            if made {
                state.open(now, window);
            }
            state.hits = state.hits.saturating_sub(1);
        });
    }

    /// The hits of a key whose window has not ended.
    pub fn get(&mut self, kind: u32, key: &[u16], wall: i64) -> Option<Count> {
        let (now, id) = self.enter(kind, key, wall);
        let place = self.table.find(id).or(self.table.overflowing().then_some(Place::OVERFLOW))?;
        let state = *self.table.state(place);
        (!state.over(now)).then(|| self.show(state))
    }

    /// Forgets a key.
    pub fn reset(&mut self, kind: u32, key: &[u16]) {
        self.table.remove(self.fingerprints.of(kind, key));
    }

    /// Forgets all keys.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether new keys share one count because there is no room.
    pub fn overflowing(&self) -> bool {
        self.table.overflowing()
    }

    fn enter(&mut self, kind: u32, key: &[u16], wall: i64) -> (i64, Fingerprint) {
        (self.clock.at(wall), self.fingerprints.of(kind, key))
    }

    fn show(&self, state: Hits) -> Count {
        Count { hits: state.hits, reset_at: self.clock.to_wall(state.reset_at.ms()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::time::NEVER;
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::hash::RandomState;

    fn counter(capacity: usize, window: f64) -> Counter {
        let mut counter = Counter::new(capacity, Fingerprints::new(RandomState::new()));
        counter.set_window(window);
        counter
    }

    #[test]
    fn a_hit_at_exactly_the_end_opens_the_next_window() {
        let mut counter = counter(10, 60.0);
        assert_eq!(counter.increment(0, &[1], 0), Count { hits: 1, reset_at: 60 });
        assert_eq!(counter.increment(0, &[1], 59), Count { hits: 2, reset_at: 60 });
        assert_eq!(counter.increment(0, &[1], 60), Count { hits: 1, reset_at: 120 });
    }

    #[test]
    fn without_a_window_nothing_is_forgotten() {
        let mut counter = counter(10, f64::NAN);
        counter.increment(0, &[1], 0);
        assert_eq!(counter.increment(0, &[1], i64::MAX - 1), Count { hits: 2, reset_at: NEVER });
    }

    #[test]
    fn decrement_stops_at_zero_and_begins_a_window() {
        let mut counter = counter(10, 60.0);
        counter.decrement(0, &[1], 5);
        assert_eq!(counter.get(0, &[1], 5), Some(Count { hits: 0, reset_at: 65 }));
        assert_eq!(counter.get(0, &[1], 65), None);
    }

    #[test]
    fn new_keys_share_one_count_when_the_table_is_full() {
        let mut counter = counter(2, 60.0);
        counter.increment(0, &[1], 0);
        counter.increment(0, &[2], 0);
        assert_eq!(counter.increment(0, &[3], 1).hits, 1);
        assert_eq!(counter.increment(0, &[4], 2), Count { hits: 2, reset_at: 61 });
        assert_eq!(counter.increment(0, &[1], 3).hits, 2, "a known key keeps its own");
        assert!(counter.overflowing());
        assert_eq!(counter.increment(0, &[4], 60).hits, 1, "and what expired made room");
        assert!(!counter.overflowing());
    }

    #[test]
    fn a_clock_set_back_leaves_each_window_the_time_it_had() {
        let mut counter = counter(10, 60_000.0);
        counter.increment(0, &[1], 3_600_000);
        assert_eq!(counter.increment(0, &[1], 10_000), Count { hits: 2, reset_at: 70_000 });
        assert_eq!(counter.increment(0, &[1], 69_999).hits, 3);
        assert_eq!(counter.increment(0, &[1], 70_000), Count { hits: 1, reset_at: 130_000 });
    }

    proptest! {
        /// Against a map that forgets nothing.
        #[test]
        fn counts_as_a_plain_map_does(
            window in 1i64..50,
            steps in prop::collection::vec((0u16..6, 0i64..30, 0u8..8), 1..300),
        ) {
            let mut counter = counter(100, window as f64);
            let mut model = HashMap::<u16, (i64, u32)>::new();
            let mut now = 0;
            for (key, pass, what) in steps {
                now += pass;
                match what {
                    0 => {
                        counter.reset(0, &[key]);
                        model.remove(&key);
                    }
                    1 => {
                        let live = model.get(&key).filter(|(reset, _)| *reset > now);
                        let seen = counter.get(0, &[key], now).map(|c| (c.reset_at, c.hits));
                        prop_assert_eq!(seen, live.copied());
                    }
                    2 if model.get(&key).is_some_and(|(reset, _)| *reset > now) => {
                        counter.decrement(0, &[key], now);
                        let hits = &mut model.get_mut(&key).unwrap().1;
                        *hits = hits.saturating_sub(1);
                    }
                    _ => {
                        let count = counter.increment(0, &[key], now);
                        let (reset, hits) = model.entry(key).or_insert((now + window, 0));
                        if *reset <= now {
                            (*reset, *hits) = (now + window, 0);
                        }
                        *hits += 1;
                        prop_assert_eq!((count.reset_at, count.hits), (*reset, *hits));
                    }
                }
            }
        }
    }
}

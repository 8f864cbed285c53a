//! Many keys in bounded memory.
//!
//! Guarantees:
//! - At most `capacity` keys are kept. A key that is kept is never forgotten before its time.
//! - What has expired goes first. When nothing has and the table is full, new keys share one
//!   overflow state, and [`Table::overflowing`] tells so.
//! - No call does more than a small, fixed amount of work, whatever the number of keys: there
//!   is no sweep, no rehash of everything, no copy of a grown array, and so no pause.
//!
//! How: the entries lie dense in pages of fixed size, which never move. A queue through them,
//! in the order of their last touch, has at its head what expires first; each new key first
//! removes up to two expired heads, so a table that is in use shrinks by itself. An index of
//! entry numbers, split into shards that grow one at a time, finds a key.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as IndexEntry;

use super::State;
use super::key::Fingerprint;
use super::pages::Pages;

const SHARDS: usize = 256;
/// No entry: the end of the queue.
const NONE: u32 = u32::MAX;
/// How many heads of the queue a new key looks at.
const HEADS: usize = 2;

/// Tells the table how long a state must be kept.
pub trait Lifetime<S> {
    /// From when on the state may be forgotten.
    fn keep_until(&self, state: &S) -> i64;
    /// How long a state just touched is usually kept; one that is kept for longer does not
    /// stand in the way of the others.
    fn span(&self) -> i64;
}

struct Entry<S> {
    id: Fingerprint,
    older: u32,
    newer: u32,
    state: S,
}

/// Where the state of a key lies; good until the next call that can remove a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// The place that all keys share for which there was no room.
    pub const OVERFLOW: Self = Self(NONE);
}

/// States by key.
pub struct Table<S> {
    shards: Vec<HashTable<u32>>,
    entries: Pages<Entry<S>>,
    oldest: u32,
    newest: u32,
    capacity: usize,
    overflow: S,
    overflowing: bool,
    weight: usize,
}

impl<S: State> Table<S> {
    /// An empty table for at most `capacity` keys.
    pub fn new(capacity: usize) -> Self {
        Self {
            shards: std::iter::repeat_with(HashTable::new).take(SHARDS).collect(),
            entries: Pages::new(),
            oldest: NONE,
            newest: NONE,
            capacity: capacity.clamp(1, NONE as usize),
            overflow: S::default(),
            overflowing: false,
            weight: 0,
        }
    }

    /// How many keys are kept, expired ones among them that no call has come across.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the table was full when a new key last came.
    pub fn overflowing(&self) -> bool {
        self.overflowing
    }

    /// The state at a place.
    pub fn state(&self, place: Place) -> &S {
        if place == Place::OVERFLOW { &self.overflow } else { &self.entries.get(place.0).state }
    }

    /// The sum of the weights of all states.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Changes the state at a place.
    pub fn change<T>(&mut self, place: Place, change: impl FnOnce(&mut S) -> T) -> T {
        let state = match place {
            Place::OVERFLOW => &mut self.overflow,
            Place(at) => &mut self.entries.get_mut(at).state,
        };
        let before = state.weight();
        let result = change(state);
        self.weight = self.weight + state.weight() - before;
        result
    }

    /// Where a key is, if it is kept. Keys that share the overflow are not.
    pub fn find(&self, id: Fingerprint) -> Option<Place> {
        let entries = &self.entries;
        self.shards[shard(id)].find(hash(id), |&at| entries.get(at).id == id).map(|&at| Place(at))
    }

    /// Where a key is, or a place for it: its own with a default state, or the overflow. The
    /// second value tells that the key is new in this place.
    pub fn find_or_make(
        &mut self,
        id: Fingerprint,
        now: i64,
        life: &impl Lifetime<S>,
    ) -> (Place, bool) {
        if let Some(place) = self.find(id) {
            return (place, false);
        }
        self.forget_expired(now, life);
        self.overflowing = self.len() >= self.capacity;
        if self.overflowing {
            return (Place::OVERFLOW, false);
        }
        let at = self.entries.len() as u32;
        self.entries.push(Entry { id, older: self.newest, newer: NONE, state: S::default() });
        match self.newest {
            NONE => self.oldest = at,
            last => self.entries.get_mut(last).newer = at,
        }
        self.newest = at;
        let entries = &self.entries;
        self.shards[shard(id)].insert_unique(hash(id), at, |&at| hash(entries.get(at).id));
        (Place(at), true)
    }

    /// Puts a key at the end of the queue, as its lifetime begins anew.
    pub fn touch(&mut self, place: Place) {
        if place != Place::OVERFLOW && place.0 != self.newest {
            self.unlink(place.0);
            self.link_newest(place.0);
        }
    }

    /// Forgets one key.
    pub fn remove(&mut self, id: Fingerprint) -> Option<S> {
        let Place(at) = self.find(id)?;
        Some(self.remove_at(at))
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// Looks at the heads of the queue and removes those that have expired.
    fn forget_expired(&mut self, now: i64, life: &impl Lifetime<S>) {
        if life.keep_until(&self.overflow) <= now {
            self.weight -= std::mem::take(&mut self.overflow).weight();
        }
        for _ in 0..HEADS {
            if self.oldest == NONE {
                return;
            }
            let keep_until = life.keep_until(&self.entries.get(self.oldest).state);
            if keep_until <= now {
                self.remove_at(self.oldest);
            } else if keep_until > now.saturating_add(life.span()) {
                // Kept for unusually long (a blocked key): those behind it expire before it.
                self.touch(Place(self.oldest));
            } else {
                return;
            }
        }
    }

    fn remove_at(&mut self, at: u32) -> S {
        self.unlink(at);
        let id = self.entries.get(at).id;
        self.unindex(id, at);
        // The last entry moves into the gap, so that the pages stay dense and the last can go.
        let last = self.entries.len() as u32 - 1;
        if last != at {
            let (id, older, newer) = {
                let entry = self.entries.get(last);
                (entry.id, entry.older, entry.newer)
            };
            match older {
                NONE => self.oldest = at,
                older => self.entries.get_mut(older).newer = at,
            }
            match newer {
                NONE => self.newest = at,
                newer => self.entries.get_mut(newer).older = at,
            }
            if let Some(number) = self.shards[shard(id)].find_mut(hash(id), |&at| at == last) {
                *number = at;
            }
        }
        let state = self.entries.swap_remove(at).state;
        self.weight -= state.weight();
        state
    }

    fn unindex(&mut self, id: Fingerprint, at: u32) {
        let entries = &self.entries;
        let index = &mut self.shards[shard(id)];
        let rehash = |&at: &u32| hash(entries.get(at).id);
        if let IndexEntry::Occupied(number) = index.entry(hash(id), |&number| number == at, rehash)
        {
            number.remove();
        }
        if index.len() * 8 < index.capacity() {
            index.shrink_to(index.len() * 2, rehash);
        }
    }

    fn unlink(&mut self, at: u32) {
        let (older, newer) = {
            let entry = self.entries.get(at);
            (entry.older, entry.newer)
        };
        match older {
            NONE => self.oldest = newer,
            older => self.entries.get_mut(older).newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.entries.get_mut(newer).older = older,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let last = std::mem::replace(&mut self.newest, at);
        let entry = self.entries.get_mut(at);
        entry.older = last;
        entry.newer = NONE;
        match last {
            NONE => self.oldest = at,
            last => self.entries.get_mut(last).newer = at,
        }
    }
}

/// Two words find the entry within a shard; the third, which is independent, finds the shard.
fn hash([low, high, _]: Fingerprint) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn shard([.., third]: Fingerprint) -> usize {
    third as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// States that say themselves until when they must be kept.
    struct Plain(i64);
    impl State for i64 {}
    impl Lifetime<i64> for Plain {
        fn keep_until(&self, state: &i64) -> i64 {
            *state
        }
        fn span(&self) -> i64 {
            self.0
        }
    }

    fn id(key: u32) -> Fingerprint {
        // Few shards and few hashes, so that collisions of either happen.
        [key, 0, key % 3]
    }

    #[test]
    fn an_entry_takes_thirty_two_bytes_for_a_counter() {
        assert_eq!(size_of::<Entry<super::super::counter::Hits>>(), 32);
    }

    #[test]
    fn what_has_expired_makes_room_and_nothing_else_does() {
        let mut table = Table::<i64>::new(2);
        let life = Plain(10);
        for key in 0..2 {
            let (place, made) = table.find_or_make(id(key), 0, &life);
            assert!(made);
            table.change(place, |until| *until = 10);
        }
        let (place, _) = table.find_or_make(id(2), 9, &life);
        assert_eq!(place, Place::OVERFLOW);
        assert!(table.overflowing());
        table.change(place, |until| *until = 19);
        assert_eq!(table.find(id(0)).map(|place| *table.state(place)), Some(10));
        let (place, made) = table.find_or_make(id(2), 10, &life);
        assert!(made && place != Place::OVERFLOW && !table.overflowing());
        assert_eq!(table.find(id(0)), None);
    }

    #[test]
    fn a_key_kept_for_long_does_not_keep_the_others() {
        let mut table = Table::<i64>::new(100);
        let life = Plain(10);
        let (place, _) = table.find_or_make(id(0), 0, &life);
        table.change(place, |until| *until = 1_000_000);
        for now in 1..1_000 {
            let (place, _) = table.find_or_make(id(now as u32), now, &life);
            table.change(place, |until| *until = now + 10);
        }
        assert!(table.len() <= 14, "{} keys are kept", table.len());
        assert!(table.find(id(0)).is_some());
    }

    #[test]
    fn a_table_in_use_shrinks_when_its_keys_have_expired() {
        let mut table = Table::<i64>::new(usize::MAX);
        let life = Plain(10);
        for key in 0..20_000 {
            let (place, _) = table.find_or_make([key, key, key], 0, &life);
            table.change(place, |until| *until = 10);
        }
        assert_eq!(table.len(), 20_000);
        for key in 0..20_000 {
            let (place, _) =
                table.find_or_make([key, 1 << 31 | key, key], 100 + i64::from(key), &life);
            table.change(place, |until| *until = 110 + i64::from(key));
        }
        assert!(table.len() < 20, "{} keys are kept", table.len());
        assert_eq!(table.entries.pages(), 1);
        let indexed: usize = table.shards.iter().map(HashTable::capacity).sum();
        assert!(indexed < 256 * 30, "the index still has room for {indexed}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Against a map: finds what a map finds, but for what had expired.
        #[test]
        fn keeps_what_must_be_kept(
            capacity in 1usize..40,
            steps in prop::collection::vec((0u32..60, 0i64..4, 0u8..4, 1i64..40), 1..400),
        ) {
            let mut table = Table::<i64>::new(capacity);
            let mut model = HashMap::<u32, i64>::new();
            let life = Plain(20);
            let mut now = 0;
            for (key, pass, what, keep) in steps {
                now += pass;
                match what {
                    0 => {
                        table.remove(id(key));
                        model.remove(&key);
                    }
                    1 => {
                        let found = table.find(id(key)).map(|place| *table.state(place));
                        let known = model.get(&key).copied();
                        prop_assert!(found == known || found.is_none() && known.unwrap() <= now);
                    }
                    _ => {
                        let (place, made) = table.find_or_make(id(key), now, &life);
                        if place == Place::OVERFLOW {
                            prop_assert_eq!(table.len(), capacity);
                            continue;
                        }
                        if made {
                            prop_assert!(model.get(&key).is_none_or(|&until| until <= now));
                        } else {
                            prop_assert_eq!(Some(table.state(place)), model.get(&key));
                        }
                        table.change(place, |until| *until = now + keep);
                        table.touch(place);
                        model.insert(key, now + keep);
                    }
                }
                prop_assert!(table.len() <= capacity);
                prop_assert_eq!(table.queue_length(), table.len());
            }
        }
    }

    impl<S: State> Table<S> {
        /// Walks the queue both ways.
        fn queue_length(&self) -> usize {
            let walk = |start: u32, next: fn(&Entry<S>) -> u32| {
                let mut length = 0;
                let mut at = start;
                while at != NONE {
                    length += 1;
                    at = next(self.entries.get(at));
                }
                length
            };
            let forth = walk(self.oldest, |entry| entry.newer);
            assert_eq!(forth, walk(self.newest, |entry| entry.older));
            forth
        }
    }
}

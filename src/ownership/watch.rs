//! Who has fallen silent: pure bookkeeping over what my own reads showed.
//!
//! No wall clock is compared, not even the database's. A peer may be buried when its counter
//! stayed the same for its own time to live on *my* monotonic clock, counted from the receipt of
//! the first answer that showed it, over a time in which my own reads kept succeeding: while the
//! database is away, nobody can beat and nobody may be blamed for it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Tick;
use crate::store::Peer;

/// What this instance knows of the others. A plain value: `tests/model.rs` explores every history
/// of it that a small protocol can have.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Watch {
    seen: BTreeMap<String, Seen>,
    last_read: Option<Tick>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen {
    peer: Peer,
    unchanged_since: Tick,
}

impl Watch {
    /// Takes in an answer that was received at `now`. Peers it does not name are gone.
    pub fn observe(&mut self, now: Tick, peers: Vec<Peer>) {
        let gap = self.last_read.map(|last| now.since(last));
        self.last_read = Some(now);
        let mut before = std::mem::take(&mut self.seen);
        for peer in peers {
            let unchanged_since = match before.remove(&peer.incarnation) {
                Some(old)
                    if old.peer.beat == peer.beat && gap.is_some_and(|gap| gap <= peer.ttl / 2) =>
                {
                    old.unchanged_since
                }
                _ => now,
            };
            self.seen.insert(peer.incarnation.clone(), Seen { peer, unchanged_since });
        }
    }

    /// A read has failed: every observation starts anew with the next answer.
    pub fn interrupted(&mut self) {
        self.last_read = None;
    }

    /// A peer has been buried; it needs no further watching.
    pub fn forget(&mut self, incarnation: &str) {
        self.seen.remove(incarnation);
    }

    /// The peers that may be buried at `now`, with the counter that stood still.
    pub fn silent(&self, now: Tick) -> Vec<Peer> {
        if self.last_read.is_none() {
            return Vec::new();
        }
        self.seen
            .values()
            .filter(|seen| now.since(seen.unchanged_since) >= seen.peer.ttl)
            .filter(|seen| self.last_read.is_some_and(|read| now.since(read) <= seen.peer.ttl / 2))
            .map(|seen| seen.peer.clone())
            .collect()
    }

    /// When, after `now`, the next peer may be buried if nothing changes. Whoever is overdue
    /// already (its burial missed, or the view is stale) waits for the next answer.
    pub fn next_due(&self, now: Tick) -> Option<Tick> {
        let due = self.seen.values().map(|seen| seen.unchanged_since + seen.peer.ttl);
        due.filter(|due| *due > now).min()
    }

    /// How long `incarnation` would have to stay silent from `now` on before it may be buried.
    pub fn patience(&self, incarnation: &str, ttl: Duration, now: Tick) -> Duration {
        match self.seen.get(incarnation) {
            Some(seen) => seen.peer.ttl.saturating_sub(now.since(seen.unchanged_since)),
            None => ttl,
        }
    }

    /// Everybody else, as last seen.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.seen.values().map(|seen| &seen.peer)
    }

    /// The shortest time to live around, which sets how often to look.
    pub fn shortest_ttl(&self) -> Option<Duration> {
        self.peers().map(|peer| peer.ttl).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn at(secs: u64) -> Tick {
        Tick::from_start(Duration::from_secs(secs))
    }

    fn peer(beat: i64) -> Peer {
        Peer {
            incarnation: "p".into(),
            instance_id: "p".into(),
            ttl: TTL,
            beat,
            boot_id: None,
            lock_dir: None,
        }
    }

    fn watched(reads: impl IntoIterator<Item = (u64, i64)>) -> Watch {
        let mut watch = Watch::default();
        for (secs, beat) in reads {
            watch.observe(at(secs), vec![peer(beat)]);
        }
        watch
    }

    #[test]
    fn a_counter_that_stands_still_for_the_ttl_is_silent() {
        let watch = watched([(0, 7), (4, 7), (8, 7)]);
        assert!(watch.silent(at(9)).is_empty());
        assert_eq!(watch.next_due(at(9)), Some(at(10)));
        assert_eq!(watch.silent(at(10)).len(), 1);
        assert_eq!(watch.next_due(at(10)), None);
    }

    #[test]
    fn any_change_starts_anew_even_a_step_back_after_a_database_crash() {
        for other in [8, 6] {
            let watch = watched([(0, 7), (4, 7), (8, other), (12, other)]);
            assert!(watch.silent(at(13)).is_empty());
        }
    }

    #[test]
    fn time_in_which_i_could_not_read_does_not_count() {
        let mut watch = watched([(0, 7), (4, 7)]);
        watch.interrupted();
        assert!(watch.silent(at(10)).is_empty());
        watch.observe(at(12), vec![peer(7)]);
        watch.observe(at(16), vec![peer(7)]);
        watch.observe(at(20), vec![peer(7)]);
        assert!(watch.silent(at(21)).is_empty());
        assert_eq!(watch.silent(at(22)).len(), 1);
    }

    #[test]
    fn one_read_that_failed_is_enough_to_start_anew() {
        let mut watch = watched([(0, 7), (4, 7)]);
        watch.interrupted();
        for secs in [8, 12, 16] {
            watch.observe(at(secs), vec![peer(7)]);
        }
        assert!(watch.silent(at(17)).is_empty());
        assert_eq!(watch.silent(at(18)).len(), 1);
    }

    #[test]
    fn a_watcher_that_slept_trusts_nothing_it_knew_before() {
        let watch = watched([(0, 7), (4, 7), (3_600, 7)]);
        assert!(watch.silent(at(3_601)).is_empty());
    }

    #[test]
    fn a_stale_view_buries_nobody() {
        assert!(watched([(0, 7), (4, 7)]).silent(at(30)).is_empty());
    }
}

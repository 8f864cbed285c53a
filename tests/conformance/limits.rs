//! Rate limits: what the database decides is what the algorithms in memory decide, and hits from
//! everywhere at once are counted one by one.

use std::collections::HashMap;
use std::sync::Arc;

use baileys_guard::rate_limit::gcra::Gcra;
use baileys_guard::rate_limit::sliding::SlidingWindow;
use baileys_guard::rate_limit::time::Steady;
use baileys_guard::rate_limit::window::FixedWindow;
use baileys_guard::rate_limit::{Algorithm, Decision, Kind, Rule};
use baileys_guard::store::{Limit, LimitId, Store, Verdict};
use tokio::task::JoinSet;

use super::Site;

const KINDS: [Kind; 3] = [Kind::FixedWindow, Kind::SlidingWindow, Kind::Gcra];

fn limit(kind: Kind, rule: Rule) -> Limit {
    Limit { limiter: "test".to_owned(), kind, rule }
}

fn rule(limit: u32, window: i64) -> Rule {
    Rule { limit, window, burst: limit, block: 0, waits: false }
}

fn id(number: u64) -> LimitId {
    let mut id = [7; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    id
}

/// Numbers that are the same at every run (an LCG; the upper bits are good enough).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A hit of one point on one key.
async fn hit(store: &dyn Store, key: LimitId, limit: &Limit) -> Verdict {
    store.take_points(&[key], limit, 1, None).await.unwrap()[0]
}

/// One key by the algorithm itself.
struct Model<A: Algorithm> {
    clock: Steady,
    state: A::State,
}

impl<A: Algorithm> Model<A> {
    fn new() -> Self {
        Self { clock: Steady::default(), state: A::State::default() }
    }

    fn take(&mut self, rule: &Rule, wall: i64, points: u32) -> Verdict {
        let now = self.clock.at(wall);
        Verdict { decision: A::take(rule, &mut self.state, now, points), now }
    }

    fn peek(&self, rule: &Rule, wall: i64) -> Verdict {
        let now = { self.clock }.at(wall);
        Verdict { decision: A::peek(rule, &self.state, now), now }
    }

    fn refund(&mut self, rule: &Rule, wall: i64, at: i64, points: u32) {
        let now = self.clock.at(wall);
        A::refund(rule, &mut self.state, now, at, points);
    }
}

/// A random life of one key, in the database and by the algorithm.
async fn compare<A: Algorithm>(store: &dyn Store, kind: Kind, seed: u64, block: i64) {
    let mut random = Random(seed);
    let most = 1 + random.below(7) as u32;
    let burst = if kind == Kind::Gcra { 1 + random.below(6) as u32 } else { most };
    let window = 20 + random.below(2_000) as i64;
    let mut limit = limit(kind, Rule { limit: most, window, burst, block, waits: false });
    let mut model = Model::<A>::new();
    let mut wall = 4_000_000_000_000; // far ahead, where nothing is swept
    let mut last_hit = None;
    for step in 0..40 {
        wall += random.below(window as u64 / 2) as i64;
        if random.below(12) == 0 {
            wall -= random.below(5_000) as i64;
        }
        let context = format!("{kind:?}, seed {seed}, step {step}, {:?}", limit.rule);
        limit.rule.waits = random.below(8) == 0;
        let points = 1 + random.below(3) as u32;
        match (random.below(8), last_hit) {
            (0, _) => {
                let peeked = store.peek_points(&id(seed), &limit, Some(wall)).await.unwrap();
                assert_eq!(peeked, model.peek(&limit.rule, wall), "{context}");
            }
            (1, Some((at, points))) => {
                // Now and then of a hit that is not there, as after a reset.
                let at = if random.below(4) == 0 { at - random.below(50) as i64 } else { at };
                store.refund_points(&id(seed), &limit, points, at, Some(wall)).await.unwrap();
                model.refund(&limit.rule, wall, at, points);
                last_hit = None;
            }
            _ => {
                let points = points.min(burst);
                let times = 1 + random.below(4) as usize;
                let keys = vec![id(seed); times];
                let taken = store.take_points(&keys, &limit, points, Some(wall)).await.unwrap();
                let expected: Vec<_> =
                    (0..times).map(|_| model.take(&limit.rule, wall, points)).collect();
                assert_eq!(taken, expected, "{context}");
                if let Some(hit) = taken.iter().find(|hit| hit.decision.allowed) {
                    last_hit = Some((hit.now, points));
                }
            }
        }
    }
}

pub async fn a_fixed_window_decides_as_in_memory(site: &Site) {
    let store = site.member("a").await.store;
    for seed in 0..25 {
        compare::<FixedWindow>(&*store, Kind::FixedWindow, seed, 0).await;
        compare::<FixedWindow>(&*store, Kind::FixedWindow, 100 + seed, 500).await;
    }
}

pub async fn a_sliding_window_decides_as_in_memory(site: &Site) {
    let store = site.member("a").await.store;
    for seed in 0..25 {
        compare::<SlidingWindow>(&*store, Kind::SlidingWindow, seed, 0).await;
        compare::<SlidingWindow>(&*store, Kind::SlidingWindow, 100 + seed, 500).await;
    }
}

pub async fn gcra_decides_as_in_memory(site: &Site) {
    let store = site.member("a").await.store;
    for seed in 0..25 {
        compare::<Gcra>(&*store, Kind::Gcra, seed, 0).await;
        compare::<Gcra>(&*store, Kind::Gcra, 100 + seed, 500).await;
    }
}

pub async fn a_limit_of_zero_lets_nothing_pass(site: &Site) {
    let store = site.member("a").await.store;
    for kind in KINDS {
        let limit = limit(kind, rule(0, 1_000));
        let verdict = hit(&*store, id(1), &limit).await;
        assert!(!verdict.decision.allowed);
        assert_eq!(verdict.decision.retry_after, 1_000, "{kind:?}");
        store.reset_points(&id(1)).await.unwrap();
    }
}

pub async fn hits_from_everywhere_on_one_key_are_counted_one_by_one(site: &Site) {
    let first = site.member("a").await.store;
    let stores = [first, site.store(), site.store(), site.store()];
    for (number, kind) in KINDS.into_iter().enumerate() {
        let limit = Arc::new(limit(kind, rule(10, 600_000)));
        let mut hits = JoinSet::new();
        for call in 0..60 {
            let (store, limit) = (stores[call % 4].clone(), limit.clone());
            hits.spawn(async move { hit(&*store, id(number as u64), &limit).await.decision });
        }
        let decisions = hits.join_all().await;
        let passed = decisions.iter().filter(|decision| decision.allowed).count();
        assert_eq!(passed, 10, "{kind:?}");
        let mut used: Vec<u64> = decisions.iter().map(|decision| decision.used).collect();
        used.sort_unstable();
        assert_eq!(used, (1..=60).collect::<Vec<u64>>(), "{kind:?}");
    }
}

pub async fn calls_with_many_keys_in_any_order_never_stop_each_other(site: &Site) {
    let first = site.member("a").await.store;
    let stores = [first, site.store(), site.store(), site.store()];
    for (number, kind) in KINDS.into_iter().enumerate() {
        let limit = Arc::new(limit(kind, rule(30, 600_000)));
        let mut calls = JoinSet::new();
        for call in 0..40 {
            let (store, limit) = (stores[call % 4].clone(), limit.clone());
            // Each key twice, those of every other call backwards.
            let mut keys: Vec<LimitId> =
                (0..10).chain(0..10).map(|key| id(100 * number as u64 + key)).collect();
            if call % 2 == 1 {
                keys.reverse();
            }
            calls.spawn(async move {
                let verdicts = store.take_points(&keys, &limit, 1, None).await.unwrap();
                keys.into_iter().zip(verdicts).collect::<Vec<_>>()
            });
        }
        let mut used: HashMap<LimitId, Vec<u64>> = HashMap::new();
        for (key, verdict) in calls.join_all().await.into_iter().flatten() {
            let Decision { allowed, used: so_far, .. } = verdict.decision;
            assert_eq!(allowed, so_far <= 30, "{kind:?}");
            used.entry(key).or_default().push(so_far);
        }
        for (_, mut used) in used {
            used.sort_unstable();
            assert_eq!(used, (1..=80).collect::<Vec<u64>>(), "{kind:?}");
        }
    }
}

pub async fn keys_do_not_meet(site: &Site) {
    let store = site.member("a").await.store;
    for kind in KINDS {
        let limit = limit(kind, rule(1, 60_000));
        for key in 0..5 {
            assert!(hit(&*store, id(key), &limit).await.decision.allowed);
        }
        store.reset_points(&id(3)).await.unwrap();
        for key in 0..5 {
            let verdict = hit(&*store, id(key), &limit).await;
            assert_eq!(verdict.decision.allowed, key == 3);
            store.reset_points(&id(key)).await.unwrap();
        }
    }
}

pub async fn what_says_nothing_any_more_is_swept(site: &Site) {
    let store = site.member("a").await.store;
    for (number, kind) in KINDS.into_iter().enumerate() {
        let old = limit(kind, rule(5, 1_000));
        for key in 0..40 {
            let key = id(1_000 * number as u64 + key);
            store.take_points(&[key], &old, 1, Some(1_600_000_000_000)).await.unwrap();
        }
        let live = limit(kind, rule(5, 600_000));
        hit(&*store, id(9_000 + number as u64), &live).await;
    }
    for _ in 0..10 {
        store.sweep_points().await.unwrap();
    }
    let left = site.value("SELECT CAST(count(*) AS TEXT) FROM baileys_guard_rate_limit").await;
    assert_eq!(left.as_deref(), Some("3"));
}

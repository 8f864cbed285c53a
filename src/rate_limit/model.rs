//! Slow models that are obviously right, and the laws that every algorithm keeps.

use std::hash::RandomState;

use proptest::prelude::*;

use super::gcra::Gcra;
use super::key::Fingerprints;
use super::limiter::{Limiter, Limits};
use super::sliding::SlidingWindow;
use super::window::FixedWindow;
use super::{Algorithm, Rule};

const KEY: &[u16] = &[7];

fn limiter<A: Algorithm>() -> Limiter<A> {
    Limiter::new(1_000, Fingerprints::new(RandomState::new()))
}

/// A hit: milliseconds since the one before, and its points.
fn hits(points: u32) -> impl Strategy<Value = Vec<(i64, u32)>> {
    let gap = prop_oneof![4 => 0i64..3, 3 => 0i64..40, 1 => 0i64..400];
    prop::collection::vec((gap, 1..=points), 1..250)
}

/// Everything that was admitted, and when. Nothing is ever forgotten.
#[derive(Default)]
struct Ledger(Vec<(i64, u32)>);

impl Ledger {
    /// Points admitted in `[from, to)`.
    fn between(&self, from: i64, to: i64) -> u32 {
        self.0.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, points)| points).sum()
    }

    /// The most admitted in any interval of `span`.
    fn most_in(&self, span: i64) -> u32 {
        self.0.iter().map(|(at, _)| self.between(*at, at + span)).max().unwrap_or(0)
    }
}

/// The fixed window: opened by the first hit after the last one ended, nothing but a sum.
fn fixed_model(ledger: &Ledger, opened: &mut i64, rule: &Rule, now: i64, points: u32) -> bool {
    if now >= *opened + rule.window {
        *opened = now;
    }
    ledger.between(*opened, now + 1) + points <= rule.limit
}

/// The sliding window: what was admitted in the last `window` milliseconds, summed up.
fn sliding_model(ledger: &Ledger, rule: &Rule, now: i64, points: u32) -> bool {
    ledger.between(now - rule.window + 1, now + 1) + points <= rule.limit
}

/// A bucket of `burst` tokens that fills evenly; counted in nanoseconds of filling.
struct Bucket {
    level: u128,
    since: i64,
    a_token: u128,
    burst: u128,
}

impl Bucket {
    fn full(rule: &Rule) -> Self {
        let a_token = (rule.window as u128 * 1_000_000).div_ceil(u128::from(rule.limit));
        let burst = u128::from(rule.burst);
        Self { level: burst * a_token, since: 0, a_token, burst }
    }

    fn take(&mut self, now: i64, points: u32) -> bool {
        let filled = (now - self.since) as u128 * 1_000_000;
        self.level = (self.level + filled).min(self.burst * self.a_token);
        self.since = now;
        let wanted = u128::from(points) * self.a_token;
        let allowed = wanted <= self.level;
        if allowed {
            self.level -= wanted;
        }
        allowed
    }
}

/// Refused hits say how long to wait: a millisecond less is too little, so long is enough.
fn waiting_as_long_as_told_succeeds<A: Algorithm>(
    rule: &Rule,
    state: &A::State,
    now: i64,
    points: u32,
    retry_after: i64,
) -> Result<(), TestCaseError>
where
    A::State: Clone,
{
    prop_assert!(retry_after > 0);
    let early = A::take(rule, &mut state.clone(), now + retry_after - 1, points);
    prop_assert!(!early.allowed, "told {} ms, but one less was enough", retry_after);
    let in_time = A::take(rule, &mut state.clone(), now + retry_after, points);
    prop_assert!(in_time.allowed, "{} ms were not enough: {:?}", retry_after, in_time);
    Ok(())
}

/// Runs the hits and compares every decision with `model`, which also sees all that was admitted.
fn compare<A: Algorithm>(
    rule: &Rule,
    hits: &[(i64, u32)],
    mut model: impl FnMut(&Ledger, i64, u32) -> bool,
) -> Result<Ledger, TestCaseError>
where
    A::State: Clone,
{
    let (mut state, mut ledger, mut now, mut refusals) =
        (A::State::default(), Ledger::default(), 1_000_000, 0);
    for &(gap, points) in hits {
        now += gap;
        let expected = model(&ledger, now, points);
        let peeked = A::peek(rule, &state, now);
        let decision = A::take(rule, &mut state, now, points);
        prop_assert_eq!(
            decision.allowed,
            expected,
            "at {} with {} points: {:?}",
            now,
            points,
            decision
        );
        prop_assert_eq!(peeked.allowed, peeked.remaining >= 1);
        prop_assert_eq!(points <= peeked.remaining, decision.allowed, "remaining is what passes");
        if decision.allowed {
            ledger.0.push((now, points));
            refusals = 0;
            prop_assert_eq!(decision.remaining, peeked.remaining - points);
            prop_assert_eq!(decision.used, u64::from(rule.burst - decision.remaining));
            let (before, then) = (decision.reset_at - 1, decision.reset_at);
            prop_assert!(then > now, "something was taken, so something will grow");
            prop_assert_eq!(A::peek(rule, &state, before).remaining, decision.remaining);
            prop_assert!(A::peek(rule, &state, then).remaining > decision.remaining);
        } else {
            refusals += 1;
            let taken = u64::from(rule.burst - decision.remaining);
            prop_assert_eq!(decision.used, taken + refusals, "each refusal counts one");
            waiting_as_long_as_told_succeeds::<A>(rule, &state, now, points, decision.retry_after)?;
        }
        let kept = A::keep_until(rule, &state);
        let fresh = A::peek(rule, &A::State::default(), kept);
        prop_assert_eq!(
            A::peek(rule, &state, kept),
            fresh,
            "kept for as long as it says something"
        );
    }
    Ok(ledger)
}

fn rule(limit: u32, window: i64) -> Rule {
    Rule { limit, window, burst: limit, block: 0, waits: false }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_fixed_window_is_a_sum_over_the_window(limit in 1u32..8, window in 1i64..120, hits in hits(1)) {
        let rule = rule(limit, window);
        let mut opened = i64::MIN / 2;
        compare::<FixedWindow>(&rule, &hits, |ledger, now, points| {
            fixed_model(ledger, &mut opened, &rule, now, points)
        })?;
    }

    #[test]
    fn so_it_is_with_points(limit in 4u32..20, window in 1i64..120, hits in hits(4)) {
        let rule = rule(limit, window);
        let mut opened = i64::MIN / 2;
        compare::<FixedWindow>(&rule, &hits, |ledger, now, points| {
            fixed_model(ledger, &mut opened, &rule, now, points)
        })?;
    }

    #[test]
    fn a_sliding_window_keeps_its_limit_in_every_interval(
        limit in 4u32..20, window in 1i64..120, hits in hits(4),
    ) {
        let rule = rule(limit, window);
        let ledger = compare::<SlidingWindow>(&rule, &hits, |ledger, now, points| {
            sliding_model(ledger, &rule, now, points)
        })?;
        prop_assert!(ledger.most_in(window) <= limit);
    }

    #[test]
    fn gcra_is_a_bucket_that_fills_evenly(
        limit in 1u32..20, window in 1i64..3_000, burst in 4u32..10, hits in hits(4),
    ) {
        let rule = Rule { limit, window, burst, block: 0, waits: false };
        let mut bucket = Bucket::full(&rule);
        let ledger = compare::<Gcra>(&rule, &hits, |_, now, points| bucket.take(now, points))?;
        for span in [1, window / 2, window, 3 * window] {
            let most = u64::from(burst) + (span as u64 * u64::from(limit)) / window as u64;
            prop_assert!(u64::from(ledger.most_in(span)) <= most + 1);
        }
    }

    /// A wall clock that is set back grants nothing and locks nobody out, whatever the algorithm.
    #[test]
    fn a_clock_set_back_changes_nothing(
        steps in prop::collection::vec((0i64..40, prop::option::weighted(0.2, 1i64..100_000)), 1..200),
    ) {
        let rule = rule(3, 100);
        // Fixed window and GCRA let at most 2 * limit - 1 pass in a window's length.
        let subjects: [(Box<dyn Limits>, u32); 3] = [
            (Box::new(limiter::<FixedWindow>()), 2 * rule.limit - 1),
            (Box::new(limiter::<SlidingWindow>()), rule.limit),
            (Box::new(limiter::<Gcra>()), 2 * rule.limit - 1),
        ];
        for (mut subject, most) in subjects {
            // Time as it really passes, which no step back changes.
            let (mut wall, mut real) = (10_000_000i64, 10_000_000i64);
            let mut ledger = Ledger::default();
            for (pass, back) in &steps {
                (wall, real) = (wall + pass - back.unwrap_or(0), real + pass);
                let decision = subject.take(&rule, 0, KEY, wall, 1).decision;
                if decision.allowed {
                    ledger.0.push((real, 1));
                } else {
                    prop_assert!(decision.retry_after <= rule.window, "nobody is locked out");
                    prop_assert_eq!(decision.reset_at, wall + decision.retry_after);
                }
                prop_assert!(ledger.most_in(rule.window) <= most, "nothing is granted twice");
            }
        }
    }

    /// After the first refusal nothing passes for `block`, and then something does.
    #[test]
    fn a_blocked_key_stays_out_and_comes_back(
        limit in 1u32..6, window in 1i64..100, block in 1i64..300, gaps in prop::collection::vec(0i64..30, 1..80),
    ) {
        fn check<A: Algorithm>(rule: &Rule, gaps: &[i64]) -> Result<(), TestCaseError>
        where
            A::State: Clone,
        {
            let (mut state, mut now, mut out_until) = (A::State::default(), 1_000_000, None::<i64>);
            for gap in gaps {
                now += gap;
                let decision = A::take(rule, &mut state, now, 1);
                if let Some(until) = out_until.filter(|until| now < *until) {
                    prop_assert!(!decision.allowed && decision.reset_at >= until);
                    prop_assert_eq!(decision.remaining, 0);
                }
                if decision.allowed {
                    out_until = None;
                } else {
                    out_until = out_until.or(Some(now + rule.block));
                    waiting_as_long_as_told_succeeds::<A>(rule, &state, now, 1, decision.retry_after)?;
                }
            }
            Ok(())
        }
        let rule = Rule { limit, window, burst: limit, block, waits: false };
        check::<FixedWindow>(&rule, &gaps)?;
        check::<SlidingWindow>(&rule, &gaps)?;
        check::<Gcra>(&rule, &gaps)?;
    }

    /// Who waits for a turn is not refused: asking again and again changes nothing.
    #[test]
    fn waiting_leaves_no_trace(limit in 1u32..6, block in 0i64..300, asks in 1usize..9) {
        fn check<A: Algorithm>(rule: &Rule, asks: usize) -> Result<(), TestCaseError> {
            let waits = Rule { waits: true, ..*rule };
            let mut state = A::State::default();
            while A::take(&waits, &mut state, 500, 1).allowed {}
            let told = A::peek(rule, &state, 500);
            for _ in 0..asks {
                prop_assert_eq!(A::take(&waits, &mut state, 500, 1), told);
            }
            prop_assert!(A::take(&waits, &mut state, told.reset_at, 1).allowed);
            Ok(())
        }
        let rule = Rule { limit, window: 100, burst: limit, block, waits: false };
        check::<FixedWindow>(&rule, asks)?;
        check::<SlidingWindow>(&rule, asks)?;
        check::<Gcra>(&rule, asks)?;
    }

    /// With no memory left for moments the log is stricter, and never over the limit.
    #[test]
    fn a_coarsened_log_errs_to_the_strict_side(
        limit in 2u32..10, window in 10i64..120, hits in hits(1),
    ) {
        let rule = rule(limit, window);
        let mut tiny: Limiter<SlidingWindow> =
            Limiter::new(1, Fingerprints::new(RandomState::new()));
        let (mut ledger, mut now) = (Ledger::default(), 1_000_000);
        for (gap, _) in hits {
            now += gap;
            let decision = tiny.take(&rule, 0, KEY, now, 1).decision;
            if decision.allowed {
                ledger.0.push((now, 1));
            } else {
                prop_assert!(decision.retry_after <= window);
            }
        }
        prop_assert!(ledger.most_in(window) <= limit);
    }

    /// What was given back counts no more, and all else does: whenever a request ends, in whatever
    /// order, those that count keep the limit; where hits are remembered, to the letter.
    #[test]
    fn what_is_not_given_back_keeps_the_limit(
        limit in 1u32..6, window in 1i64..120, steps in prop::collection::vec((0i64..30, 0usize..12), 1..200),
    ) {
        fn check<A: Algorithm>(
            rule: &Rule,
            steps: &[(i64, usize)],
            model: impl Fn(&Ledger, &mut i64, i64) -> Option<bool>,
        ) -> Result<Ledger, TestCaseError> {
            let (mut state, mut ledger, mut now) = (A::State::default(), Ledger::default(), 1_000_000);
            let (mut under_way, mut opened) = (Vec::new(), i64::MIN / 2);
            for &(gap, which) in steps {
                now += gap;
                if which < under_way.len() {
                    let at = under_way.remove(which);
                    A::refund(rule, &mut state, now, at, 1);
                    let counted = ledger.0.iter().position(|&hit| hit == (at, 1)).unwrap();
                    ledger.0.remove(counted);
                    continue;
                }
                let expected = model(&ledger, &mut opened, now);
                let allowed = A::take(rule, &mut state, now, 1).allowed;
                prop_assert_eq!(allowed, expected.unwrap_or(allowed), "at {}", now);
                if allowed {
                    ledger.0.push((now, 1));
                    under_way.push(now);
                }
            }
            Ok(ledger)
        }
        let rule = rule(limit, window);
        check::<FixedWindow>(&rule, &steps, |ledger, opened, now| {
            Some(fixed_model(ledger, opened, &rule, now, 1))
        })?;
        let ledger = check::<SlidingWindow>(&rule, &steps, |ledger, _, now| {
            Some(sliding_model(ledger, &rule, now, 1))
        })?;
        prop_assert!(ledger.most_in(window) <= limit);
        let ledger = check::<Gcra>(&rule, &steps, |_, _, _| None)?;
        for span in [1, window / 2, window, 3 * window] {
            let most = u64::from(limit) + (span as u64 * u64::from(limit)) / window as u64;
            prop_assert!(u64::from(ledger.most_in(span)) <= most + 1, "in {} ms", span);
        }
    }

    /// What is given back can be taken again, and no more than was taken.
    #[test]
    fn a_refund_gives_back_what_was_taken(limit in 1u32..8, taken in 0u32..8, back in 1u32..8) {
        fn check<A: Algorithm>(rule: &Rule, taken: u32, back: u32) -> Result<(), TestCaseError> {
            let mut state = A::State::default();
            let taken = (0..taken).filter(|_| A::take(rule, &mut state, 500, 1).allowed).count() as u32;
            A::refund(rule, &mut state, 500, 500, back);
            let left = rule.limit - taken.saturating_sub(back);
            prop_assert_eq!(A::peek(rule, &state, 500).remaining, left);
            Ok(())
        }
        let rule = rule(limit, 1_000);
        check::<FixedWindow>(&rule, taken, back)?;
        check::<SlidingWindow>(&rule, taken, back)?;
        check::<Gcra>(&rule, taken, back)?;
    }
}

#[test]
fn a_refund_is_of_that_very_hit() {
    let rule = rule(2, 100);
    let mut log = limiter::<SlidingWindow>();
    log.take(&rule, 0, KEY, 0, 1);
    log.take(&rule, 0, KEY, 50, 1);
    log.refund(&rule, 0, KEY, 60, 0, 1);
    assert!(log.take(&rule, 0, KEY, 60, 1).decision.allowed);
    assert!(
        !log.take(&rule, 0, KEY, 149, 1).decision.allowed,
        "the hit at 50 is still in the window"
    );
    log.refund(&rule, 0, KEY, 150, 50, 1);
    assert_eq!(log.peek(&rule, 0, KEY, 150).remaining, 1, "what has left is not given back twice");

    log.reset(0, KEY);
    log.take(&rule, 0, KEY, 160, 1);
    log.refund(&rule, 0, KEY, 170, 150, 1);
    assert_eq!(log.peek(&rule, 0, KEY, 170).remaining, 1, "a hit from before the reset");

    let mut window = limiter::<FixedWindow>();
    window.take(&rule, 0, KEY, 0, 1);
    window.take(&rule, 0, KEY, 100, 1);
    window.refund(&rule, 0, KEY, 110, 0, 1);
    assert_eq!(window.peek(&rule, 0, KEY, 110).remaining, 1, "a hit of the window before");
}

#[test]
fn a_refund_after_the_clock_was_set_back_is_of_that_hit_too() {
    let rule = rule(2, 100);
    for mut limiter in [
        Box::new(limiter::<FixedWindow>()) as Box<dyn Limits>,
        Box::new(limiter::<SlidingWindow>()),
        Box::new(limiter::<Gcra>()),
    ] {
        let hit_at = limiter.take(&rule, 0, KEY, 1_000_000, 1).now;
        limiter.take(&rule, 0, KEY, 1_000_000, 1);
        limiter.refund(&rule, 0, KEY, 500, hit_at, 1);
        assert_eq!(limiter.peek(&rule, 0, KEY, 500).remaining, 1);
    }
}

#[test]
fn six_attempts_spread_over_ten_minutes_with_five_a_quarter_of_an_hour() {
    let rule = rule(5, 15 * 60_000);
    let mut limits: [(Box<dyn Limits>, bool); 3] = [
        (Box::new(limiter::<FixedWindow>()), false),
        (Box::new(limiter::<SlidingWindow>()), false),
        (Box::new(limiter::<Gcra>()), true),
    ];
    for (limiter, sixth_passes) in &mut limits {
        let passed: Vec<bool> =
            (0..6).map(|i| limiter.take(&rule, 0, KEY, i * 120_000, 1).decision.allowed).collect();
        assert_eq!(passed[..5], [true; 5]);
        assert_eq!(passed[5], *sixth_passes);
    }
}

#[test]
fn a_limit_of_zero_refuses_everything_and_says_when_to_ask_again() {
    let rule = rule(0, 1_000);
    for mut limiter in [
        Box::new(limiter::<FixedWindow>()) as Box<dyn Limits>,
        Box::new(limiter::<SlidingWindow>()),
        Box::new(limiter::<Gcra>()),
    ] {
        let decision = limiter.take(&rule, 0, KEY, 50, 1).decision;
        assert!(!decision.allowed);
        assert_eq!((decision.used, decision.remaining, decision.retry_after), (1, 0, 1_000));
    }
}

#[test]
fn ten_million_keys_of_an_attacker_stay_within_bounds() {
    let rule = rule(5, 60_000);
    let mut limiter: Limiter<SlidingWindow> =
        Limiter::new(1_000, Fingerprints::new(RandomState::new()));
    for i in 0..5 {
        assert!(limiter.take(&rule, 0, KEY, i, 1).decision.allowed);
    }
    for key in 0..10_000_000u32 {
        limiter.take(&rule, 0, &[1, key as u16, (key >> 16) as u16], 10, 1);
    }
    assert_eq!(limiter.keys(), 1_000);
    assert!(limiter.overflowing());
    assert!(
        !limiter.take(&rule, 0, KEY, 11, 1).decision.allowed,
        "what was known is not forgotten"
    );
    assert!(limiter.take(&rule, 0, &[9], 60_010, 1).decision.allowed, "what expired makes room");
    assert!(!limiter.overflowing());
}

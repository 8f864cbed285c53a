use super::super::reason::{self, Facts, Reason};
use super::*;

const RULES: Rules = Rules {
    curve: Curve {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(30),
        multiplier: 2.0,
        jitter: 0.5,
    },
    max_attempts: u32::MAX,
    stable_after: Duration::from_secs(60),
};

fn at(secs: u64) -> Tick {
    Tick::from_start(Duration::from_secs(secs))
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Without jitter to either side.
fn first(reason: Reason, held: bool) -> Decision {
    decide(&RULES, &History::default(), reason, held, at(100), 0.5).0
}

#[test]
fn every_code_of_the_table_gets_its_answer() {
    use Action::*;
    let table = [
        (401, Stop, 0),
        (402, Stop, 0),
        (403, Stop, 0),
        (405, Quarantine, 60),
        (406, Stop, 0),
        (408, Retry, 1),
        (409, Quarantine, 60),
        (411, Stop, 0),
        (412, Quarantine, 60),
        (428, Retry, 1),
        (429, Quarantine, 60),
        (440, Quarantine, 60),
        (500, Retry, 1),
        (503, Retry, 1),
        (515, Retry, 0),
        (599, Retry, 1),
    ];
    for (code, action, delay) in table {
        let facts = Facts { code: Some(code), text: "Stream Errored".into(), ..Facts::default() };
        let decision = first(Reason::of(&facts), true);
        assert_eq!((decision.action, decision.delay), (action, secs(delay)), "{code}");
    }
}

#[test]
fn every_other_reason_gets_its_answer() {
    use Action::*;
    let table = [
        (Reason::QrExpired, Stop, 0),
        (Reason::BadMac, Retry, 1),
        (Reason::Network, Retry, 1),
        (Reason::Unknown, Retry, 1),
        (Reason::UpgradeRefused, Retry, 1),
        (Reason::ConnectTimeout, Retry, 1),
        (Reason::ConnectFailed, Retry, 1),
        (Reason::SocketDead, Retry, 1),
        (Reason::InUse, Yield, 0),
        (Reason::ClaimTaken, Yield, 0),
        (Reason::ClaimExpired, Retry, 1),
        (Reason::ClaimGone, Stop, 0),
        (Reason::ClaimReleased, None, 0),
        (Reason::DatabaseUnavailable, Retry, 1),
        (Reason::Ended, None, 0),
    ];
    for (reason, action, delay) in table {
        let decision = first(reason, true);
        assert_eq!((decision.action, decision.delay), (action, secs(delay)), "{reason:?}");
    }
}

#[test]
fn replaced_by_another_login_while_the_claim_is_gone_is_left_alone() {
    let decision = first(Reason::ConnectionReplaced, false);
    assert_eq!((decision.action, decision.delay), (Action::Yield, Duration::ZERO));
}

/// Ends in a row, `gap` apart in addition to the waits.
struct Run {
    rules: Rules,
    history: History,
    now: Tick,
}

impl Run {
    fn new(rules: Rules) -> Self {
        Self { rules, history: History::default(), now: at(1_000) }
    }

    fn ends(&mut self, reason: Reason) -> Decision {
        let (decision, after) = decide(&self.rules, &self.history, reason, true, self.now, 0.5);
        self.history = after;
        self.now = self.now + decision.delay;
        decision
    }

    fn connects(&mut self, took: Duration) {
        self.history.tries += 1;
        self.now = self.now + took;
    }
}

fn steady() -> Rules {
    Rules { curve: Curve { jitter: 0.0, ..RULES.curve }, ..RULES }
}

#[test]
fn a_session_that_never_comes_up_follows_the_curve_and_ends_in_quarantine() {
    let mut run = Run::new(steady());
    let mut waits = Vec::new();
    for _ in 0..40 {
        waits.push(run.ends(Reason::UnavailableService).delay.as_secs());
        run.connects(Duration::ZERO);
    }
    assert_eq!(waits[..6], [1, 2, 4, 8, 16, 30]);
    let quarantined = waits.iter().position(|wait| *wait > 30).unwrap();
    let before: u64 = waits[..quarantined].iter().sum();
    assert!((600..=630).contains(&before), "after {before} s");
    assert_eq!(waits[quarantined..][..8], [60, 120, 240, 480, 960, 1920, 3600, 3600]);
}

#[test]
fn a_day_of_failing_takes_few_attempts() {
    let mut run = Run::new(steady());
    let mut attempts = 0;
    while run.now < at(1_000 + 86_400) {
        run.ends(Reason::UnavailableService);
        run.connects(Duration::ZERO);
        attempts += 1;
    }
    assert!(attempts < 60, "{attempts} attempts");
}

#[test]
fn a_connection_that_flaps_keeps_backing_off() {
    // It opens each time and drops a second later: nobody calls `stable`.
    let mut run = Run::new(steady());
    let waits: Vec<_> = (0..6)
        .map(|_| {
            let wait = run.ends(Reason::ConnectionClosed).delay.as_secs();
            run.connects(secs(1));
            wait
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30]);
    run.history = run.history.stable();
    assert_eq!(run.ends(Reason::ConnectionClosed).delay, secs(1));
}

#[test]
fn asking_for_restarts_again_and_again_is_no_hot_loop() {
    let mut run = Run::new(steady());
    let waits: Vec<_> = (0..6)
        .map(|_| {
            run.connects(Duration::ZERO);
            run.ends(Reason::RestartRequired).delay.as_secs()
        })
        .collect();
    assert_eq!(waits, [0, 0, 0, 1, 2, 4]);
    let mut paired = Run::new(RULES);
    paired.connects(Duration::ZERO);
    let decision = paired.ends(Reason::RestartRequired);
    assert_eq!(decision.attempt, 0);
    assert_eq!(paired.history.tries, 0);
}

#[test]
fn a_fight_becomes_rarer_although_every_connection_holds_for_a_while() {
    let mut run = Run::new(steady());
    let mut waits = Vec::new();
    for _ in 0..5 {
        waits.push(run.ends(Reason::ConnectionReplaced).delay.as_secs());
        run.connects(secs(90));
        run.history = run.history.stable(); // held for longer than stableAfterMs
    }
    assert_eq!(waits, [60, 120, 240, 480, 960]);
    assert_eq!(run.rules.forgiven_after(&run.history), secs(960));
    assert_eq!(run.rules.forgiven_after(&History::default()), secs(60));
}

#[test]
fn gives_up_after_as_many_connects_as_allowed() {
    let rules = Rules { max_attempts: 3, ..steady() };
    let mut run = Run::new(rules);
    let actions: Vec<_> = (0..3)
        .map(|_| {
            run.connects(Duration::ZERO);
            run.ends(Reason::Network).action
        })
        .collect();
    assert_eq!(actions, [Action::Retry, Action::Retry, Action::GiveUp]);

    // A connection that had held before gets all of them after it dropped.
    let mut run = Run::new(rules);
    let mut actions = vec![run.ends(Reason::Network).action];
    for _ in 0..3 {
        run.connects(Duration::ZERO);
        actions.push(run.ends(Reason::Network).action);
    }
    assert_eq!(actions, [Action::Retry, Action::Retry, Action::Retry, Action::GiveUp]);

    // Connects made by others than the scheduler count by their ends.
    let mut run = Run::new(rules);
    let actions: Vec<_> = (0..4).map(|_| run.ends(Reason::Network).action).collect();
    assert_eq!(actions, [Action::Retry, Action::Retry, Action::Retry, Action::GiveUp]);
}

#[test]
fn a_database_that_is_away_costs_no_attempt_and_no_quarantine() {
    let rules = Rules { max_attempts: 3, ..steady() };
    let mut run = Run::new(rules);
    run.ends(Reason::ClaimExpired);
    let waits: Vec<_> = (0..100).map(|_| run.ends(Reason::DatabaseUnavailable)).collect();
    assert!(waits.iter().all(|wait| wait.action == Action::Retry && wait.delay <= secs(30)));
    assert_eq!(waits[99].delay, secs(30));
    assert_eq!((run.history.failures, run.history.quarantines), (0, 0));
}

#[test]
fn whatever_happens_no_wait_is_longer_than_an_hour_or_shorter_than_half_the_curve() {
    // Every reason after every reason, at both ends of the jitter.
    for earlier in reason::ALL {
        for later in reason::ALL {
            for random in [0.0, 1.0] {
                let (_, mut history) =
                    decide(&RULES, &History::default(), earlier, true, at(1), random);
                history.restarts = FREE_RESTARTS;
                let (decision, _) = decide(&RULES, &history, later, true, at(2), random);
                assert!(decision.delay <= QUARANTINE_MAX);
                if matches!(decision.action, Action::Retry | Action::Quarantine) {
                    assert!(decision.delay >= Duration::from_millis(500), "{later:?}");
                }
            }
        }
    }
}

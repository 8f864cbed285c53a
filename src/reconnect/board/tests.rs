use std::num::NonZeroU32;

use super::*;
use crate::reconnect::backoff::Curve;

fn at(ms: u64) -> Tick {
    Tick::from_start(Duration::from_millis(ms))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn id(name: &str) -> Id {
    name.into()
}

struct World {
    board: Board,
    now: u64,
    /// What was decided on connects that took too long.
    timeouts: Vec<Decision>,
}

impl World {
    fn new(places: usize, per_second: f64) -> Self {
        let curve = Curve { initial: ms(1_000), max: ms(30_000), multiplier: 2.0, jitter: 0.0 };
        let rules = Rules { curve, max_attempts: u32::MAX, stable_after: ms(60_000) };
        let pace = Pace::new(per_second, NonZeroU32::MIN);
        let board = Board::new(rules, ms(60_000), places, pace, || 0.5);
        Self { board, now: 1_000_000, timeouts: Vec::new() }
    }

    fn tick(&self) -> Tick {
        at(self.now)
    }

    fn schedule(&mut self, name: &str) {
        let now = self.tick();
        self.board.schedule(&id(name), now, Duration::ZERO);
    }

    /// Lets time pass, polling exactly when the board asks for it, and gathers all calls. Timeouts
    /// are heard at once.
    fn pass(&mut self, millis: u64) -> Vec<(u64, Call)> {
        let end = self.now + millis;
        let mut all = Vec::new();
        loop {
            let mut calls = Vec::new();
            self.board.poll(self.tick(), &mut calls);
            for call in &calls {
                if let Call::TimedOut { id, turn } = call {
                    self.timeouts.extend(self.board.timed_out(id, *turn, self.tick()));
                }
            }
            let next = self.board.poll(self.tick(), &mut calls);
            all.extend(calls.into_iter().map(|call| (self.now, call)));
            let next =
                next.map_or(u64::MAX, |at| at.since_start().as_nanos().div_ceil(1_000_000) as u64);
            assert!(next > self.now, "asks to be polled again at once");
            if next > end {
                self.now = end;
                return all;
            }
            self.now = next;
        }
    }

    /// The names and moments of the turns in this time.
    fn turns(&mut self, millis: u64) -> Vec<(u64, String, u32)> {
        let calls = self.pass(millis).into_iter();
        calls
            .filter_map(|(when, call)| match call {
                Call::Turn { id, turn, .. } => Some((when, id.to_string(), turn)),
                _ => None,
            })
            .collect()
    }

    /// The claim of a session whose turn it is has come.
    fn claimed(&mut self, name: &str, turn: u32) {
        let now = self.tick();
        self.board.recall(&id(name), turn, None, now).expect("its turn");
    }

    fn ends(&mut self, name: &str, reason: Reason) -> Decision {
        let now = self.tick();
        self.board.disconnected(&id(name), reason, true, now).0
    }
}

#[test]
fn connects_no_more_often_than_the_pace_and_no_more_at_a_time_than_there_are_places() {
    let mut world = World::new(5, 2.0);
    for n in 0..20 {
        world.schedule(&format!("a{n:02}"));
    }
    let turns = world.turns(10_000);
    assert_eq!(turns.len(), 5, "five are in flight");
    assert!(turns.windows(2).all(|two| two[1].0 - two[0].0 >= 500));
    for (_, name, turn) in &turns {
        world.board.opened(&id(name), *turn);
    }
    assert_eq!(world.turns(10_000).len(), 5);
}

#[test]
fn first_come_first_served() {
    let mut world = World::new(100, 1_000.0);
    let names: Vec<_> = (0..50).map(|n| format!("{}", (n * 37) % 50)).collect();
    for name in &names {
        world.schedule(name);
        world.now += 1;
    }
    let order: Vec<_> = world.turns(1_000).into_iter().map(|turn| turn.1).collect();
    assert_eq!(order, names);
}

#[test]
fn a_session_is_scheduled_once_however_often_it_is_asked_for() {
    let mut world = World::new(5, 100.0);
    world.schedule("a");
    world.schedule("a");
    assert_eq!(world.turns(1_000).len(), 1);
    assert!(!world.board.schedule(&id("a"), world.tick(), Duration::ZERO), "it connects");
    world.board.connected(&id("a"), world.tick());
    assert!(!world.board.schedule(&id("a"), world.tick(), Duration::ZERO), "it is up");
    assert!(world.turns(600_000).is_empty());
}

#[test]
fn a_later_wish_does_not_delay_and_an_earlier_one_brings_forward() {
    let mut world = World::new(5, 100.0);
    let now = world.tick();
    world.board.schedule(&id("a"), now, ms(10_000));
    world.board.schedule(&id("a"), now, ms(20_000));
    assert!(world.turns(9_999).is_empty());
    assert_eq!(world.turns(1).len(), 1);
    world.board.schedule(&id("b"), world.tick(), ms(10_000));
    world.schedule("b");
    assert_eq!(world.turns(10).len(), 1);
}

#[test]
fn a_connect_that_hangs_is_ended_by_the_clock_and_tried_again() {
    let mut world = World::new(5, 100.0);
    world.schedule("a");
    world.pass(5_000);
    world.claimed("a", 1); // which took five seconds
    let calls = world.pass(60_000);
    assert!(matches!(calls[..], [(1_065_000, Call::TimedOut { turn: 1, .. })]), "{calls:?}");
    let [decision] = world.timeouts[..] else { panic!("{:?}", world.timeouts) };
    assert_eq!((decision.action, decision.delay), (Action::Retry, ms(1_000)));
    assert_eq!(decision.reason, Reason::ConnectTimeout);
    assert_eq!(world.turns(1_000).len(), 1);
}

#[test]
fn what_is_heard_before_the_timeout_is_heard_counts() {
    let too_late = |meanwhile: fn(&mut World)| {
        let mut world = World::new(5, 100.0);
        world.schedule("a");
        world.pass(10);
        world.claimed("a", 1);
        world.pass(59_999);
        world.now += 1;
        let mut calls = Vec::new();
        world.board.poll(world.tick(), &mut calls);
        assert_eq!(calls, [Call::TimedOut { id: id("a"), turn: 1 }]);
        meanwhile(&mut world);
        assert_eq!(world.board.timed_out(&id("a"), 1, world.tick()), None);
        world
    };
    let mut up = too_late(|world| {
        world.board.connected(&id("a"), world.tick()).expect("of this turn");
    });
    assert!(up.turns(600_000).is_empty(), "it is up");
    let mut alive = too_late(|world| world.board.progress(&id("a"), world.tick()));
    assert!(matches!(alive.pass(60_000)[..], [(_, Call::TimedOut { turn: 1, .. })]));
    let mut ended = too_late(|world| {
        world.ends("a", Reason::ConnectionClosed);
    });
    assert_eq!(ended.turns(1_000).len(), 1);
    let mut gone = too_late(|world| {
        world.board.cancel(&id("a"));
    });
    assert!(gone.turns(600_000).is_empty());
}

#[test]
fn a_connect_that_returned_is_watched_until_the_connection_is_up() {
    let mut world = World::new(1, 100.0);
    world.schedule("a");
    world.pass(10);
    world.claimed("a", 1);
    world.board.opened(&id("a"), 1);
    let calls = world.pass(60_000);
    assert!(matches!(calls[..], [(_, Call::TimedOut { .. })]), "{calls:?}");
}

#[test]
fn a_qr_code_that_waits_to_be_scanned_gets_time_and_takes_up_no_place() {
    let mut world = World::new(1, 100.0);
    world.schedule("a");
    world.schedule("b");
    world.pass(10);
    world.claimed("a", 1);
    assert!(world.turns(50_000).is_empty());
    world.board.progress(&id("a"), world.tick());
    assert_eq!(world.turns(59_000)[0].1, "b");
}

#[test]
fn an_end_that_is_reported_twice_counts_once() {
    let mut world = World::new(5, 100.0);
    world.schedule("a");
    world.pass(10);
    let now = world.tick();
    let first = world.board.failed(&id("a"), 1, Reason::ConnectFailed, true, now).unwrap();
    assert_eq!(world.board.failed(&id("a"), 1, Reason::ConnectFailed, true, now), None);
    let second = world.ends("a", Reason::ConnectionClosed);
    assert_eq!((first.attempt, second.attempt), (1, 1));
    assert_eq!(second.reason, Reason::ConnectFailed, "the plan stands");
    // What is reported a third time is news: the user connects by himself as well.
    assert_eq!(world.ends("a", Reason::ConnectionClosed).attempt, 2);
}

#[test]
fn a_late_report_that_settles_the_matter_is_heard() {
    let mut world = World::new(5, 100.0);
    world.schedule("a");
    world.pass(10);
    world.claimed("a", 1);
    world.pass(60_000);
    assert_eq!(world.ends("a", Reason::LoggedOut).action, Action::Stop);
    assert!(world.turns(3_600_000).is_empty());
}

#[test]
fn ends_of_a_socket_that_the_board_has_given_up_start_nothing() {
    let mut world = World::new(5, 100.0);
    world.schedule("a");
    world.pass(10);
    assert!(world.board.cancel(&id("a")));
    assert!(!world.board.cancel(&id("a")));
    assert_eq!(world.ends("a", Reason::ConnectionClosed).action, Action::None);
    assert!(world.turns(3_600_000).is_empty());
    // A close of a session that nobody gave up is one to mend.
    assert_eq!(world.ends("a", Reason::ConnectionClosed).action, Action::Retry);
}

#[test]
fn a_turn_that_is_over_is_not_heard_any_more() {
    let mut world = World::new(5, 100.0);
    world.schedule("a");
    world.pass(10);
    world.claimed("a", 1);
    world.pass(62_000);
    let now = world.tick();
    assert_eq!(world.board.failed(&id("a"), 1, Reason::LoggedOut, true, now), None);
    assert_eq!(world.board.recall(&id("a"), 1, None, now), None);
    assert_eq!(world.board.recall(&id("a"), 2, None, now), Some((2, Duration::ZERO)));
}

#[test]
fn a_session_that_was_cancelled_and_entered_again_has_another_turn() {
    let mut world = World::new(5, 100.0);
    world.schedule("a");
    world.pass(10);
    world.board.cancel(&id("a"));
    world.schedule("a");
    world.pass(10);
    let now = world.tick();
    assert!(!world.board.is_turn(&id("a"), 1));
    assert_eq!(world.board.recall(&id("a"), 1, None, now), None);
    assert!(world.board.is_turn(&id("a"), 2));
}

#[test]
fn failures_are_forgotten_when_a_connection_has_held_not_when_it_opens() {
    let mut world = World::new(5, 100.0);
    let mut delays = Vec::new();
    for _ in 0..3 {
        world.schedule("a");
        world.pass(20_000);
        world.board.connected(&id("a"), world.tick());
        let calls = world.pass(59_000);
        assert!(calls.is_empty(), "{calls:?}");
        delays.push(world.ends("a", Reason::ConnectionClosed).delay);
    }
    assert_eq!(delays, [ms(1_000), ms(2_000), ms(4_000)]);
    world.pass(5_000);
    world.board.connected(&id("a"), world.tick());
    let calls = world.pass(60_000);
    assert!(matches!(calls[..], [(_, Call::Stable { .. })]), "{calls:?}");
    assert_eq!(world.ends("a", Reason::ConnectionClosed).delay, ms(1_000));
}

#[test]
fn sessions_that_hang_do_not_hold_up_the_others() {
    let mut world = World::new(5, 100.0);
    for n in 0..10 {
        world.schedule(&format!("hangs{n}"));
    }
    // All have failed twice by now, and hang again in all the places they may have.
    world.pass(10 * 60_000);
    world.schedule("fresh");
    let turns = world.turns(1_000);
    assert!(turns.iter().any(|turn| turn.1 == "fresh"), "{turns:?}");
}

#[test]
fn a_crowd_of_fresh_sessions_does_not_starve_those_that_fail() {
    let mut world = World::new(100, 1.0);
    world.ends("fails", Reason::Network);
    world.ends("fails", Reason::Network);
    world.ends("fails", Reason::Network);
    for n in 0..50 {
        world.schedule(&format!("fresh{n}"));
    }
    let turns = world.turns(20_000);
    assert!(turns.iter().any(|turn| turn.1 == "fails"), "{turns:?}");
}

#[test]
fn what_the_database_remembers_goes_on() {
    let mut world = World::new(5, 100.0);
    world.schedule("a");
    world.pass(10);
    assert!(world.board.unknown(&id("a")));
    let known = History { tries: 6, failures: 6, failing: ms(120_000), ..History::default() };
    let now = world.tick();
    let known = Known { history: known, ..Known::default() };
    let recalled = world.board.recall(&id("a"), 1, Some(known), now);
    assert_eq!(recalled, Some((7, Duration::ZERO)));
    assert!(!world.board.unknown(&id("a")));
    let decision = world.ends("a", Reason::Network);
    assert_eq!((decision.attempt, decision.delay), (7, ms(30_000)));
}

#[test]
fn a_quarantine_outlives_its_owner() {
    let mut world = World::new(5, 100.0);
    world.schedule("a");
    world.pass(10);
    let known = History { tries: 9, failures: 9, quarantines: 2, ..History::default() };
    let reason = Some(Reason::UnavailableService);
    let now = world.tick();
    let known = Known { history: known, wait: ms(90_000), reason };
    let recalled = world.board.recall(&id("a"), 1, Some(known), now);
    assert_eq!(recalled, Some((10, ms(90_000))));
    let [pending] = &world.board.pending(world.tick())[..] else { panic!() };
    assert_eq!((pending.attempt, pending.due_in), (10, ms(90_000)));
    assert_eq!(pending.reason, reason);
    assert!(world.turns(89_000).is_empty());
    assert_eq!(world.turns(2_000).len(), 1);
    let now = world.tick();
    assert_eq!(world.board.recall(&id("a"), 2, None, now), Some((10, Duration::ZERO)));
}

#[test]
fn the_database_is_told_what_counts_and_nothing_else() {
    let mut world = World::new(5, 100.0);
    world.schedule("a");
    world.pass(10);
    assert!(world.board.memos(world.tick()).is_empty());
    world.ends("a", Reason::Network);
    let [memo] = &world.board.memos(world.tick())[..] else { panic!() };
    assert_eq!((memo.history.failures, memo.wait), (1, ms(1_000)));
    assert!(world.board.memos(world.tick()).is_empty());
    world.pass(2_000);
    world.board.connected(&id("a"), world.tick());
    assert!(world.board.memos(world.tick()).is_empty());
    world.pass(60_000);
    let [memo] = &world.board.memos(world.tick())[..] else { panic!() };
    assert!(memo.history.is_clean());
    // A session that another instance has is that one's to remember.
    world.ends("a", Reason::Network);
    world.ends("a", Reason::InUse);
    assert!(world.board.memos(world.tick()).is_empty());
    // A session that is over leaves nothing behind.
    world.ends("b", Reason::Network);
    world.board.memos(world.tick());
    world.ends("b", Reason::LoggedOut);
    let [memo] = &world.board.memos(world.tick())[..] else { panic!() };
    assert!(memo.history.is_clean() && memo.wait.is_zero());
}

#[test]
fn a_lost_claim_ends_what_runs_and_leaves_what_waits() {
    let mut world = World::new(5, 100.0);
    world.board.connected(&id("up"), world.tick());
    world.ends("waits", Reason::Network);
    let now = world.tick();
    let decision = world.board.lost(&id("up"), Reason::ClaimExpired, now).unwrap();
    assert_eq!((decision.action, decision.delay), (Action::Retry, ms(1_000)));
    assert_eq!(world.board.lost(&id("waits"), Reason::ClaimExpired, now), None);
    assert_eq!(world.board.lost(&id("nobody"), Reason::ClaimExpired, now), None);
    // The socket's own report comes late and changes nothing.
    assert_eq!(world.ends("up", Reason::ConnectionClosed).reason, Reason::ClaimExpired);
    let taken = world.board.lost(&id("waits"), Reason::ClaimTaken, now).unwrap();
    assert_eq!(taken.action, Action::Yield);
    assert_eq!(world.board.pending(now).len(), 1);
}

#[test]
fn a_session_goes_on_under_the_name_of_the_database() {
    let mut world = World::new(5, 100.0);
    world.schedule("A");
    world.pass(10);
    world.board.rename(&id("A"), &id("a"));
    assert_eq!(world.board.pending(world.tick())[0].id, id("a"));
    let now = world.tick();
    assert_eq!(world.board.recall(&id("a"), 1, None, now), Some((1, Duration::ZERO)));
    world.schedule("A");
    world.pass(10);
    world.board.rename(&id("A"), &id("a"));
    assert_eq!(world.board.len(), 1, "both names are one session");
    assert!(world.board.has_pending());
    assert_eq!(world.board.pending_count(), world.board.pending(world.tick()).len());
    world.board.connected(&id("a"), world.tick());
    assert!(!world.board.has_pending());
}

/// How long it takes to add, fire and cancel ten thousand sessions.
fn ten_thousand_sessions() -> [Duration; 3] {
    let mut world = World::new(10_000, 1.0);
    world.board.pace = Pace::new(1.0, NonZeroU32::new(10_000).unwrap());
    let ids: Vec<Id> = (0..10_000).map(|n| id(&format!("agent-{n:032}"))).collect();
    let started = std::time::Instant::now();
    let now = world.tick();
    for id in &ids {
        world.board.schedule(id, now, Duration::ZERO);
    }
    let added = started.elapsed();
    let mut calls = Vec::new();
    world.board.poll(now, &mut calls);
    let fired = started.elapsed() - added;
    assert_eq!(calls.len(), 10_000);
    for id in &ids {
        world.board.cancel(id);
    }
    let cancelled = started.elapsed() - added - fired;
    assert!(world.board.is_empty() && !world.board.has_pending());
    [added, fired, cancelled]
}

#[test]
fn ten_thousand_sessions_cost_microseconds_and_little_memory() {
    // A debug build on a busy machine, which may stand still now and then: the quickest of three
    // counts. `npm run bench -- reconnect` measures.
    let rounds = [(); 3].map(|()| ten_thousand_sessions());
    for (at, what) in ["add", "fire", "cancel"].into_iter().enumerate() {
        let took = rounds.iter().map(|round| round[at]).min().expect("three rounds");
        assert!(took < Duration::from_millis(1_000), "{what}: {took:?}");
    }
    assert!(size_of::<Session>() <= 256, "{} bytes", size_of::<Session>());
}

#[test]
fn what_was_claimed_at_once_goes_on_where_it_was() {
    let mut world = World::new(5, 100.0);
    let now = world.tick();
    let history = History { tries: 9, failures: 9, quarantines: 1, ..History::default() };
    let reason = Some(Reason::RateLimited);
    world.board.resume(&id("fresh"), Known::default(), now);
    world.board.resume(&id("waits"), Known { history, wait: ms(5_000), reason }, now);
    world.board.resume(&id("waits"), Known::default(), now);
    assert_eq!(world.board.in_line(now), 1);
    let turns = world.turns(4_000);
    assert_eq!(turns.iter().map(|turn| turn.1.as_str()).collect::<Vec<_>>(), ["fresh"]);
    assert!(!world.board.unknown(&id("waits")));
    let calls = world.pass(2_000);
    assert!(matches!(&calls[..], [(_, Call::Turn { attempt: 10, .. })]), "{calls:?}");
}

#[test]
fn a_claim_that_never_comes_gives_its_place_back() {
    let mut world = World::new(1, 100.0);
    world.schedule("a");
    world.schedule("b");
    assert_eq!(world.turns(89_000).len(), 1);
    assert!(world.turns(2_000).iter().any(|turn| turn.1 == "b"));
}

#[test]
fn a_session_that_was_stopped_and_is_paired_again_by_its_user_is_heard() {
    let mut world = World::new(5, 100.0);
    world.board.connected(&id("a"), world.tick());
    assert_eq!(world.ends("a", Reason::LoggedOut).action, Action::Stop);
    let decision = world.ends("a", Reason::RestartRequired);
    assert_eq!((decision.action, decision.delay), (Action::Retry, Duration::ZERO));
}

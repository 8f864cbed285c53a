//! The lease protocol, explored: every interleaving of a small number of processes, statements,
//! lost answers and clocks, not a sample of them. `docs/proof.md` tells what that covers.

#[path = "model/database.rs"]
mod database;
#[path = "model/process.rs"]
mod process;
#[path = "model/rules.rs"]
mod rules;
#[path = "model/units.rs"]
mod units;
#[path = "model/world.rs"]
mod world;

use stateright::{Checker, HasDiscoveries, Model};

use rules::Wrong;
use units::TTL;
use world::{CLAIMABLE, FENCED, ONE_OWNER, OWN_TERM, Scope, Start, TOKENS_GROW, TRUE_OWNER};

/// One owner that beats, one that watches and takes over.
fn takeover() -> Scope {
    Scope {
        wrong: None,
        processes: 2,
        start: Start::Held,
        horizon: 5,
        drift: false,
        watchers_from: 1,
        losses: 0,
        starts: 1,
        claims: [1, 1],
        beats: true,
        notices: false,
        writes: false,
        releases_below: 0,
        crash: false,
        diligent_from: u8::MAX,
        patience: 0,
    }
}

/// The same with an owner whose clock may be slow, by what the margin allows.
fn slow_owner() -> Scope {
    Scope { drift: true, ..takeover() }
}

/// Claims, releases and writes of three living processes, with late and lost ones; time stands
/// still.
fn terms() -> Scope {
    Scope {
        horizon: 0,
        losses: 2,
        claims: [3, 1],
        beats: false,
        writes: true,
        releases_below: 3,
        ..takeover()
    }
}

/// From nothing: everybody registers, watches everybody and claims what is free.
fn beginning() -> Scope {
    Scope {
        start: Start::Nothing,
        horizon: 0,
        watchers_from: 0,
        starts: 2,
        losses: 1,
        ..takeover()
    }
}

/// Process 0 dies at any moment, with anything under way; the other one has the agent in time.
fn death() -> Scope {
    Scope {
        crash: true,
        diligent_from: 1,
        horizon: 9,
        claims: [1, 9],
        patience: TTL + 2,
        ..takeover()
    }
}

/// Process 0 claims once and gives back. Answers are lost, and nothing stays behind.
fn strays() -> Scope {
    Scope {
        start: Start::Registered,
        horizon: 5,
        losses: 1,
        claims: [1, 9],
        notices: true,
        releases_below: 1,
        diligent_from: 0,
        patience: 2,
        ..takeover()
    }
}

/// Explores everything within the scope.
fn holds(name: &str, scope: Scope) {
    let checker = scope.checker().threads(2).spawn_bfs().join();
    println!(
        "{name}: {} states, {} steps, the longest shortest history has {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
    );
    checker.assert_properties();
}

/// Explores with a wrong rule until a history breaks this property, which it has to.
fn breaks(wrong: Wrong, property: &'static str, scope: Scope) {
    let scope = Scope { wrong: Some(wrong), ..scope };
    let until = HasDiscoveries::AnyOf([property].into());
    let checker = scope.checker().threads(2).finish_when(until).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(history) = checker.discovery(property) else {
        panic!("{wrong:?}: {states} states, and in all of them \"{property}\"");
    };
    println!("{wrong:?}, found in {states} states:");
    for action in history.into_actions() {
        println!("  {action:?}");
    }
}

mod ours {
    use super::*;

    #[test]
    fn a_takeover_leaves_one_owner() {
        holds("takeover", slow_owner());
    }

    #[test]
    fn terms_do_not_meet() {
        holds("terms", terms());
        holds("terms of three", Scope { processes: 3, claims: [2, 1], losses: 1, ..terms() });
    }

    #[test]
    fn everybody_may_begin_at_once() {
        holds("beginning", beginning());
    }

    #[test]
    fn the_dead_are_replaced() {
        holds("death", death());
    }

    #[test]
    fn what_is_lost_is_made_good() {
        holds("strays", strays());
    }
}

/// One test for each wrong rule: in this scope it breaks this property.
macro_rules! wrong {
    ($($name:ident: $wrong:ident breaks $property:ident in $scope:expr;)+) => {
        mod wrong {
            use super::*;

            $(#[test]
            fn $name() {
                breaks(Wrong::$wrong, $property, $scope);
            })+
        }
    };
}

wrong! {
    trust_from_receipt: TrustFromReceipt breaks ONE_OWNER in takeover();
    no_deadline: NoDeadline breaks ONE_OWNER in takeover();
    no_margin: NoMargin breaks ONE_OWNER in slow_owner();
    a_clock_that_stops_in_suspension: ClockStopsInSuspension breaks ONE_OWNER in takeover();
    an_impatient_watch: ImpatientWatch breaks ONE_OWNER in takeover();
    a_watch_from_asking: WatchFromAsking breaks ONE_OWNER in takeover();
    burial_by_wall_clock: BurialByWallClock breaks ONE_OWNER in takeover();
    burial_without_compare: BurialWithoutCompare breaks ONE_OWNER in takeover();
    a_beat_that_revives: BeatRevives breaks ONE_OWNER in takeover();
    a_claim_in_two_steps: ClaimInTwoSteps breaks ONE_OWNER in Scope { start: Start::Registered, ..terms() };
    a_claim_that_ignores_the_owner: ClaimIgnoresOwner breaks ONE_OWNER in terms();
    a_claim_that_ignores_its_sequence: ClaimIgnoresSequence breaks TRUE_OWNER in terms();
    a_claim_that_ignores_death: ClaimIgnoresDeath breaks CLAIMABLE in death();
    a_takeover_that_keeps_the_token: TakeoverKeepsToken breaks TOKENS_GROW in terms();
    no_fence: NoFence breaks FENCED in terms();
    a_fence_without_token: FenceWithoutToken breaks FENCED in terms();
    a_fence_before_the_write: FenceBeforeWrite breaks FENCED in terms();
    a_release_by_agent: ReleaseByAgent breaks OWN_TERM in terms();
    a_release_by_owner: ReleaseByOwner breaks ONE_OWNER in terms();
    strays_that_are_kept: StrayKept breaks CLAIMABLE in strays();
}

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
use world::{CLAIMABLE, FENCED, ONE_OWNER, OWN_TERM, REACHED, Scope, TOKENS_GROW, TRUE_OWNER};

/// One owner that beats and writes, one that watches and takes over; clocks of different rates.
fn takeover() -> Scope {
    Scope {
        wrong: None,
        processes: 2,
        under_way: true,
        horizon: 5,
        drift: true,
        watchers_from: 1,
        losses: 0,
        starts: 1,
        claims: 1,
        beats: true,
        notices: false,
        writes: false,
        releases: false,
        crash: false,
        diligent_from: u8::MAX,
    }
}

/// Claims, releases and writes of living processes, with late and lost ones; time stands still.
fn terms() -> Scope {
    Scope {
        horizon: 0,
        drift: false,
        losses: 2,
        claims: 2,
        beats: false,
        writes: true,
        releases: true,
        ..takeover()
    }
}

/// Process 0 dies at any moment; the other one has the agent in time.
fn death() -> Scope {
    Scope { crash: true, diligent_from: 1, horizon: 8, drift: false, claims: 9, ..takeover() }
}

/// Both do what is due, whatever is lost.
fn losses() -> Scope {
    Scope { losses: 2, diligent_from: 0, horizon: 4, claims: 9, notices: true, starts: 3, ..takeover() }
}

fn explore(name: &str, mut scope: Scope) {
    if let Ok(h) = std::env::var("H") { scope.horizon = h.parse().unwrap(); }
    if std::env::var("ND").is_ok() { scope.drift = false; }

    let started = std::time::Instant::now();
    let checker = scope.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{name}: {} states, {} steps, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f32()
    );
    for (name, path) in checker.discoveries() {
        if name != REACHED {
        println!("{name}:");
        for action in path.into_actions() { println!("  {action:?}"); }
        }
    }
    checker.assert_properties();
}

#[test]
fn a_takeover_leaves_one_owner() { explore("takeover", takeover()); }
#[test]
fn terms_do_not_meet() { explore("terms", terms()); }
#[test]
fn the_dead_are_replaced() { explore("death", death()); }
#[test]
fn losses_are_made_good() { explore("losses", losses()); }

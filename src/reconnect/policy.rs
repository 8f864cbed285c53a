//! What to do when a connection ended: a pure function of the reason, what came before, and now.
//!
//! # What it promises
//!
//! - No reason leads to a hot loop. Even "reconnect at once" turns into a backoff when it repeats.
//! - A backoff is forgotten when a connection has *held* for a while, not when it opens.
//! - A session that has not held for ten minutes of trying, or that WhatsApp refuses for now, goes
//!   to quarantine: one minute, doubling to an hour, whatever the backoff's own cap.
//! - A login that took this one's place is never fought: see [`Treatment::Conflict`].
//! - Nothing here ends in deleting credentials.

use std::time::Duration;

use super::backoff::Curve;
use super::reason::Reason;
use crate::clock::Tick;

/// How long a session may fail in a row before it goes to quarantine.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// The first quarantine.
pub const QUARANTINE_FIRST: Duration = Duration::from_secs(60);
/// The longest quarantine.
pub const QUARANTINE_MAX: Duration = Duration::from_secs(3600);
/// How often in a row WhatsApp may ask for a restart before it costs a backoff.
pub const FREE_RESTARTS: u32 = 3;

/// The settings of a scheduler that decide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The waits.
    pub curve: Curve,
    /// Connects in a row that may fail before it gives up.
    pub max_attempts: u32,
    /// How long a connection must hold before earlier failures are forgotten.
    pub stable_after: Duration,
}

impl Rules {
    /// The curve of quarantines.
    pub fn quarantine(&self) -> Curve {
        Curve {
            initial: QUARANTINE_FIRST,
            max: QUARANTINE_MAX,
            multiplier: 2.0,
            jitter: self.curve.jitter,
        }
    }

    /// How long a connection must hold before quarantines are forgotten too: as long as the last
    /// one lasted. A fight with another login, which loses every connection after some minutes,
    /// so becomes rarer and rarer.
    pub fn forgiven_after(&self, history: &History) -> Duration {
        match history.quarantines {
            0 => self.stable_after,
            n => self.stable_after.max(self.quarantine().base(n)),
        }
    }
}

/// What happened to a session since its connection last held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// Connects made.
    pub tries: u32,
    /// Ends that counted.
    pub failures: u32,
    /// Time from the first of them to the last.
    pub failing: Duration,
    /// The moment of the last, on this process's clock.
    pub last: Option<Tick>,
    /// Quarantines in a row.
    pub quarantines: u32,
    /// Restarts in a row that WhatsApp asked for.
    pub restarts: u32,
    /// Tries in a row that found no database.
    pub waits: u32,
}

impl History {
    /// A connection has held: its failures are forgotten, its quarantines not yet.
    pub fn stable(&self) -> Self {
        Self { quarantines: self.quarantines, ..Self::default() }
    }

    /// Nothing to remember.
    pub fn is_clean(&self) -> bool {
        self.tries == 0 && self.failures == 0 && self.quarantines == 0
    }

    /// Adds what another process, or this one before its restart, had counted.
    pub fn merge(&mut self, earlier: &Self) {
        self.tries = self.tries.saturating_add(earlier.tries);
        self.failures = self.failures.saturating_add(earlier.failures);
        self.failing = self.failing.saturating_add(earlier.failing);
        self.quarantines = self.quarantines.saturating_add(earlier.quarantines);
    }

    fn failed(&self, now: Tick) -> Self {
        let more = self.last.map_or(Duration::ZERO, |last| now.since(last));
        Self {
            failures: self.failures.saturating_add(1),
            failing: self.failing.saturating_add(more),
            last: Some(now),
            waits: 0,
            ..*self
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Connect again after the delay.
    Retry,
    /// The same after a long delay; a conflict gives the claim back meanwhile.
    Quarantine,
    /// The session cannot come up by itself: a person has to act.
    Stop,
    /// Somebody else has the agent: leave it.
    Yield,
    /// It failed as often as allowed.
    GiveUp,
    /// Nothing: the user ended it.
    None,
}

impl Action {
    /// The word users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Quarantine => "quarantine",
            Self::Stop => "stop",
            Self::Yield => "yield",
            Self::GiveUp => "giveUp",
            Self::None => "none",
        }
    }
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// After how long.
    pub delay: Duration,
    /// How many ends in a row have counted, with this one.
    pub attempt: u32,
    /// Why.
    pub reason: Reason,
}

/// The kinds of answer a reason can get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// WhatsApp asked for it (515): connect at once, and count nothing.
    AtOnce,
    /// Wait, a little longer each time.
    Backoff,
    /// WhatsApp refuses for now: minutes.
    Long,
    /// Another login has this one's place. If the claim is lost as well, another instance runs
    /// the session and it is left alone; if the claim is ours, the other login is somebody's we
    /// do not know, and only a long wait may be followed by another try.
    Conflict,
    /// A person has to act.
    Stop,
    /// Another instance has it.
    Yield,
    /// The claim ran out, with the database or this process away: claim again, count nothing.
    Reclaim,
    /// The database is away: try again at the pace of the backoff, count nothing.
    Wait,
    /// The user ended it.
    Nothing,
}

/// What a reason calls for.
pub fn treatment(reason: Reason) -> Treatment {
    match reason {
        Reason::RestartRequired => Treatment::AtOnce,
        Reason::ConnectionLost
        | Reason::ConnectionClosed
        | Reason::BadSession
        | Reason::BadMac
        | Reason::UnavailableService
        | Reason::Network
        | Reason::Unknown
        | Reason::UpgradeRefused
        | Reason::ConnectTimeout
        | Reason::ConnectFailed
        | Reason::SocketDead => Treatment::Backoff,
        Reason::ClientOutdated | Reason::TryLater | Reason::RateLimited => Treatment::Long,
        Reason::ConnectionReplaced => Treatment::Conflict,
        Reason::LoggedOut
        | Reason::Refused
        | Reason::Forbidden
        | Reason::Locked
        | Reason::QrExpired
        | Reason::MultideviceMismatch
        | Reason::ClaimGone => Treatment::Stop,
        Reason::InUse | Reason::ClaimTaken => Treatment::Yield,
        Reason::ClaimExpired => Treatment::Reclaim,
        Reason::DatabaseUnavailable => Treatment::Wait,
        Reason::Ended | Reason::ClaimReleased => Treatment::Nothing,
    }
}

/// Decides. `held`: whether this instance holds the claim now; `random` is from 0 to 1. Returns
/// the history to go on with, too.
pub fn decide(
    rules: &Rules,
    before: &History,
    reason: Reason,
    held: bool,
    now: Tick,
    random: f64,
) -> (Decision, History) {
    let decision = |action, delay, after: History| {
        (Decision { action, delay, attempt: after.failures, reason }, after)
    };
    let done = |action| decision(action, Duration::ZERO, History::default());
    match treatment(reason) {
        Treatment::AtOnce if before.restarts < FREE_RESTARTS => {
            let restarts = before.restarts + 1;
            let tries = before.tries.saturating_sub(1);
            decision(Action::Retry, Duration::ZERO, History { restarts, tries, ..*before })
        }
        Treatment::AtOnce | Treatment::Backoff => {
            let after = before.failed(now);
            if spent(rules, &after) {
                return decision(Action::GiveUp, Duration::ZERO, after);
            }
            let delay = rules.curve.delay(after.failures, random);
            if after.failing < PATIENCE {
                return decision(Action::Retry, delay, after);
            }
            quarantine(rules, after, delay, random, reason)
        }
        Treatment::Conflict if !held => decision(Action::Yield, Duration::ZERO, *before),
        Treatment::Long | Treatment::Conflict => {
            let after = before.failed(now);
            if spent(rules, &after) {
                return decision(Action::GiveUp, Duration::ZERO, after);
            }
            quarantine(rules, after, Duration::ZERO, random, reason)
        }
        Treatment::Reclaim => {
            let delay = rules.curve.delay(1, random);
            decision(Action::Retry, delay, History { waits: 0, ..*before })
        }
        Treatment::Wait => {
            let waits = before.waits.saturating_add(1);
            let delay = rules.curve.delay(waits, random);
            let tries = before.tries.saturating_sub(1);
            decision(Action::Retry, delay, History { waits, tries, ..*before })
        }
        Treatment::Yield => decision(Action::Yield, Duration::ZERO, *before),
        Treatment::Stop => done(Action::Stop),
        Treatment::Nothing => done(Action::None),
    }
}

fn quarantine(
    rules: &Rules,
    after: History,
    at_least: Duration,
    random: f64,
    reason: Reason,
) -> (Decision, History) {
    let quarantines = after.quarantines.saturating_add(1);
    let delay = rules.quarantine().delay(quarantines, random).max(at_least);
    let decision = Decision { action: Action::Quarantine, delay, attempt: after.failures, reason };
    (decision, History { quarantines, ..after })
}

/// Whether all allowed attempts are used up: connects made here, or ends that were reported of
/// connects made elsewhere.
fn spent(rules: &Rules, after: &History) -> bool {
    after.tries >= rules.max_attempts || after.failures > rules.max_attempts
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;

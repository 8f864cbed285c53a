//! What reconnecting hands over to JavaScript and back.

use std::num::NonZeroU32;
use std::time::Duration;

use napi_derive::napi;

use super::guard::millis;
use crate::reconnect::backoff::Curve;
use crate::reconnect::board::{Board, Call, Pending};
use crate::reconnect::pace::Pace;
use crate::reconnect::policy::{Action, Decision, Rules};
use crate::reconnect::reason::{Facts, Found};
use crate::reconnect::resumer::Look;

/// Options of a scheduler, already checked by `lib/reconnect/options.js`.
#[napi(object, object_to_js = false)]
pub struct SchedulerOptions {
    /// The first wait.
    pub initial_delay_ms: f64,
    /// The longest wait.
    pub max_delay_ms: f64,
    /// Growth from wait to wait.
    pub multiplier: f64,
    /// Part of a wait by which it may differ.
    pub jitter: f64,
    /// Connects in a row; `Infinity` for no limit.
    pub max_attempts: f64,
    /// How long a connection must hold.
    pub stable_after_ms: f64,
    /// Connects in flight.
    pub max_concurrent: u32,
    /// Connects begun in a second.
    pub connects_per_second: f64,
    /// Connects begun at once after a rest.
    pub burst: u32,
    /// How long a connect may take.
    pub connect_timeout_ms: f64,
}

impl SchedulerOptions {
    pub(super) fn rules(&self) -> Rules {
        Rules {
            curve: Curve {
                initial: millis(self.initial_delay_ms),
                max: millis(self.max_delay_ms),
                multiplier: self.multiplier,
                jitter: self.jitter,
            },
            max_attempts: self.max_attempts as u32, // saturates: Infinity is no limit
            stable_after: millis(self.stable_after_ms),
        }
    }

    pub(super) fn board(&self) -> Board {
        let burst = NonZeroU32::new(self.burst).unwrap_or(NonZeroU32::MIN);
        let pace = Pace::new(self.connects_per_second, burst);
        let places = self.max_concurrent as usize;
        Board::new(self.rules(), millis(self.connect_timeout_ms), places, pace, random)
    }
}

/// Evenly from 0 to 1. Without a source of randomness, which the system does not lack, no jitter.
pub(super) fn random() -> f64 {
    getrandom::u64().map_or(0.5, |bits| (bits >> 11) as f64 / (1u64 << 53) as f64)
}

/// What is known of an end, taken out of an error by `lib/reconnect/facts.js`.
#[napi(object, object_to_js = false)]
pub struct FactsObject {
    /// Status code.
    pub code: Option<f64>,
    /// Message and the system's code.
    pub text: Option<String>,
    /// Code of an error of this library.
    pub guard_code: Option<String>,
    /// `ClaimLostError.reason`.
    pub loss: Option<String>,
    /// There was no error.
    pub ended: Option<bool>,
    /// The end was found by this library.
    #[napi(ts_type = "'connectFailed' | 'upgradeRefused' | 'socketDead'")]
    pub found: Option<String>,
}

impl From<FactsObject> for Facts {
    fn from(facts: FactsObject) -> Self {
        Self {
            code: facts.code.map(|code| code as u16),
            text: facts.text.unwrap_or_default(),
            guard_code: facts.guard_code,
            loss: facts.loss,
            ended: facts.ended.unwrap_or(false),
            found: match facts.found.as_deref() {
                Some("connectFailed") => Some(Found::ConnectFailed),
                Some("upgradeRefused") => Some(Found::UpgradeRefused),
                Some("socketDead") => Some(Found::SocketDead),
                _ => None,
            },
        }
    }
}

/// A decision.
#[napi(object, object_from_js = false)]
pub struct DecisionObject {
    /// What to do.
    #[napi(ts_type = "'retry' | 'quarantine' | 'stop' | 'yield' | 'giveUp' | 'none'")]
    pub action: &'static str,
    /// After how long.
    pub delay_ms: f64,
    /// How many ends in a row have counted.
    pub attempt: u32,
    /// Why.
    pub reason: &'static str,
    /// False for an end that was known already.
    pub news: bool,
}

impl From<Decision> for DecisionObject {
    fn from(decision: Decision) -> Self {
        Self {
            action: decision.action.as_str(),
            delay_ms: whole_ms(decision.delay),
            attempt: decision.attempt,
            reason: decision.reason.as_str(),
            news: true,
        }
    }
}

/// A session that connects or will.
#[napi(object, object_from_js = false)]
pub struct PendingObject {
    pub agent_id: String,
    pub attempt: u32,
    pub due_in_ms: f64,
    pub connecting: bool,
    pub reason: Option<&'static str>,
}

impl From<Pending> for PendingObject {
    fn from(pending: Pending) -> Self {
        Self {
            agent_id: pending.id.to_string(),
            attempt: pending.attempt,
            due_in_ms: whole_ms(pending.due_in),
            connecting: pending.connecting,
            reason: pending.reason.map(|reason| reason.as_str()),
        }
    }
}

/// What the scheduler wants done or told.
#[napi(object, object_from_js = false)]
pub struct SchedulerCall {
    /// `turn`: connect now; `timedOut`: the connect took too long; `stable`: it has held.
    #[napi(ts_type = "'turn' | 'timedOut' | 'stable'")]
    pub kind: &'static str,
    /// The session.
    pub agent_id: String,
    /// Tells this turn from others of the session.
    pub turn: u32,
}

impl From<Call> for SchedulerCall {
    fn from(call: Call) -> Self {
        let (kind, id, turn) = match call {
            Call::Turn { id, turn, .. } => ("turn", id, turn),
            Call::TimedOut { id, turn } => ("timedOut", id, turn),
            Call::Stable { id } => ("stable", id, 0),
        };
        Self { kind, agent_id: id.to_string(), turn }
    }
}

/// May a turn go on to connect?
#[napi(object, object_from_js = false)]
pub struct Admission {
    /// Number of the connect in a row.
    pub attempt: u32,
    /// More than nothing: the turn is over, and the next one comes after this time.
    pub wait_ms: f64,
}

/// A look at what there is to resume.
#[napi(object, object_from_js = false)]
pub struct LookObject {
    pub take: Vec<String>,
    pub orphans: u32,
    pub peers: u32,
    pub surplus: u32,
}

impl From<Look> for LookObject {
    fn from(look: Look) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            take: look.take,
            orphans: number(look.picture.orphans),
            peers: number(look.picture.resumers.saturating_sub(1)),
            surplus: number(look.surplus),
        }
    }
}

/// One line of the table of delays.
#[napi(object, object_from_js = false)]
pub struct DelayObject {
    pub action: &'static str,
    pub nth: u32,
    pub base_ms: f64,
    pub min_ms: f64,
    pub max_ms: f64,
}

impl DelayObject {
    pub(super) fn of(action: Action, curve: &Curve, nth: u32) -> Self {
        let (min, max) = curve.range(nth);
        Self {
            action: action.as_str(),
            nth,
            base_ms: whole_ms(curve.base(nth)),
            min_ms: whole_ms(min),
            max_ms: whole_ms(max),
        }
    }
}

/// Whole milliseconds, as timers count them.
pub(super) fn whole_ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round()
}

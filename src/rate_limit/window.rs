//! Fixed window: a key's first hit opens a window, and `limit` points pass until it ends.
//!
//! Two windows that touch can let up to `2 * limit - 1` points pass within one window's length;
//! that is what express-rate-limit does, and what [`super::sliding`] is for.
//!
//! Blocking: the first refusal uses up the window and moves its end to `block` from then, unless
//! it ends later anyway.

use super::time::Moment;
use super::{Algorithm, Decision, Rule, State};

/// The algorithm.
pub struct FixedWindow;

/// The window of one key.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    reset_at: Moment,
    taken: u32,
    refused: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { reset_at: Moment::LONG_AGO, taken: 0, refused: 0 }
    }
}

impl State for Window {}

impl Window {
    /// A window as a database keeps it.
    pub fn stored(reset_at: i64, taken: u32, refused: u32) -> Self {
        Self { reset_at: Moment::at(reset_at), taken, refused }
    }

    /// What a database has to keep: end, points taken, refusals.
    pub fn parts(&self) -> (i64, u32, u32) {
        (self.reset_at.ms(), self.taken, self.refused)
    }

    /// The answer to a hit that was just decided.
    pub fn answer(&self, rule: &Rule, now: i64, allowed: bool) -> Decision {
        let reset_at = self.reset_at.ms();
        Decision {
            allowed,
            used: u64::from(self.taken) + u64::from(self.refused),
            remaining: rule.limit.saturating_sub(self.taken),
            reset_at,
            retry_after: if allowed { 0 } else { reset_at.saturating_sub(now) },
        }
    }
}

impl Algorithm for FixedWindow {
    type State = Window;

    fn take(rule: &Rule, state: &mut Window, now: i64, points: u32) -> Decision {
        if state.reset_at.ms() <= now {
            let reset_at = Moment::at(now.saturating_add(rule.window));
            *state = Window { reset_at, taken: 0, refused: 0 };
        }
        let taken = u64::from(state.taken) + u64::from(points);
        let allowed = taken <= u64::from(rule.limit);
        if allowed {
            state.taken = taken as u32;
            state.refused = 0;
        } else if !rule.waits {
            if rule.block > 0 && state.refused == 0 {
                state.taken = state.taken.max(rule.limit);
                let blocked_until = now.saturating_add(rule.block);
                state.reset_at = Moment::at(state.reset_at.ms().max(blocked_until));
            }
            state.refused = state.refused.saturating_add(1);
        }
        state.answer(rule, now, allowed)
    }

    fn peek(rule: &Rule, state: &Window, now: i64) -> Decision {
        if state.reset_at.ms() <= now {
            let fresh = Window { reset_at: Moment::at(now), taken: 0, refused: 0 };
            return fresh.answer(rule, now, rule.limit > 0);
        }
        state.answer(rule, now, state.taken < rule.limit)
    }

    fn refund(rule: &Rule, state: &mut Window, now: i64, at: i64, points: u32) {
        let reset_at = state.reset_at.ms();
        let opened = reset_at.saturating_sub(rule.window);
        if reset_at > now && at >= opened {
            state.taken = state.taken.saturating_sub(points);
            state.refused = 0;
        }
    }

    fn keep_until(_rule: &Rule, state: &Window) -> i64 {
        state.reset_at.ms()
    }
}

//! Sliding window: in any interval of the window's length at most `limit` points pass, exactly.
//!
//! The moments of the admitted hits are remembered, those of one millisecond as one; a hit leaves
//! the log as soon as a whole window has passed since. Refused hits are not remembered, so
//! trying again and again does not keep a key out.
//!
//! When many logs together take too much memory, the two latest moments of a key become one, the
//! later ([`State::coarsen`]): that key may wait longer than it would have to, and the limit holds.

use std::collections::VecDeque;

use super::time::NEVER;
use super::{Algorithm, Decision, Rule, State};

/// The algorithm.
pub struct SlidingWindow;

/// Points that were admitted in one millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    at: i64,
    points: u32,
}

/// What one key was given in the last window.
#[derive(Debug, Clone, Default)]
pub struct Log {
    runs: VecDeque<Run>,
    points: u32,
    refused: u32,
    blocked_until: Option<i64>,
}

impl State for Log {
    fn weight(&self) -> usize {
        self.runs.len()
    }

    fn coarsen(&mut self) {
        if let Some(last) = self.runs.pop_back() {
            match self.runs.back_mut() {
                Some(before) => *before = Run { at: last.at, points: before.points + last.points },
                None => self.runs.push_back(last),
            }
        }
    }
}

impl Log {
    fn forget(&mut self, rule: &Rule, now: i64) {
        while let Some(run) = self.runs.front().filter(|run| leaves(run, rule) <= now) {
            self.points -= run.points;
            self.runs.pop_front();
        }
        if self.runs.capacity() > 8 + 4 * self.runs.len() {
            self.runs.shrink_to(2 * self.runs.len());
        }
    }

    /// What has not left the window.
    fn live(&self, rule: &Rule, now: i64) -> impl Iterator<Item = &Run> {
        self.runs.iter().skip_while(move |run| leaves(run, rule) <= now)
    }

    /// The points of what has not left the window.
    fn taken(&self, rule: &Rule, now: i64) -> u32 {
        let gone = self.runs.iter().take_while(|run| leaves(run, rule) <= now);
        self.points - gone.map(|run| run.points).sum::<u32>()
    }

    fn blocked(&self, now: i64) -> bool {
        self.blocked_until.is_some_and(|until| until > now)
    }

    /// When `points` more fit, by the moments at which the oldest leave.
    fn room_at(&self, rule: &Rule, now: i64, points: u32) -> i64 {
        if points > rule.limit {
            // No waiting helps. The window's length is a time at which to ask again.
            return now.saturating_add(rule.window);
        }
        let mut taken = self.taken(rule, now);
        let mut at = now;
        for run in self.live(rule, now) {
            if taken <= rule.limit - points {
                break;
            }
            taken -= run.points;
            at = leaves(run, rule);
        }
        at
    }

    fn answer(&self, rule: &Rule, now: i64, points: u32, allowed: bool) -> Decision {
        let room_at = if allowed {
            self.live(rule, now).next().map_or(now, |run| leaves(run, rule))
        } else {
            self.room_at(rule, now, points)
        };
        let (taken, refused) = (self.taken(rule, now), self.refused);
        Summary { taken, refused, blocked_until: self.blocked_until, room_at }
            .answer(rule, now, allowed)
    }

    /// A log as a database keeps it: the moment of each point in order.
    pub fn stored(moments: &[i64], refused: u32, blocked_until: Option<i64>) -> Self {
        let mut log = Self { refused, blocked_until, ..Self::default() };
        for &at in moments {
            log.push(at, 1);
        }
        log
    }

    /// The moment of each point, in order.
    pub fn moments(&self) -> impl Iterator<Item = i64> {
        self.runs.iter().flat_map(|run| std::iter::repeat_n(run.at, run.points as usize))
    }

    /// Refusals since the last admission, and until when the key is blocked.
    pub fn refusals(&self) -> (u32, Option<i64>) {
        (self.refused, self.blocked_until)
    }

    fn push(&mut self, at: i64, points: u32) {
        match self.runs.back_mut().filter(|run| run.at == at) {
            Some(run) => run.points += points,
            None => self.runs.push_back(Run { at, points }),
        }
        self.points += points;
    }
}

/// A log as far as an answer needs it.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Points in the window.
    pub taken: u32,
    /// Refusals since the last admission.
    pub refused: u32,
    /// Until when the key is blocked, if it is or was.
    pub blocked_until: Option<i64>,
    /// When the oldest point leaves; for a refused hit, when it fits.
    pub room_at: i64,
}

impl Summary {
    /// The answer to a hit that was just decided.
    pub fn answer(&self, rule: &Rule, now: i64, allowed: bool) -> Decision {
        let blocked = self.blocked_until.filter(|&until| until > now && !allowed);
        let reset_at = self.room_at.max(blocked.unwrap_or(now));
        Decision {
            allowed,
            used: u64::from(self.taken) + u64::from(self.refused),
            remaining: if blocked.is_some() { 0 } else { rule.limit.saturating_sub(self.taken) },
            reset_at,
            retry_after: if allowed { 0 } else { reset_at.saturating_sub(now) },
        }
    }
}

/// When a run is a whole window old.
fn leaves(run: &Run, rule: &Rule) -> i64 {
    if rule.window == NEVER { NEVER } else { run.at.saturating_add(rule.window) }
}

impl Algorithm for SlidingWindow {
    type State = Log;

    fn take(rule: &Rule, log: &mut Log, now: i64, points: u32) -> Decision {
        log.forget(rule, now);
        let taken = u64::from(log.points) + u64::from(points);
        let allowed = !log.blocked(now) && taken <= u64::from(rule.limit);
        if allowed {
            log.push(now, points);
            log.refused = 0;
            log.blocked_until = None;
        } else if !rule.waits {
            if rule.block > 0 && log.refused == 0 {
                log.blocked_until = Some(now.saturating_add(rule.block));
            }
            log.refused = log.refused.saturating_add(1);
        }
        log.answer(rule, now, points, allowed)
    }

    fn peek(rule: &Rule, log: &Log, now: i64) -> Decision {
        let taken = log.taken(rule, now);
        let mut answer = log.answer(rule, now, 1, !log.blocked(now) && taken < rule.limit);
        if taken == 0 && !log.blocked(now) {
            answer.used = 0; // the refusals are as old as what has left
        }
        answer
    }

    fn refund(rule: &Rule, log: &mut Log, now: i64, at: i64, points: u32) {
        log.forget(rule, now);
        // It has left, or a reset took it, or the log was coarsened. Another's place is not given back.
        let Some(index) = log.runs.iter().position(|run| run.at == at) else { return };
        let run = &mut log.runs[index];
        let back = points.min(run.points);
        run.points -= back;
        log.points -= back;
        if run.points == 0 {
            log.runs.remove(index);
        }
        log.refused = 0;
    }

    fn keep_until(rule: &Rule, log: &Log) -> i64 {
        let last = log.runs.back().map_or(i64::MIN, |run| leaves(run, rule));
        last.max(log.blocked_until.unwrap_or(i64::MIN))
    }
}

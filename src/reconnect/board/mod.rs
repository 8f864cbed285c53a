//! Every session that is not simply gone, and what it waits for: a pure structure, told the time.
//!
//! One ordered set holds the next moment of every session (its turn, the end of the time it has
//! to come up, the end of the time it has to hold), so that one timer serves all of them. Those
//! whose turn has come stand in one of two lines ([`super::lines`]) until pace and places let
//! them connect.

mod memory;
mod session;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub use self::session::{Call, Known, Memo, Pending};
use self::session::{Phase, Session};
use super::lines::Lines;
use super::pace::Pace;
use super::policy::{Action, Decision, History, Rules, Treatment, decide, treatment};
use super::reason::Reason;
use crate::clock::Tick;

/// How long the claim of a session may take when its turn has come. The database's answers have
/// limits of their own, so this is for what nobody has thought of.
const CLAIM_LIMIT: Duration = Duration::from_secs(90);

/// Names a session.
pub type Id = Arc<str>;

/// All sessions of one scheduler.
pub struct Board {
    rules: Rules,
    connect_timeout: Duration,
    pace: Pace,
    random: fn() -> f64,
    sessions: HashMap<Id, Session>,
    /// Number of the latest turn, of all sessions: one that was cancelled and entered again has no
    /// turn of the same number.
    turn: u32,
    /// How many of them are up.
    up: usize,
    timers: BTreeSet<(Tick, Id)>,
    lines: Lines,
    /// Sessions that are gone while their socket may still report its end.
    closing: BTreeSet<Id>,
    /// Sessions whose history differs from what the database was told.
    changed: BTreeSet<Id>,
}

impl Board {
    /// An empty board.
    pub fn new(
        rules: Rules,
        connect_timeout: Duration,
        max_concurrent: usize,
        pace: Pace,
        random: fn() -> f64,
    ) -> Self {
        Self {
            rules,
            connect_timeout,
            pace,
            random,
            sessions: HashMap::new(),
            turn: 0,
            up: 0,
            timers: BTreeSet::new(),
            lines: Lines::new(max_concurrent),
            closing: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Enters a session, to connect after `delay`. One that waits already is only brought forward.
    /// False when it is connecting or up.
    pub fn schedule(&mut self, id: &Id, now: Tick, delay: Duration) -> bool {
        self.closing.remove(id);
        let due = now + delay;
        let planned = self.sessions.get(id).map(|session| session.phase);
        match planned {
            None => {
                self.insert(id, Phase::Waiting { due, plan: None });
                true
            }
            Some(Phase::Waiting { due: later, plan }) => {
                if due < later {
                    self.enter(id, Phase::Waiting { due, plan });
                }
                true
            }
            Some(Phase::InLine { .. }) => true,
            Some(_) => false,
        }
    }

    /// Calls every session whose turn it is, and says when to look again.
    pub fn poll(&mut self, now: Tick, calls: &mut Vec<Call>) -> Option<Tick> {
        while let Some((at, id)) = self.timers.first().cloned()
            && at <= now
        {
            self.due(&id, now, calls);
        }
        let mut paced = None;
        while self.lines.next().is_some() {
            if let Err(later) = self.pace.take(now) {
                paced = Some(later);
                break;
            }
            self.fire(now, calls);
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        [timer, paced].into_iter().flatten().min()
    }

    fn due(&mut self, id: &Id, now: Tick, calls: &mut Vec<Call>) {
        let Some(session) = self.sessions.get(id) else { return };
        match session.phase {
            Phase::Waiting { plan, .. } => {
                let (line, place) = self.lines.place_for(session.history.failures);
                self.enter(id, Phase::InLine { line, place, plan });
            }
            Phase::Connecting { since, line, .. } => {
                let turn = session.turn;
                self.enter(id, Phase::Connecting { since, deadline: None, line });
                calls.push(Call::TimedOut { id: id.clone(), turn });
            }
            Phase::Up { stable, .. } => {
                self.held(id, now);
                if !stable {
                    calls.push(Call::Stable { id: id.clone() });
                }
            }
            Phase::InLine { .. } => {}
        }
    }

    fn fire(&mut self, now: Tick, calls: &mut Vec<Call>) {
        let Some((line, id)) = self.lines.take() else { return };
        let deadline = now + self.connect_timeout.max(CLAIM_LIMIT);
        let deadline = Some(deadline);
        self.enter(&id, Phase::Connecting { since: now, deadline, line: Some(line) });
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.turn = self.turn.wrapping_add(1);
        session.turn = self.turn;
        session.history.tries = session.history.tries.saturating_add(1);
        session.report_owed = false;
        calls.push(Call::Turn { id, turn: session.turn, attempt: session.history.tries });
    }

    /// Whether a turn is not over.
    pub fn is_turn(&self, id: &Id, turn: u32) -> bool {
        let connecting = |session: &Session| matches!(session.phase, Phase::Connecting { .. });
        self.sessions.get(id).is_some_and(|session| session.turn == turn && connecting(session))
    }

    /// The user's `connect` has returned: its place is free for others.
    pub fn opened(&mut self, id: &Id, turn: u32) {
        if let Some(session) = self.connecting(id, turn)
            && let Phase::Connecting { since, deadline, .. } = session.phase
        {
            self.enter(id, Phase::Connecting { since, deadline, line: None });
        }
    }

    /// The connect shows life (a QR code waits to be scanned): it may take as long again.
    pub fn progress(&mut self, id: &Id, now: Tick) {
        if let Some(Session { phase: Phase::Connecting { since, .. }, .. }) = self.sessions.get(id)
        {
            let (since, deadline) = (*since, Some(now + self.connect_timeout));
            self.enter(id, Phase::Connecting { since, deadline, line: None });
        }
    }

    /// The user's `connect` threw or rejected; nothing when the end of this turn is known already.
    pub fn failed(
        &mut self,
        id: &Id,
        turn: u32,
        reason: Reason,
        held: bool,
        now: Tick,
    ) -> Option<Decision> {
        self.connecting(id, turn)?;
        let decision = self.end(id, reason, held, now);
        self.owe_report(id);
        Some(decision)
    }

    /// The caller has heard that a connect took too long, and ends it. Nothing when it has come up,
    /// shown life or ended before that was heard: the socket is the caller's, and so is the last
    /// word.
    pub fn timed_out(&mut self, id: &Id, turn: u32, now: Tick) -> Option<Decision> {
        let Phase::Connecting { deadline: None, .. } = self.connecting(id, turn)?.phase else {
            return None;
        };
        let decision = self.end(id, Reason::ConnectTimeout, true, now);
        self.owe_report(id);
        Some(decision)
    }

    /// The connection is up; returns how long the connect took, if it was one of ours.
    pub fn connected(&mut self, id: &Id, now: Tick) -> Option<Duration> {
        self.closing.remove(id);
        let up =
            Phase::Up { since: now, review: Some(now + self.rules.stable_after), stable: false };
        let before = self.sessions.get(id).map(|session| session.phase);
        match before {
            Some(Phase::Up { .. }) => return None,
            Some(_) => self.enter(id, up),
            None => self.insert(id, up),
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.report_owed = false;
        }
        match before {
            Some(Phase::Connecting { since, .. }) => Some(now.since(since)),
            _ => None,
        }
    }

    /// The connection ended, or came to nothing. Returns the decision, and whether it is news: the
    /// end of a socket that was given up here, or that was counted already, is not.
    pub fn disconnected(
        &mut self,
        id: &Id,
        reason: Reason,
        held: bool,
        now: Tick,
    ) -> (Decision, bool) {
        let gone = Decision { action: Action::None, delay: Duration::ZERO, attempt: 0, reason };
        if self.closing.remove(id) && !self.sessions.contains_key(id) {
            return (gone, false);
        }
        let Some(session) = self.sessions.get_mut(id) else {
            self.insert(id, Phase::Up { since: now, review: None, stable: false });
            return (self.end(id, reason, held, now), true);
        };
        let owed = std::mem::take(&mut session.report_owed);
        let final_word = matches!(treatment(reason), Treatment::Stop | Treatment::Conflict);
        match session.phase {
            Phase::Waiting { due, plan: Some(plan) } if owed && !final_word => {
                return (Decision { delay: due.since(now), ..plan }, false);
            }
            Phase::InLine { plan: Some(plan), .. } if owed && !final_word => {
                return (Decision { delay: Duration::ZERO, ..plan }, false);
            }
            Phase::Up { .. } => self.held(id, now),
            _ => {}
        }
        (self.end(id, reason, held, now), true)
    }

    /// The claim is lost. Nothing to decide for a session that has no socket and claims anew at
    /// its turn.
    pub fn lost(&mut self, id: &Id, reason: Reason, now: Tick) -> Option<Decision> {
        let had_socket = self.sessions.get(id)?.phase.has_socket();
        if !had_socket && treatment(reason) == Treatment::Reclaim {
            return None;
        }
        let decision = self.end(id, reason, false, now);
        if had_socket {
            self.owe_report(id);
        }
        Some(decision)
    }

    /// Forgets a session. True if there was one.
    pub fn cancel(&mut self, id: &Id) -> bool {
        let Some(had_socket) = self.remove(id) else { return false };
        if had_socket {
            self.closing.insert(id.clone());
        }
        self.changed.remove(id);
        true
    }

    /// Goes on under the name that the database gives the session.
    pub fn rename(&mut self, from: &Id, to: &Id) {
        let Some(session) = self.sessions.get(from) else { return };
        let (phase, turn, history) = (session.phase, session.turn, session.history);
        let recalled = session.recalled;
        self.remove(from);
        if self.sessions.contains_key(to) {
            return; // it was entered under both
        }
        self.insert(to, phase);
        if let Some(session) = self.sessions.get_mut(to) {
            (session.turn, session.history, session.recalled) = (turn, history, recalled);
        }
    }

    /// Sessions that connect or will.
    pub fn pending(&self, now: Tick) -> Vec<Pending> {
        let pending = |(id, session): (&Id, &Session)| {
            let (due_in, connecting, plan) = match session.phase {
                Phase::Waiting { due, plan } => (due.since(now), false, plan),
                Phase::InLine { plan, .. } => (Duration::ZERO, false, plan),
                Phase::Connecting { .. } => (Duration::ZERO, true, None),
                Phase::Up { .. } => return None,
            };
            Some(Pending {
                id: id.clone(),
                attempt: session.history.tries + u32::from(!connecting),
                due_in,
                connecting,
                reason: plan.map(|plan| plan.reason),
            })
        };
        self.sessions.iter().filter_map(pending).collect()
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// No session is here.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many sessions will connect as soon as they may.
    pub fn in_line(&self, now: Tick) -> usize {
        self.lines.in_line() + self.timers.iter().take_while(|(at, _)| *at <= now).count()
    }

    /// How many sessions connect or wait to.
    pub fn pending_count(&self) -> usize {
        self.sessions.len().saturating_sub(self.up)
    }

    /// Whether some session connects or waits to.
    pub fn has_pending(&self) -> bool {
        self.pending_count() > 0
    }

    /// The end of a connection or of a wait: decides, and enters what was decided.
    fn end(&mut self, id: &Id, reason: Reason, held: bool, now: Tick) -> Decision {
        let history = self.sessions.get(id).map(|session| session.history).unwrap_or_default();
        let (decision, after) = decide(&self.rules, &history, reason, held, now, (self.random)());
        match decision.action {
            Action::Retry | Action::Quarantine => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.history = after;
                }
                self.enter(id, Phase::Waiting { due: now + decision.delay, plan: Some(decision) });
                if differ(&after, &history) {
                    self.changed.insert(id.clone());
                }
            }
            Action::Stop | Action::GiveUp | Action::None | Action::Yield => {
                self.remove(id);
                if decision.action == Action::Yield {
                    self.changed.remove(id); // its new owner keeps the record
                } else if !history.is_clean() {
                    self.changed.insert(id.clone());
                }
            }
        }
        decision
    }

    /// Forgets what a connection that has held this long makes up for.
    fn held(&mut self, id: &Id, now: Tick) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Phase::Up { since, .. } = session.phase else { return };
        let (before, held) = (session.history, now.since(since));
        let stable = held >= self.rules.stable_after;
        if stable {
            session.history = before.stable();
        }
        if held >= self.rules.forgiven_after(&session.history) {
            session.history = History::default();
        }
        if differ(&session.history, &before) {
            self.changed.insert(id.clone());
        }
        let due = match stable {
            false => Some(since + self.rules.stable_after),
            true if session.history.is_clean() => None,
            true => Some(since + self.rules.forgiven_after(&session.history)),
        };
        self.enter(id, Phase::Up { since, review: due, stable });
    }

    fn owe_report(&mut self, id: &Id) {
        match self.sessions.get_mut(id) {
            Some(session) => session.report_owed = true,
            None => {
                self.closing.insert(id.clone());
            }
        }
    }

    fn connecting(&mut self, id: &Id, turn: u32) -> Option<&mut Session> {
        if self.is_turn(id, turn) { self.sessions.get_mut(id) } else { None }
    }

    fn insert(&mut self, id: &Id, phase: Phase) {
        let history = History::default();
        let session = Session { phase, history, turn: 0, recalled: false, report_owed: false };
        self.sessions.insert(id.clone(), session);
        self.join(id, phase);
    }

    /// Whether it had a socket; nothing if there was no such session.
    fn remove(&mut self, id: &Id) -> Option<bool> {
        let session = self.sessions.remove(id)?;
        self.leave(id, session.phase);
        Some(session.phase.has_socket())
    }

    fn enter(&mut self, id: &Id, phase: Phase) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let before = std::mem::replace(&mut session.phase, phase);
        self.leave(id, before);
        self.join(id, phase);
    }

    fn leave(&mut self, id: &Id, phase: Phase) {
        if let Some(at) = phase.timer() {
            self.timers.remove(&(at, id.clone()));
        }
        match phase {
            Phase::InLine { line, place, .. } => self.lines.leave(line, place),
            Phase::Connecting { line: Some(line), .. } => self.lines.landed(line),
            Phase::Up { .. } => self.up -= 1,
            _ => {}
        }
    }

    fn join(&mut self, id: &Id, phase: Phase) {
        if let Some(at) = phase.timer() {
            self.timers.insert((at, id.clone()));
        }
        match phase {
            Phase::InLine { line, place, .. } => self.lines.join(line, place, id.clone()),
            Phase::Connecting { line: Some(line), .. } => self.lines.took_off(line),
            Phase::Up { .. } => self.up += 1,
            _ => {}
        }
    }
}

/// Whether two histories differ in what the database keeps.
fn differ(after: &History, before: &History) -> bool {
    (after.tries, after.failures, after.quarantines)
        != (before.tries, before.failures, before.quarantines)
}

#[cfg(test)]
mod tests;

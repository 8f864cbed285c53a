//! Every session that is not simply gone, and what it waits for: a pure structure, told the time.
//!
//! One ordered set holds the next moment of every session (its turn, the end of the time it has
//! to come up, the end of the time it has to hold), so that one timer serves all of them. Those
//! whose turn has come stand in one of two lines ([`super::lines`]) until pace and places let
//! them connect.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::lines::{Line, Lines};
use super::pace::Pace;
use super::policy::{Action, Decision, History, Rules, Treatment, decide, treatment};
use super::reason::Reason;
use crate::clock::Tick;

/// How long the claim of a session may take when its turn has come. The database's answers have
/// limits of their own, so this is for what nobody has thought of.
const CLAIM_LIMIT: Duration = Duration::from_secs(90);

/// Names a session.
pub type Id = Arc<str>;

/// Something the board wants done or told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// It is this session's turn to connect.
    Turn {
        /// The session.
        id: Id,
        /// Tells this turn from every other of the session.
        turn: u32,
        /// Number of the connect in a row.
        attempt: u32,
    },
    /// The connect of this turn took too long.
    TimedOut {
        /// The session.
        id: Id,
        /// The turn.
        turn: u32,
        /// What comes next.
        decision: Decision,
    },
    /// The connection has held: earlier failures are forgotten.
    Stable {
        /// The session.
        id: Id,
    },
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Until its turn comes.
    Waiting { due: Tick, plan: Option<Decision> },
    /// Its turn has come; it stands in line.
    InLine { line: Line, place: u64, plan: Option<Decision> },
    /// Its connect runs. `line`: the place in flight that it takes up.
    Connecting { since: Tick, deadline: Tick, line: Option<Line> },
    /// The connection is up. `review`: when it has held long enough to forget what was before.
    Up { since: Tick, review: Option<Tick>, stable: bool },
}

impl Phase {
    fn timer(self) -> Option<Tick> {
        match self {
            Self::Waiting { due, .. } => Some(due),
            Self::InLine { .. } => None,
            Self::Connecting { deadline, .. } => Some(deadline),
            Self::Up { review, .. } => review,
        }
    }

    fn has_socket(self) -> bool {
        matches!(self, Self::Connecting { .. } | Self::Up { .. })
    }
}

#[derive(Debug)]
struct Session {
    phase: Phase,
    history: History,
    turn: u32,
    /// What the database remembers is in `history`.
    recalled: bool,
    /// The end of the last connection is counted; its socket may still report it.
    report_owed: bool,
}

/// A session as [`Board::pending`] tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The session.
    pub id: Id,
    /// Number of the connect that runs or comes next.
    pub attempt: u32,
    /// Time until its turn; zero when it stands in line or connects.
    pub due_in: Duration,
    /// It connects now.
    pub connecting: bool,
    /// Why it has to connect again; nothing for the first time.
    pub reason: Option<Reason>,
}

/// What the database is to remember of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memo {
    /// The session.
    pub id: Id,
    /// Its history; clean when there is nothing to remember.
    pub history: History,
    /// How long it waits from now on.
    pub wait: Duration,
    /// Why.
    pub reason: Option<Reason>,
}

/// What the database remembers of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// What happened since its connection last held.
    pub history: History,
    /// How long it has still to wait.
    pub wait: Duration,
    /// Why.
    pub reason: Option<Reason>,
}

impl Known {
    fn plan(&self) -> Option<Decision> {
        let attempt = self.history.failures;
        let (action, delay) = (Action::Quarantine, self.wait);
        self.reason.map(|reason| Decision { action, delay, attempt, reason })
    }
}

/// All sessions of one scheduler.
pub struct Board {
    rules: Rules,
    connect_timeout: Duration,
    pace: Pace,
    random: fn() -> f64,
    sessions: HashMap<Id, Session>,
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

    /// Forgets earlier failures of a session, here and in the database.
    pub fn reset(&mut self, id: &Id) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.history = History::default();
            session.recalled = true;
            self.changed.insert(id.clone());
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
            Phase::Connecting { .. } => {
                let turn = session.turn;
                let decision = self.end(id, Reason::ConnectTimeout, true, now);
                self.owe_report(id);
                calls.push(Call::TimedOut { id: id.clone(), turn, decision });
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
        self.enter(&id, Phase::Connecting { since: now, deadline, line: Some(line) });
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.turn = session.turn.wrapping_add(1);
        session.history.tries = session.history.tries.saturating_add(1);
        session.report_owed = false;
        calls.push(Call::Turn { id, turn: session.turn, attempt: session.history.tries });
    }

    /// Enters a session that this instance has just claimed, with what the database remembers.
    /// One that is here already goes on as it is. Returns how long it has to wait.
    pub fn resume(&mut self, id: &Id, known: Known, now: Tick) -> Duration {
        self.closing.remove(id);
        if let Some(session) = self.sessions.get(id) {
            return match session.phase {
                Phase::Waiting { due, .. } => due.since(now),
                _ => Duration::ZERO,
            };
        }
        self.insert(id, Phase::Waiting { due: now + known.wait, plan: known.plan() });
        if let Some(session) = self.sessions.get_mut(id) {
            session.history = known.history;
            session.recalled = true;
        }
        known.wait
    }

    /// What the database remembers, told when the claim is held and the connect is to begin.
    /// Returns the number of the connect and the time that is left to wait, in which case the
    /// turn is over; nothing when it was over before.
    pub fn recall(
        &mut self,
        id: &Id,
        turn: u32,
        known: Option<Known>,
        now: Tick,
    ) -> Option<(u32, Duration)> {
        let session = self.connecting(id, turn)?;
        let known = known.filter(|_| !session.recalled).unwrap_or_default();
        session.recalled = true;
        session.history.merge(&known.history);
        let attempt = session.history.tries;
        let next = if !known.wait.is_zero() {
            session.history.tries -= 1;
            Phase::Waiting { due: now + known.wait, plan: known.plan() }
        } else if let Phase::Connecting { line, .. } = session.phase {
            // What the claim took does not count.
            Phase::Connecting { since: now, deadline: now + self.connect_timeout, line }
        } else {
            return None;
        };
        self.enter(id, next);
        Some((attempt, known.wait))
    }

    /// Whether the database still has to be asked about a session.
    pub fn unknown(&self, id: &Id) -> bool {
        self.sessions.get(id).is_some_and(|session| !session.recalled)
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
            let (since, deadline) = (*since, now + self.connect_timeout);
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
        self.insert(
            to,
            Phase::Up { since: Tick::from_start(Duration::ZERO), review: None, stable: true },
        );
        self.enter(to, phase);
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

    /// Whether some session connects or waits to.
    pub fn has_pending(&self) -> bool {
        self.up < self.sessions.len()
    }

    /// What the database has to be told since this was last asked.
    pub fn memos(&mut self, now: Tick) -> Vec<Memo> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|id| self.memo(id, now)).collect()
    }

    /// The database could not be told; unless it changed again, it is to be told next time.
    pub fn keep_memos(&mut self, ids: impl IntoIterator<Item = Id>) {
        self.changed.extend(ids);
    }

    fn memo(&self, id: Id, now: Tick) -> Memo {
        let Some(session) = self.sessions.get(&id) else {
            return Memo { id, history: History::default(), wait: Duration::ZERO, reason: None };
        };
        let (wait, plan) = match session.phase {
            Phase::Waiting { due, plan } => (due.since(now), plan),
            Phase::InLine { plan, .. } => (Duration::ZERO, plan),
            _ => (Duration::ZERO, None),
        };
        Memo { id, history: session.history, wait, reason: plan.map(|plan| plan.reason) }
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
                if after != history && session_counts(&after, &history) {
                    self.changed.insert(id.clone());
                }
            }
            Action::Stop | Action::GiveUp | Action::None | Action::Yield => {
                let had_socket = self.remove(id) == Some(true);
                if had_socket {
                    self.closing.insert(id.clone());
                }
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
        if session_counts(&session.history, &before) {
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
        let session = self.sessions.get_mut(id)?;
        let connecting = matches!(session.phase, Phase::Connecting { .. });
        (connecting && session.turn == turn).then_some(session)
    }

    fn insert(&mut self, id: &Id, phase: Phase) {
        let history = History::default();
        let session = Session { phase, history, turn: 0, recalled: false, report_owed: false };
        self.sessions.insert(id.clone(), session);
        self.join(id, phase);
    }

    /// True if it had a socket; nothing if there was no such session.
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
fn session_counts(after: &History, before: &History) -> bool {
    (after.tries, after.failures, after.quarantines)
        != (before.tries, before.failures, before.quarantines)
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;

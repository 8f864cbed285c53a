//! What the board and the database tell each other of the failures of sessions.

use std::time::Duration;

use super::session::{Known, Memo, Phase};
use super::{Board, Id};
use crate::clock::Tick;
use crate::reconnect::policy::History;

impl Board {
    /// Forgets earlier failures of a session, here and in the database.
    pub fn reset(&mut self, id: &Id) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.history = History::default();
            session.recalled = true;
            self.changed.insert(id.clone());
        }
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
            Phase::Connecting { since: now, deadline: Some(now + self.connect_timeout), line }
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
}

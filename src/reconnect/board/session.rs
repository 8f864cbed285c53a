//! What the board knows of one session, and what it tells of it.

use std::time::Duration;

use super::Id;
use crate::clock::Tick;
use crate::reconnect::lines::Line;
use crate::reconnect::policy::{Action, Decision, History};
use crate::reconnect::reason::Reason;

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
    /// The connect of this turn took too long; see [`Board::timed_out`](super::Board::timed_out).
    TimedOut {
        /// The session.
        id: Id,
        /// The turn.
        turn: u32,
    },
    /// The connection has held: earlier failures are forgotten.
    Stable {
        /// The session.
        id: Id,
    },
}

/// Where a session is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// Until its turn comes.
    Waiting { due: Tick, plan: Option<Decision> },
    /// Its turn has come; it stands in line.
    InLine { line: Line, place: u64, plan: Option<Decision> },
    /// Its connect runs. `deadline`: none when it is past and told. `line`: the place in flight
    /// that it takes up.
    Connecting { since: Tick, deadline: Option<Tick>, line: Option<Line> },
    /// The connection is up. `review`: when it has held long enough to forget what was before.
    Up { since: Tick, review: Option<Tick>, stable: bool },
}

impl Phase {
    pub(super) fn timer(self) -> Option<Tick> {
        match self {
            Self::Waiting { due, .. } => Some(due),
            Self::InLine { .. } => None,
            Self::Connecting { deadline, .. } => deadline,
            Self::Up { review, .. } => review,
        }
    }

    pub(super) fn has_socket(self) -> bool {
        matches!(self, Self::Connecting { .. } | Self::Up { .. })
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) phase: Phase,
    pub(super) history: History,
    pub(super) turn: u32,
    /// What the database remembers is in `history`.
    pub(super) recalled: bool,
    /// The end of the last connection is counted; its socket may still report it.
    pub(super) report_owed: bool,
}

/// A session as [`Board::pending`](super::Board::pending) tells it.
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
    pub(super) fn plan(&self) -> Option<Decision> {
        let attempt = self.history.failures;
        let (action, delay) = (Action::Quarantine, self.wait);
        self.reason.map(|reason| Decision { action, delay, attempt, reason })
    }
}

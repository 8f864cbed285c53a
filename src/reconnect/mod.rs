//! Reconnecting: every session back, no storm, no loop, no fight.
//!
//! # What this module guarantees
//!
//! - What an end calls for is decided by [`policy`], a pure function of the reason ([`reason`]),
//!   the session's history, and the time. Whatever repeats gets slower.
//! - No more connects begin in a second than the pace allows ([`pace`]), whatever the number of
//!   sessions, and sessions that fail or hang do not hold up the others ([`board`], [`lines`]).
//! - A connect that neither succeeds nor fails is ended by the clock.
//!
//! # Who owns which truth
//!
//! [`board::Board`] holds every session of one scheduler; one task turns it ([`scheduler`]). It
//! decides *when*. JavaScript claims, opens the socket and reports back; no socket is opened
//! without a held claim, which is [`ownership`](crate::ownership)'s to say. How often a session
//! has failed is kept in the database as well ([`memory`]), so that a takeover or a restart goes
//! on where the last owner was; and [`share`] says how many orphans to take.
//!
//! # When the database is slow or gone
//!
//! The timers go on. A claim that the database does not answer is tried again at the pace of the
//! backoff and counts as no failure of the session. What could not be written is written later.

pub mod backoff;
pub mod board;
pub mod lines;
pub mod memory;
pub mod pace;
pub mod policy;
pub mod reason;
pub mod resumer;
pub mod scheduler;
pub mod share;

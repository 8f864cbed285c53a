//! One owner for each agent.
//!
//! # What this module guarantees
//!
//! An agent (one WhatsApp identity) has at most one holder of its highest fencing token. A holder
//! stops by itself before anybody else can win, and every write it makes is compared with its
//! token in the database, in the statement that writes.
//!
//! # Who owns which truth
//!
//! The database owns all of it; [`ledger`] is a copy of this instance's part. Nothing here reads
//! a wall clock to decide.
//!
//! - An incarnation ([`claim::Term`]) enters itself and then *beats*: it moves one counter in one
//!   row, whatever the number of its claims ([`pulse`]).
//! - It trusts its claims until the time the last good beat was *sent*, plus the time to live,
//!   less a margin ([`trust`]). [`sentry`] ends them at that moment, and every fenced call checks
//!   for itself, because timers run late in a process that was stopped.
//! - Everybody watches everybody else's counter on their own clock ([`watch`]). One that stood
//!   still for its own time to live is *buried* by a compare-and-set on that counter, which a
//!   beat in flight makes miss. Neighbours on one machine need not wait: the kernel tells them
//!   ([`neighbours`]).
//! - What a dead incarnation held is free. A claim is one statement that grants what is free and
//!   makes the token grow ([`claiming`]).
//!
//! # When the database is slow or gone
//!
//! Beats are retried within the time to live; after it the claims are lost, unless the user chose
//! to keep them until the database names another owner. Nobody is buried for a time in which the
//! watcher itself could not read. A claim whose answer was lost is asked again under the next
//! sequence number before anything is trusted; what the database granted in vain is given back
//! at the next beat. A write whose answer was lost may still be on its way, so the claim gets a
//! newer token before it writes again ([`writing`]).

pub mod claim;
mod claiming;
pub mod event;
mod feed;
pub mod guard;
mod inner;
pub mod ledger;
pub mod neighbours;
mod pulse;
pub mod seize;
mod sentry;
pub mod stats;
pub mod trust;
pub mod watch;
pub mod writing;

pub use claim::Claim;
pub use event::Event;
pub use guard::{ClaimedMany, HeartbeatSettings, Ownership, Settings};

//! baileys-guard: one owner for each WhatsApp session, and what has to hold around it.
//!
//! The map of the house, one line for each room. A call goes one way: JavaScript (`index.js`,
//! `lib/`) checks arguments, [`binding`] converts, a domain module decides, [`store`] runs one
//! statement. `ARCHITECTURE.md` has the picture and the reasons.

#![deny(unsafe_code)]

pub mod auth_state; // Baileys keys, encrypted and fenced
pub mod binding; // the N-API edge; nothing else names napi
pub mod clock; // monotonic time that goes on while the machine sleeps
pub mod credentials; // key ring, envelope, the formats of before
pub mod error; // every way to fail, each with its stable code
pub mod metrics; // histograms, and the state of a pool
pub mod ownership; // claims, trust window, heartbeat, watchdog
pub mod rate_limit; // windows, GCRA, and many keys in bounded memory
pub mod reconnect; // when to connect again, and who is to be resumed
pub mod store; // what a database promises; nothing else speaks SQL

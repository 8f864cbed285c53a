//! What the native side tells JavaScript without being asked.

use std::sync::Arc;

use crate::error::{Error, LossReason};

use super::claim::Claim;

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A claim ended without being released.
    Lost {
        /// The claim, which refuses every fenced call from now on.
        claim: Arc<Claim>,
        /// Why.
        reason: LossReason,
    },
    /// A beat failed; the next attempt is under way.
    BeatFailed {
        /// What went wrong.
        error: Error,
        /// How many failed in a row.
        consecutive: u64,
    },
    /// A beat succeeded again after failures.
    BeatRecovered {
        /// How many had failed.
        failures: u64,
    },
    /// Agents became free somewhere.
    Freed {
        /// The agents.
        agents: Vec<String>,
        /// True: their owner died. False: it released them.
        dead: bool,
        /// Public name of their last owner.
        instance_id: String,
    },
    /// This instance buried another.
    Buried {
        /// Public name of the dead.
        instance_id: String,
        /// Whether its process was proven gone; otherwise it had been silent for its TTL.
        proven: bool,
    },
    /// Something in the background failed that no caller waits for.
    Trouble {
        /// What went wrong.
        error: Error,
    },
    /// Asks the event loop to show that it turns.
    Ping,
}

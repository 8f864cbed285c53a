//! Time in whole units. A unit is the margin, so that the shortest time to live for which the
//! real code leaves a quarter as margin is four of them.

use std::time::Duration;

use baileys_guard::clock::Tick;

/// The time to live, in units.
pub const TTL: u8 = 4;
/// A clock that is slow stands still for one unit out of this many: by the margin in one TTL.
pub const SLOW: u8 = 4;

const UNIT: Duration = Duration::from_millis(50);

/// So many units.
pub fn span(units: u8) -> Duration {
    UNIT * u32::from(units)
}

/// The moment so many units after the start.
pub fn tick(units: u8) -> Tick {
    Tick::from_start(span(units))
}

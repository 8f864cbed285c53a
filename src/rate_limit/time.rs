//! The caller's wall clock, made one that never runs backwards.
//!
//! A wall clock jumps: somebody sets it, NTP corrects it, a virtual machine wakes up. If
//! stored moments were compared with a clock that was set back by an hour, every key would stay
//! refused for an hour longer than its window. So a step back is absorbed: to the limiter time
//! stands still for that moment and goes on from there, and every window ends after as much real
//! time as it had left. Nothing is granted twice and nobody is locked out. A step forward cannot
//! be told from time that has passed and is believed; tests with fake clocks rely on it.

/// A moment that does not come.
pub const NEVER: i64 = i64::MAX;

/// A moment in two halves, so that a table entry needs no padding to eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment([u32; 2]);

impl Moment {
    /// Before all others.
    pub const LONG_AGO: Self = Self::at(i64::MIN);

    /// This many milliseconds after the epoch.
    pub const fn at(ms: i64) -> Self {
        Self([ms as u32, (ms >> 32) as u32])
    }

    /// Milliseconds after the epoch.
    pub const fn ms(self) -> i64 {
        (self.0[1] as i64) << 32 | self.0[0] as i64
    }
}

/// A wall clock in whole milliseconds that does not go back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Steady {
    /// The latest moment given out.
    latest: Option<i64>,
    /// How far this clock is ahead of the wall's: the sum of all steps back.
    ahead: i64,
}

impl Steady {
    /// A clock as a database keeps it with a row.
    pub fn stored(latest: i64, ahead: i64) -> Self {
        Self { latest: Some(latest), ahead }
    }

    /// What a database has to keep: the latest moment given out, and how far it is ahead.
    pub fn parts(&self) -> (i64, i64) {
        (self.latest.unwrap_or(i64::MIN), self.ahead)
    }

    /// The steady moment of this reading of the wall clock.
    pub fn at(&mut self, wall: i64) -> i64 {
        let moment = wall.saturating_add(self.ahead);
        match self.latest {
            Some(latest) if moment < latest => {
                self.ahead = self.ahead.saturating_add(latest - moment);
                latest
            }
            _ => {
                self.latest = Some(moment);
                moment
            }
        }
    }

    /// A steady moment as the wall clock shows it; [`NEVER`] stays.
    pub fn to_wall(&self, moment: i64) -> i64 {
        if moment == NEVER { NEVER } else { moment.saturating_sub(self.ahead) }
    }
}

/// `now + span` as JavaScript's `Date` would have it: whole milliseconds, cut off towards zero.
/// A span that is not a number, or beyond what a clock can reach, never ends.
pub fn after(now: i64, span: f64) -> i64 {
    // Beyond this no JavaScript date exists.
    const LAST_DATE: f64 = 8.64e15;
    let end = now as f64 + span;
    if end.is_nan() || end > LAST_DATE { NEVER } else { end as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_stops_time_for_a_moment_and_shifts_what_is_ahead() {
        let mut clock = Steady::default();
        assert_eq!(clock.at(1_000), 1_000);
        let ends = 1_000 + 60;
        assert_eq!(clock.at(400), 1_000, "600 ms back: no time has passed");
        assert_eq!(clock.to_wall(ends), 460, "and the window has its 60 ms left");
        assert_eq!(clock.at(459), 1_059);
        assert_eq!(clock.at(460), ends);
    }

    #[test]
    fn a_moment_survives_being_halved() {
        for ms in [0, 1, -1, i64::MIN, i64::MAX, 1_700_000_000_000, -62_000_000_000_000] {
            assert_eq!(Moment::at(ms).ms(), ms);
        }
    }

    #[test]
    fn a_step_forward_is_believed() {
        let mut clock = Steady::default();
        clock.at(0);
        assert_eq!(clock.at(i64::from(i32::MAX)), i64::from(i32::MAX));
    }

    #[test]
    fn spans_are_cut_to_whole_milliseconds_and_may_never_end() {
        assert_eq!(after(10, 0.9), 10);
        assert_eq!(after(10, -1.0), 9);
        assert_eq!(after(10, f64::NAN), NEVER);
        assert_eq!(after(10, f64::INFINITY), NEVER);
        assert_eq!(after(0, 365.0 * 86_400_000.0), 31_536_000_000);
    }
}

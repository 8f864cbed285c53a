//! Delays: how long the n-th wait in a row lasts.
//!
//! The only file that uses the `backoff` crate, for the growth of the interval and its cap. The
//! crate draws its own random numbers and cannot be told which, and its jitter may exceed the
//! cap; so it runs without jitter here, and the jitter is ours, from a number that is passed in.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

/// An interval that grows from wait to wait, spread at random.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Curve {
    /// The first wait.
    pub initial: Duration,
    /// No wait is longer, jitter included.
    pub max: Duration,
    /// What each wait is multiplied by to give the next; at least 1.
    pub multiplier: f64,
    /// The part of a wait by which it may be shorter or longer; 0 to 1.
    pub jitter: f64,
}

impl Curve {
    /// The n-th wait in a row, counted from 1, without jitter.
    pub fn base(&self, n: u32) -> Duration {
        let mut steps = ExponentialBackoff {
            initial_interval: self.initial,
            current_interval: self.initial.min(self.max),
            max_interval: self.max,
            multiplier: self.multiplier,
            randomization_factor: 0.0,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        for _ in 1..n {
            let before = steps.current_interval;
            steps.next_backoff();
            if steps.current_interval == before {
                break; // at the cap, or a curve that does not grow
            }
        }
        steps.current_interval
    }

    /// The n-th wait in a row; `random` is from 0 to 1. Spread evenly over what jitter and cap
    /// allow, so that sessions at the cap do not all come back in one moment.
    pub fn delay(&self, n: u32, random: f64) -> Duration {
        let (shortest, longest) = self.range(n);
        shortest + (longest - shortest).mul_f64(random.clamp(0.0, 1.0))
    }

    /// The shortest and the longest that the n-th wait may be.
    pub fn range(&self, n: u32) -> (Duration, Duration) {
        let base = self.base(n);
        let jitter = self.jitter.clamp(0.0, 1.0);
        (base.mul_f64(1.0 - jitter), base.mul_f64(1.0 + jitter).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVE: Curve = Curve {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(30),
        multiplier: 2.0,
        jitter: 0.5,
    };

    fn secs(curve: &Curve, ns: impl IntoIterator<Item = u32>) -> Vec<f64> {
        ns.into_iter().map(|n| curve.base(n).as_secs_f64()).collect()
    }

    #[test]
    fn doubles_from_one_second_to_thirty() {
        assert_eq!(secs(&CURVE, 1..=8), [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(CURVE.base(0), CURVE.base(1));
        assert_eq!(CURVE.base(u32::MAX), CURVE.max);
    }

    #[test]
    fn a_multiplier_of_one_does_not_grow_and_costs_nothing() {
        let flat = Curve { multiplier: 1.0, ..CURVE };
        assert_eq!(flat.base(u32::MAX), CURVE.initial);
    }

    #[test]
    fn a_first_wait_above_the_cap_is_the_cap() {
        let tight = Curve { max: Duration::from_millis(300), ..CURVE };
        assert_eq!(tight.base(1), tight.max);
    }

    #[test]
    fn the_random_number_alone_spreads_within_jitter_and_cap() {
        assert_eq!(CURVE.delay(1, 0.0), Duration::from_millis(500));
        assert_eq!(CURVE.delay(1, 0.5), Duration::from_secs(1));
        assert_eq!(CURVE.delay(1, 1.0), Duration::from_millis(1500));
        assert_eq!(CURVE.delay(9, 0.0), Duration::from_secs(15));
        assert_eq!(CURVE.delay(9, 0.5), Duration::from_millis(22_500));
        assert_eq!(CURVE.delay(9, 1.0), Duration::from_secs(30));
        let steady = Curve { jitter: 0.0, ..CURVE };
        assert_eq!(steady.delay(3, 0.9), Duration::from_secs(4));
    }
}

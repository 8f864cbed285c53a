//! How many sessions without an owner an instance may take: pure arithmetic.
//!
//! Nobody hands sessions out. Each instance takes what it can connect soon, never more than its
//! share of all, and goes on; what one does not take is there for the others. A share is rounded
//! up, so the shares together always cover everything.
//!
//! - Instances that start together do not know of each other yet. One that has just started also
//!   counts those that took part until a moment ago, because after a restart of all they are
//!   about to be back.
//! - An instance that takes part and does not take (it hangs, or cannot connect) must not leave
//!   orphans. When nobody has taken any for a while, whoever is there takes them, share or not.

use std::time::Duration;

/// How long after its start an instance waits for others to be back.
pub const SETTLE: Duration = Duration::from_secs(10);
/// How long orphans may stay without anybody taking one before shares count no more.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What one look showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Picture {
    /// Sessions that should run.
    pub should_run: usize,
    /// Those of them that this instance has.
    pub mine: usize,
    /// Those that nobody has.
    pub orphans: usize,
    /// Live instances that take part, with this one.
    pub resumers: usize,
    /// The same, with those that were there until a moment ago.
    pub lately: usize,
}

impl Picture {
    /// The share of one instance.
    pub fn share(&self, settling: bool) -> usize {
        let among = if settling { self.lately.max(self.resumers) } else { self.resumers };
        self.should_run.div_ceil(among.max(1))
    }
}

/// How many to take now. `room`: how many this instance can connect soon. `age`: how long ago it
/// began to take part. `untouched`: for how long nobody has taken any of the orphans.
pub fn allowance(picture: &Picture, room: usize, age: Duration, untouched: Duration) -> usize {
    let takeable = picture.orphans.min(room);
    if untouched >= PATIENCE {
        return takeable;
    }
    takeable.min(picture.share(age < SETTLE).saturating_sub(picture.mine))
}

/// How many sessions to hand over, when the user wants balance: what is above the share by more
/// than a quarter, while others have room.
pub fn surplus(picture: &Picture) -> usize {
    if picture.resumers < 2 || picture.orphans > 0 {
        return 0;
    }
    let share = picture.share(false);
    let tolerated = share + share.div_ceil(4).max(1);
    if picture.mine > tolerated { picture.mine - share } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const NONE: Duration = Duration::ZERO;

    #[test]
    fn shares_cover_everything_however_things_stand() {
        for should_run in 0..60 {
            for resumers in 1..7 {
                for first in 0..=should_run {
                    // One has `first`, the others have nothing.
                    let picture = |mine| Picture {
                        should_run,
                        mine,
                        orphans: should_run - first,
                        resumers,
                        lately: resumers,
                    };
                    let others = (resumers - 1) * allowance(&picture(0), 1000, LONG, NONE);
                    let taken = allowance(&picture(first), 1000, LONG, NONE) + others;
                    assert!(taken >= should_run - first, "{should_run} {resumers} {first}");
                }
            }
        }
    }

    #[test]
    fn takes_no_more_than_can_be_connected_soon() {
        let picture = Picture {
            should_run: 1000,
            orphans: 1000,
            resumers: 1,
            lately: 1,
            ..Picture::default()
        };
        assert_eq!(allowance(&picture, 12, LONG, NONE), 12);
        assert_eq!(allowance(&picture, 0, LONG, LONG), 0);
    }

    #[test]
    fn the_first_one_back_leaves_room_for_those_about_to_come() {
        let picture =
            Picture { should_run: 200, orphans: 200, resumers: 1, lately: 4, ..Picture::default() };
        assert_eq!(allowance(&picture, 1000, NONE, NONE), 50);
        assert_eq!(allowance(&picture, 1000, SETTLE, NONE), 200);
    }

    #[test]
    fn one_that_runs_takes_over_at_once_what_a_dead_one_had() {
        let picture = Picture { should_run: 200, mine: 50, orphans: 50, resumers: 3, lately: 4 };
        assert_eq!(allowance(&picture, 1000, LONG, NONE), 17);
    }

    #[test]
    fn no_orphan_is_left_when_another_takes_part_and_does_not_take() {
        let picture = Picture { should_run: 100, mine: 50, orphans: 50, resumers: 2, lately: 2 };
        assert_eq!(allowance(&picture, 1000, LONG, NONE), 0);
        assert_eq!(allowance(&picture, 1000, LONG, PATIENCE), 50);
    }

    #[test]
    fn hands_over_only_what_is_far_above_the_share_and_only_when_all_run() {
        let picture = |mine, resumers, orphans| Picture {
            should_run: 200,
            mine,
            orphans,
            resumers,
            lately: resumers,
        };
        assert_eq!(surplus(&picture(200, 2, 0)), 100);
        assert_eq!(surplus(&picture(125, 2, 0)), 0);
        assert_eq!(surplus(&picture(126, 2, 0)), 26);
        assert_eq!(surplus(&picture(200, 1, 0)), 0);
        assert_eq!(surplus(&picture(199, 2, 1)), 0);
    }
}

//! The rules that can be broken, one at a time: each is a protocol that somebody has run in
//! production, and the model has to find out why it must not be.

/// One wrong rule in a protocol that is otherwise ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// The trust window counts from the receipt of the beat's answer.
    TrustFromReceipt,
    /// An owner trusts its claims until it is told otherwise.
    NoDeadline,
    /// The trust window is the whole time to live.
    NoMargin,
    /// The owner's clock stands still while it is suspended, as `CLOCK_MONOTONIC` does.
    ClockStopsInSuspension,
    /// A counter has to stand still for half of its owner's time to live only.
    ImpatientWatch,
    /// The watch counts from the moment it asked, not from the answer.
    WatchFromAsking,
    /// Expiry is judged by the database's wall clock.
    BurialByWallClock,
    /// A burial does not compare the counter that was watched.
    BurialWithoutCompare,
    /// A beat brings a buried incarnation back to life.
    BeatRevives,
    /// A claim selects, then upserts.
    ClaimInTwoSteps,
    /// A claim takes agents of living owners.
    ClaimIgnoresOwner,
    /// A late duplicate of one's own claim is granted again.
    ClaimIgnoresSequence,
    /// A claim frees nothing of the dead.
    ClaimIgnoresDeath,
    /// A takeover keeps the token.
    TakeoverKeepsToken,
    /// A write compares nothing.
    NoFence,
    /// A write compares the owner, not the token.
    FenceWithoutToken,
    /// A write compares in a statement of its own, before.
    FenceBeforeWrite,
    /// A release names the agent only.
    ReleaseByAgent,
    /// A release names agent and owner, not the token.
    ReleaseByOwner,
    /// A lease that was granted in vain is kept.
    StrayKept,
}

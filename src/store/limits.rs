//! What a store promises about rate limits.
//!
//! Hits are decided and counted in one statement (SQLite: one immediate transaction) by the
//! database's clock, so a limit holds over all processes that share the database. A clock that
//! is set back is absorbed key by key, as [`Steady`](crate::rate_limit::time::Steady) does it.
//! The counts are worth nothing after their window: a store need not keep them over a crash.

use async_trait::async_trait;

use crate::error::Result;
pub use crate::rate_limit::Verdict;
use crate::rate_limit::{Kind, Rule};

/// A key of a limiter: a hash of both, so that keys may have any length and stay unknown.
pub type LimitId = [u8; 16];

/// What a hit is measured with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limit {
    /// The limiter's name, for people who look into the table.
    pub limiter: String,
    /// How it decides.
    pub kind: Kind,
    /// What it allows.
    pub rule: Rule,
}

/// Counts that all processes share. `clock` is a reading of the wall clock in milliseconds for
/// tests; `None` is the database's own.
#[async_trait]
pub trait LimitStore: Send + Sync + 'static {
    /// Decides about hits of `points` (at least one) each, one after the other, and takes them for
    /// those that pass. `keys` may name a key more than once; the answers are in the same order.
    async fn take_points(
        &self,
        keys: &[LimitId],
        limit: &Limit,
        points: u32,
        clock: Option<i64>,
    ) -> Result<Vec<Verdict>>;

    /// What a hit of one point would get; changes nothing.
    async fn peek_points(&self, id: &LimitId, limit: &Limit, clock: Option<i64>)
    -> Result<Verdict>;

    /// Gives points back of a hit that was admitted at `hit_at`, as its verdict told.
    async fn refund_points(
        &self,
        id: &LimitId,
        limit: &Limit,
        points: u32,
        hit_at: i64,
        clock: Option<i64>,
    ) -> Result<()>;

    /// Forgets a key.
    async fn reset_points(&self, id: &LimitId) -> Result<()>;

    /// Deletes some keys that say nothing any more; returns how many. Called now and then by
    /// the store itself.
    async fn sweep_points(&self) -> Result<u64>;
}

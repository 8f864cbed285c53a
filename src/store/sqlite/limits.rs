//! Rate limits: one immediate transaction reads a key's state, lets the algorithm decide, and
//! writes it, key after key.
//!
//! Every so many hits the same transaction deletes some rows that say nothing any more, a
//! stretch of the table at a time.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::SqliteStore;
use super::connection::Connections;
use super::failure::Failure;
use crate::error::Result;
use crate::rate_limit::gcra::{Arrival, Gcra};
use crate::rate_limit::sliding::{Log, SlidingWindow};
use crate::rate_limit::time::Steady;
use crate::rate_limit::window::{FixedWindow, Window};
use crate::rate_limit::{Algorithm, Decision, Kind, Rule};
use crate::store::limits::{Limit, LimitId, LimitStore, Verdict};

const READ: &str = "SELECT at, ahead, taken, refused, due, log
       FROM baileys_guard_rate_limit WHERE id = ?1";

const WRITE: &str = "INSERT INTO baileys_guard_rate_limit
         (id, limiter, at, ahead, taken, refused, due, keep_until, log)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
       ON CONFLICT (id) DO UPDATE SET limiter = excluded.limiter, at = excluded.at,
         ahead = excluded.ahead, taken = excluded.taken, refused = excluded.refused,
         due = excluded.due, keep_until = excluded.keep_until, log = excluded.log";

const CLOCK: &str = concat!("SELECT ", unix_ms!("'now'"));

/// Looks at a hundred rows from number ?1 on.
const SWEEP: &str = concat!(
    "DELETE FROM baileys_guard_rate_limit WHERE number > ?1 AND number <= ?2
        AND keep_until <= ahead + ",
    unix_ms!("'now'")
);

const STRETCH: &str = "SELECT max(number) FROM (
       SELECT number FROM baileys_guard_rate_limit WHERE number > ?1 ORDER BY number LIMIT 100)";

/// Hits between two sweeps.
const SWEEP_EVERY: i64 = 50;

/// When this process sweeps, and where.
#[derive(Debug, Default)]
pub(super) struct Sweeping {
    hits: AtomicI64,
    number: AtomicI64,
}

/// One key's row.
struct Key {
    clock: Steady,
    state: State,
}

enum State {
    FixedWindow(Window),
    SlidingWindow(Log),
    Gcra(Arrival),
}

/// Does the same for whichever algorithm it is.
macro_rules! with {
    ($state:expr, $algorithm:ident, $inner:ident => $result:expr) => {
        match $state {
            State::FixedWindow($inner) => {
                type $algorithm = FixedWindow;
                $result
            }
            State::SlidingWindow($inner) => {
                type $algorithm = SlidingWindow;
                $result
            }
            State::Gcra($inner) => {
                type $algorithm = Gcra;
                $result
            }
        }
    };
}

impl State {
    fn fresh(kind: Kind) -> Self {
        match kind {
            Kind::FixedWindow => Self::FixedWindow(Window::default()),
            Kind::SlidingWindow => Self::SlidingWindow(Log::default()),
            Kind::Gcra => Self::Gcra(Arrival::default()),
        }
    }

    fn read(kind: Kind, row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let (taken, refused) = (count(row, "taken")?, count(row, "refused")?);
        let due: i64 = row.try_get("due")?;
        Ok(match kind {
            Kind::FixedWindow => Self::FixedWindow(Window::stored(due, taken, refused)),
            Kind::Gcra => Self::Gcra(Arrival::stored(due, refused)),
            Kind::SlidingWindow => {
                let log: Vec<u8> = row.try_get("log")?;
                let (moments, _) = log.as_chunks::<8>();
                let moments: Vec<i64> = moments.iter().map(|&m| i64::from_le_bytes(m)).collect();
                Self::SlidingWindow(Log::stored(&moments, refused, Some(due)))
            }
        })
    }

    /// The columns `taken`, `refused`, `due` and `log`.
    fn columns(&self) -> (i64, i64, i64, Vec<u8>) {
        match self {
            Self::FixedWindow(window) => {
                let (reset_at, taken, refused) = window.parts();
                (taken.into(), refused.into(), reset_at, Vec::new())
            }
            Self::Gcra(arrival) => {
                let (due, refused) = arrival.parts();
                (0, refused.into(), due, Vec::new())
            }
            Self::SlidingWindow(log) => {
                let (refused, blocked_until) = log.refusals();
                let moments: Vec<u8> = log.moments().flat_map(i64::to_le_bytes).collect();
                let taken = (moments.len() / 8) as i64;
                (taken, refused.into(), blocked_until.unwrap_or(0), moments)
            }
        }
    }

    fn take(&mut self, rule: &Rule, now: i64, points: u32) -> Decision {
        with!(self, A, state => A::take(rule, state, now, points))
    }

    fn peek(&self, rule: &Rule, now: i64) -> Decision {
        with!(self, A, state => A::peek(rule, state, now))
    }

    fn refund(&mut self, rule: &Rule, now: i64, at: i64, points: u32) {
        with!(self, A, state => A::refund(rule, state, now, at, points));
    }

    fn keep_until(&self, rule: &Rule) -> i64 {
        with!(self, A, state => A::keep_until(rule, state))
    }
}

fn count(row: &SqliteRow, column: &str) -> Result<u32, sqlx::Error> {
    Ok(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(u32::MAX))
}

/// The key's state, or none when it has no row; and the time.
async fn read(
    connection: &mut SqliteConnection,
    id: &LimitId,
    kind: Kind,
    clock: Option<i64>,
) -> Result<(Option<Key>, i64), sqlx::Error> {
    let wall = match clock {
        Some(wall) => wall,
        None => sqlx::query_scalar(CLOCK).fetch_one(&mut *connection).await?,
    };
    let row = sqlx::query(READ).bind(id.as_slice()).fetch_optional(connection).await?;
    let key = row.map(|row| {
        let clock = Steady::stored(row.try_get("at")?, row.try_get("ahead")?);
        Ok::<_, sqlx::Error>(Key { clock, state: State::read(kind, &row)? })
    });
    Ok((key.transpose()?, wall))
}

async fn write(
    connection: &mut SqliteConnection,
    id: &LimitId,
    limit: &Limit,
    key: &Key,
) -> Result<(), sqlx::Error> {
    let (at, ahead) = key.clock.parts();
    let (taken, refused, due, log) = key.state.columns();
    let write = sqlx::query(WRITE).bind(id.as_slice()).bind(&limit.limiter).bind(at).bind(ahead);
    let write = write.bind(taken).bind(refused).bind(due);
    let write = write.bind(key.state.keep_until(&limit.rule)).bind(log);
    write.execute(connection).await.map(|_| ())
}

async fn take(
    db: &Connections,
    sweeping: &Sweeping,
    keys: &[LimitId],
    limit: &Limit,
    points: u32,
    clock: Option<i64>,
) -> Result<Vec<Verdict>, Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let mut verdicts = Vec::with_capacity(keys.len());
    for id in keys {
        let (known, wall) = read(&mut tx, id, limit.kind, clock).await?;
        let fresh = || Key { clock: Steady::default(), state: State::fresh(limit.kind) };
        let mut key = known.unwrap_or_else(fresh);
        let now = key.clock.at(wall);
        let decision = key.state.take(&limit.rule, now, points);
        write(&mut tx, id, limit, &key).await?;
        verdicts.push(Verdict { decision, now });
    }
    let hits = keys.len() as i64;
    let before = sweeping.hits.fetch_add(hits, Ordering::Relaxed);
    if before / SWEEP_EVERY != (before + hits) / SWEEP_EVERY {
        sweep(&mut tx, sweeping).await?;
    }
    tx.commit().await?;
    Ok(verdicts)
}

async fn peek(
    db: &Connections,
    id: &LimitId,
    limit: &Limit,
    clock: Option<i64>,
) -> Result<Verdict, Failure> {
    let (known, wall) = read(&mut *db.reader().await?, id, limit.kind, clock).await?;
    Ok(match known {
        None => {
            let decision = State::fresh(limit.kind).peek(&limit.rule, wall);
            Verdict { decision, now: wall }
        }
        Some(mut key) => {
            let now = key.clock.at(wall);
            Verdict { decision: key.state.peek(&limit.rule, now), now }
        }
    })
}

async fn refund(
    db: &Connections,
    id: &LimitId,
    limit: &Limit,
    points: u32,
    hit_at: i64,
    clock: Option<i64>,
) -> Result<(), Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let (known, wall) = read(&mut tx, id, limit.kind, clock).await?;
    if let Some(mut key) = known {
        let now = key.clock.at(wall);
        key.state.refund(&limit.rule, now, hit_at, points);
        write(&mut tx, id, limit, &key).await?;
    }
    tx.commit().await
}

async fn reset(db: &Connections, id: &LimitId) -> Result<(), Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let delete = sqlx::query("DELETE FROM baileys_guard_rate_limit WHERE id = ?1");
    delete.bind(id.as_slice()).execute(&mut *tx).await?;
    tx.commit().await
}

async fn sweep(connection: &mut SqliteConnection, sweeping: &Sweeping) -> Result<u64, sqlx::Error> {
    let from = sweeping.number.load(Ordering::Relaxed);
    let stretch = sqlx::query_scalar(STRETCH).bind(from).fetch_one(&mut *connection).await?;
    let Some(to) = stretch else {
        sweeping.number.store(0, Ordering::Relaxed); // the end: from the beginning next time
        return Ok(0);
    };
    let to: i64 = to;
    let swept = sqlx::query(SWEEP).bind(from).bind(to).execute(connection).await?;
    sweeping.number.store(to, Ordering::Relaxed);
    Ok(swept.rows_affected())
}

async fn sweep_alone(db: &Connections, sweeping: &Sweeping) -> Result<u64, Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let swept = sweep(&mut tx, sweeping).await?;
    tx.commit().await?;
    Ok(swept)
}

#[async_trait]
impl LimitStore for SqliteStore {
    async fn take_points(
        &self,
        keys: &[LimitId],
        limit: &Limit,
        points: u32,
        clock: Option<i64>,
    ) -> Result<Vec<Verdict>> {
        let take = take(&self.db, &self.sweeping, keys, limit, points, clock);
        self.call("counting hits", take).await
    }

    async fn peek_points(
        &self,
        id: &LimitId,
        limit: &Limit,
        clock: Option<i64>,
    ) -> Result<Verdict> {
        self.call("looking at a rate limit", peek(&self.db, id, limit, clock)).await
    }

    async fn refund_points(
        &self,
        id: &LimitId,
        limit: &Limit,
        points: u32,
        hit_at: i64,
        clock: Option<i64>,
    ) -> Result<()> {
        let refund = refund(&self.db, id, limit, points, hit_at, clock);
        self.call("giving a hit back", refund).await
    }

    async fn reset_points(&self, id: &LimitId) -> Result<()> {
        self.call("resetting a rate limit", reset(&self.db, id)).await
    }

    async fn sweep_points(&self) -> Result<u64> {
        self.call("sweeping rate limits", sweep_alone(&self.db, &self.sweeping)).await
    }
}

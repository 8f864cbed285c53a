//! Rate limits: one upsert decides about a hit and counts it.
//!
//! The arithmetic is that of `rate_limit::{window, sliding, gcra}`, written once more as SQL; the
//! conformance suite compares the two. The new state is computed after the row is locked and
//! from the row as it is then, in one sub-select that reads the clock once: hits on one key
//! queue, and each sees what those before it took.
//!
//! Parameters: $1 id, $2 limiter, $3 points, $4 limit (gcra: spacing in ns), $5 window (gcra:
//! tolerance in ns), $6 block, $7 waits, $8 clock (null for the server's). The table is swept a
//! stretch of pages at a time, skipping rows that somebody has locked.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::connection::Connections;
use super::failure::Failure;
use crate::error::Result;
use crate::rate_limit::gcra::{self, Arrival, Gcra};
use crate::rate_limit::sliding::{Log, SlidingWindow, Summary};
use crate::rate_limit::window::{FixedWindow, Window};
use crate::rate_limit::{Algorithm, Kind, Rule};
use crate::store::limits::{Limit, LimitId, LimitStore, Verdict};

/// Milliseconds on the caller's clock or the server's.
macro_rules! clock {
    ($given:literal) => {
        concat!(
            "coalesce(",
            $given,
            ", floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)"
        )
    };
}

/// An upsert whose new state is one expression over the old: a fresh row's, or the row's own.
macro_rules! upsert {
    ($state:ident) => {
        concat!(
            "INSERT INTO baileys_guard_rate_limit AS l
               (id, limiter, at, ahead, passed, taken, refused, due, keep_until, log)
             SELECT $1, $2, s.* FROM ",
            $state!("0", "0", "0", "0", "0", "NULL::bigint[]"),
            " s ON CONFLICT (id) DO UPDATE SET
               (at, ahead, passed, taken, refused, due, keep_until, log) = ",
            $state!("l.at", "l.ahead", "l.taken", "l.refused", "l.due", "l.log"),
            " RETURNING l.at, l.passed, l.taken, l.refused, l.due,
               l.log[1] AS oldest, l.log[greatest(l.taken + $3 - $4, 1)] AS leaving"
        )
    };
}

/// The row's steady clock: `c.clock` is the wall's reading, `n.now` the moment.
macro_rules! steady {
    ($clock:literal, $at:literal, $ahead:literal) => {
        concat!(
            "(SELECT ",
            clock!($clock),
            " AS clock) c,
             LATERAL (SELECT greatest(c.clock + ",
            $ahead,
            ", ",
            $at,
            ") AS now) n"
        )
    };
}

macro_rules! fixed_window {
    ($at:literal, $ahead:literal, $taken:literal, $refused:literal, $due:literal, $log:literal) => {
        concat!(
            "(SELECT o.now, o.now - o.clock, v.passed,
                CASE WHEN v.passed THEN o.taken + $3
                     WHEN v.blocks THEN greatest(o.taken, $4) ELSE o.taken END,
                CASE WHEN v.passed THEN 0 WHEN $7 THEN o.refused ELSE o.refused + 1 END,
                CASE WHEN v.blocks THEN greatest(o.due, o.now + $6) ELSE o.due END,
                CASE WHEN v.blocks THEN greatest(o.due, o.now + $6) ELSE o.due END,
                NULL::bigint[]
               FROM (SELECT c.clock, n.now,
                       CASE WHEN ",
            $due,
            " > n.now THEN ",
            $taken,
            " ELSE 0 END AS taken,
                       CASE WHEN ",
            $due,
            " > n.now THEN ",
            $refused,
            " ELSE 0 END AS refused,
                       CASE WHEN ",
            $due,
            " > n.now THEN ",
            $due,
            " ELSE n.now + $5 END AS due
                       FROM ",
            steady!("$8", $at, $ahead),
            ") o,
               LATERAL (SELECT o.taken + $3 <= $4 AS passed,
                       o.taken + $3 > $4 AND o.refused = 0 AND $6 > 0 AND NOT $7 AS blocks) v)"
        )
    };
}

macro_rules! sliding_window {
    ($at:literal, $ahead:literal, $taken:literal, $refused:literal, $due:literal, $log:literal) => {
        concat!(
            "(SELECT o.now, o.now - o.clock, v.passed,
                CASE WHEN v.passed THEN o.taken + $3 ELSE o.taken END,
                CASE WHEN v.passed THEN 0 WHEN $7 THEN o.refused ELSE o.refused + 1 END,
                v.due,
                greatest(v.due, CASE WHEN v.passed THEN o.now ELSE coalesce(o.log[o.taken], 0) END + $5),
                CASE WHEN v.passed THEN o.log || array_fill(o.now, ARRAY[$3::int]) ELSE o.log END
               FROM (SELECT c.clock, n.now, k.log, cardinality(k.log)::bigint AS taken, ",
                       $refused, " AS refused, ", $due, " AS due
                       FROM ", steady!("$8", $at, $ahead), ",
                       LATERAL (SELECT ARRAY(SELECT m FROM unnest(", $log, ") AS u (m)
                                              WHERE m > n.now - $5 ORDER BY m) AS log) k) o,
               LATERAL (SELECT o.due <= o.now AND o.taken + $3 <= $4 AS passed) p,
               LATERAL (SELECT p.passed,
                  CASE WHEN p.passed THEN 0
                       WHEN o.refused = 0 AND $6 > 0 AND NOT $7 THEN o.now + $6
                       ELSE o.due END AS due) v)"
        )
    };
}

macro_rules! gcra {
    ($at:literal, $ahead:literal, $taken:literal, $refused:literal, $due:literal, $log:literal) => {
        concat!(
            "(SELECT o.now, o.now - o.clock, v.passed, 0,
                CASE WHEN v.passed THEN 0 WHEN $7 THEN o.refused ELSE o.refused + 1 END,
                v.due, v.due / 1000000 + 1, NULL::bigint[]
               FROM (SELECT c.clock, n.now, n.now * 1000000 AS ns, ",
            $refused,
            " AS refused, ",
            $due,
            " AS due FROM ",
            steady!("$8", $at, $ahead),
            ") o,
               LATERAL (SELECT $4 * ($3 - 1) <= $5
                  AND o.ns >= greatest(o.due, 0) + $4 * ($3 - 1) - $5 AS passed) p,
               LATERAL (SELECT p.passed,
                  CASE WHEN p.passed THEN greatest(o.due, o.ns) + $4 * $3
                       WHEN o.refused = 0 AND $6 > 0 AND NOT $7
                       THEN greatest(o.due, o.ns + $6 * 1000000 + $5)
                       ELSE o.due END AS due) v)"
        )
    };
}

const TAKE_FIXED_WINDOW: &str = upsert!(fixed_window);
const TAKE_SLIDING_WINDOW: &str = upsert!(sliding_window);
const TAKE_GCRA: &str = upsert!(gcra);

const PEEK: &str = concat!(
    "SELECT greatest(c.clock + coalesce(l.ahead, 0), coalesce(l.at, c.clock)) AS at,
            l.taken, l.refused, l.due, l.log
       FROM (SELECT ",
    clock!("$2"),
    " AS clock) c
       LEFT JOIN baileys_guard_rate_limit l ON l.id = $1"
);

/// $2 points, $3 the moment of the hit, $4 window, $5 clock.
const REFUND_FIXED_WINDOW: &str = concat!(
    "UPDATE baileys_guard_rate_limit l SET (at, ahead, taken, refused) =
       (SELECT n.now, n.now - c.clock,
          CASE WHEN v.counts THEN greatest(l.taken - $2, 0) ELSE l.taken END,
          CASE WHEN v.counts THEN 0 ELSE l.refused END
          FROM ",
    steady!("$5", "l.at", "l.ahead"),
    ", LATERAL (SELECT l.due > n.now AND $3 >= l.due - $4 AS counts) v) WHERE l.id = $1"
);

/// Takes out the moments of that hit, as many as there are points; $4 and $5 as above.
const REFUND_SLIDING_WINDOW: &str = concat!(
    "UPDATE baileys_guard_rate_limit l SET (at, ahead, refused, log) =
       (SELECT n.now, n.now - c.clock, CASE WHEN $3 > n.now - $4 THEN 0 ELSE l.refused END,
          ARRAY(SELECT m FROM unnest(l.log) WITH ORDINALITY AS u (m, i)
                 WHERE $3 <= n.now - $4
                    OR i NOT IN (SELECT j FROM unnest(l.log) WITH ORDINALITY AS w (o, j)
                                  WHERE o = $3 ORDER BY j LIMIT $2) ORDER BY i)
          FROM ",
    steady!("$5", "l.at", "l.ahead"),
    ") WHERE l.id = $1"
);

/// $2 points, $3 spacing, $4 clock.
const REFUND_GCRA: &str = concat!(
    "UPDATE baileys_guard_rate_limit l SET (at, ahead, refused, due) =
       (SELECT n.now, n.now - c.clock, 0, greatest(l.due - $2 * $3, 0) FROM ",
    steady!("$4", "l.at", "l.ahead"),
    ") WHERE l.id = $1"
);

const RESET: &str = "DELETE FROM baileys_guard_rate_limit WHERE id = $1";

/// Deletes what says nothing any more in a stretch of pages, from page $1 on.
const SWEEP: &str = concat!(
    "WITH swept AS (
       DELETE FROM baileys_guard_rate_limit WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM baileys_guard_rate_limit
          WHERE ctid >= ('(' || $1 || ',0)')::tid AND ctid < ('(' || $1 + 64 || ',0)')::tid
            AND keep_until <= ", clock!("NULL::bigint"), " + ahead
            FOR UPDATE SKIP LOCKED)) RETURNING 1)
     SELECT count(*) AS swept, CASE WHEN ($1 + 64) * 8192 < pg_relation_size('baileys_guard_rate_limit')
                                    THEN $1 + 64 ELSE 0 END AS next FROM swept"
);

/// Hits between two sweeps.
const SWEEP_EVERY: i64 = 1000;

/// When this process sweeps, and where.
#[derive(Debug, Default)]
pub(super) struct Sweeping {
    hits: AtomicI64,
    page: AtomicI64,
}

/// What a statement measures a hit with: limit and window, or spacing and tolerance.
fn measures(limit: &Limit) -> (i64, i64) {
    match limit.kind {
        // A limit of zero lets nothing pass: a spacing that no tolerance allows.
        Kind::Gcra => gcra::spacing(&limit.rule).unwrap_or((i64::MAX / 4, -1)),
        _ => (i64::from(limit.rule.limit), limit.rule.window),
    }
}

async fn take(
    db: &Connections,
    id: &LimitId,
    limit: &Limit,
    points: u32,
    clock: Option<i64>,
) -> Result<Verdict, Failure> {
    let statement = match limit.kind {
        Kind::FixedWindow => TAKE_FIXED_WINDOW,
        Kind::SlidingWindow => TAKE_SLIDING_WINDOW,
        Kind::Gcra => TAKE_GCRA,
    };
    let (first, second) = measures(limit);
    let Rule { block, waits, .. } = limit.rule;
    let arguments = arguments![
        id.to_vec(),
        limit.limiter,
        i64::from(points),
        first,
        second,
        block,
        waits,
        clock
    ];
    let rows = db.run(statement, arguments).await?;
    Ok(verdict(limit, points, rows.first().ok_or(sqlx::Error::RowNotFound)?)?)
}

/// The row after a hit, as an answer.
fn verdict(limit: &Limit, points: u32, row: &PgRow) -> Result<Verdict, sqlx::Error> {
    let Limit { kind, rule, .. } = limit;
    let (now, passed): (i64, bool) = (row.try_get("at")?, row.try_get("passed")?);
    let (taken, refused): (u32, u32) = (count(row, "taken")?, count(row, "refused")?);
    let due: i64 = row.try_get("due")?;
    let decision = match kind {
        Kind::FixedWindow => Window::stored(due, taken, refused).answer(rule, now, passed),
        Kind::Gcra => Arrival::stored(due, refused).answer(rule, now, points, passed),
        Kind::SlidingWindow => {
            let moment: Option<i64> = row.try_get(if passed { "oldest" } else { "leaving" })?;
            let fits = u64::from(taken) + u64::from(points) <= u64::from(rule.limit);
            let room_at = match moment {
                _ if !passed && fits => now, // only the block keeps it out
                Some(moment) if passed || points <= rule.limit => {
                    moment.saturating_add(rule.window)
                }
                _ => now.saturating_add(rule.window),
            };
            let summary = Summary { taken, refused, blocked_until: Some(due), room_at };
            summary.answer(rule, now, passed)
        }
    };
    Ok(Verdict { decision, now })
}

fn count(row: &PgRow, column: &str) -> Result<u32, sqlx::Error> {
    Ok(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(u32::MAX))
}

async fn peek(
    db: &Connections,
    id: &LimitId,
    limit: &Limit,
    clock: Option<i64>,
) -> Result<Verdict, Failure> {
    let rows = db.run_again(PEEK, || arguments![id.to_vec(), clock]).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let now: i64 = row.try_get("at")?;
    let (rule, due) = (&limit.rule, row.try_get::<Option<i64>, _>("due")?);
    let Some(due) = due else {
        let decision = match limit.kind {
            Kind::FixedWindow => FixedWindow::peek(rule, &Window::default(), now),
            Kind::SlidingWindow => SlidingWindow::peek(rule, &Log::default(), now),
            Kind::Gcra => Gcra::peek(rule, &Arrival::default(), now),
        };
        return Ok(Verdict { decision, now });
    };
    let (taken, refused) = (count(row, "taken")?, count(row, "refused")?);
    let decision = match limit.kind {
        Kind::FixedWindow => FixedWindow::peek(rule, &Window::stored(due, taken, refused), now),
        Kind::Gcra => Gcra::peek(rule, &Arrival::stored(due, refused), now),
        Kind::SlidingWindow => {
            let moments: Option<Vec<i64>> = row.try_get("log")?;
            let log = Log::stored(&moments.unwrap_or_default(), refused, Some(due));
            SlidingWindow::peek(rule, &log, now)
        }
    };
    Ok(Verdict { decision, now })
}

async fn refund(
    db: &Connections,
    id: &LimitId,
    limit: &Limit,
    points: u32,
    hit_at: i64,
    clock: Option<i64>,
) -> Result<(), Failure> {
    let (id, points) = (id.to_vec(), i64::from(points));
    let (spacing, _) = measures(limit);
    let window = limit.rule.window;
    match limit.kind {
        Kind::FixedWindow => {
            db.run(REFUND_FIXED_WINDOW, arguments![id, points, hit_at, window, clock]).await?
        }
        Kind::SlidingWindow => {
            db.run(REFUND_SLIDING_WINDOW, arguments![id, points, hit_at, window, clock]).await?
        }
        Kind::Gcra => db.run(REFUND_GCRA, arguments![id, points, spacing, clock]).await?,
    };
    Ok(())
}

async fn sweep(db: &Connections, sweeping: &Sweeping) -> Result<u64, Failure> {
    let page = sweeping.page.load(Ordering::Relaxed);
    let rows = db.run(SWEEP, arguments![page]).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    sweeping.page.store(row.try_get("next")?, Ordering::Relaxed);
    Ok(row.try_get::<i64, _>("swept")? as u64)
}

#[async_trait]
impl LimitStore for PostgresStore {
    async fn take_points(
        &self,
        id: &LimitId,
        limit: &Limit,
        points: u32,
        clock: Option<i64>,
    ) -> Result<Verdict> {
        let taken = take(&self.db, id, limit, points, clock).await;
        let verdict = self.done("counting a hit", taken)?;
        if self.sweeping.hits.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            let (db, sweeping) = (self.db.clone(), self.sweeping.clone());
            // What fails here is tried again with the next thousand hits.
            tokio::spawn(async move { sweep(&db, &sweeping).await.is_ok() });
        }
        Ok(verdict)
    }

    async fn peek_points(
        &self,
        id: &LimitId,
        limit: &Limit,
        clock: Option<i64>,
    ) -> Result<Verdict> {
        self.done("looking at a rate limit", peek(&self.db, id, limit, clock).await)
    }

    async fn refund_points(
        &self,
        id: &LimitId,
        limit: &Limit,
        points: u32,
        hit_at: i64,
        clock: Option<i64>,
    ) -> Result<()> {
        let refunded = refund(&self.db, id, limit, points, hit_at, clock).await;
        self.done("giving a hit back", refunded)
    }

    async fn reset_points(&self, id: &LimitId) -> Result<()> {
        let reset = self.db.run_again(RESET, || arguments![id.to_vec()]).await;
        self.done("resetting a rate limit", reset.map(|_| ()))
    }

    async fn sweep_points(&self) -> Result<u64> {
        self.done("sweeping rate limits", sweep(&self.db, &self.sweeping).await)
    }
}

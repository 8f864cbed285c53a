//! Rate limits: one upsert decides about hits on many keys and counts them.
//!
//! The arithmetic is that of `rate_limit::{window, sliding, gcra}`, written once more as SQL; the
//! conformance suite compares the two. The new state is computed after the row is locked and
//! from the row as it is then, in one sub-select that reads the clock once: hits on one key
//! queue, and each sees what those before it took. Of equal hits on one key at one moment the
//! first ones pass and the others do not, so how many pass says all. Keys are locked in their order,
//! so that two statements never wait for each other.
//!
//! Parameters: $1 ids in order, $2 how many hits on each, $3 limiter, $4 points (gcra: spacing of
//! so many in ns), $5 limit (gcra: by how much the hit may be early, in ns), $6 window (gcra: block
//! and tolerance in ns), $7 block, $8 waits, $9 clock (null for the server's). The table is swept a
//! stretch of pages at a time, skipping rows that somebody has locked.

use std::collections::BTreeMap;
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
             SELECT h.id, $3, s.* FROM unnest($1::bytea[], $2::bigint[]) AS h (id, times), LATERAL ",
            $state!("h.times", "0", "0", "0", "0", "0", "NULL::bigint[]"),
            " s ORDER BY h.id
             ON CONFLICT (id) DO UPDATE SET
               (at, ahead, passed, taken, refused, due, keep_until, log) = ",
            $state!(
                "($2::bigint[])[array_position($1::bytea[], l.id)]",
                "l.at",
                "l.ahead",
                "l.taken",
                "l.refused",
                "l.due",
                "l.log"
            ),
            " RETURNING l.id, l.at, l.passed, l.taken, l.refused, l.due,
               l.log[1] AS oldest, l.log[greatest(l.taken + $4 - $5, 1)] AS leaving"
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

/// What comes of `o.times` hits of which `p.passed` pass: points taken then, refusals before the first
/// that did not pass, and whether that one blocks the key.
macro_rules! outcome {
    ($taken:literal) => {
        concat!(
            "LATERAL (SELECT p.passed, ",
            $taken,
            " AS taken, CASE WHEN p.passed > 0 THEN 0 ELSE o.refused END AS refused) v,
               LATERAL (SELECT v.passed < o.times AND v.refused = 0 AND $7 > 0 AND NOT $8 AS blocks) b"
        )
    };
}

macro_rules! fixed_window {
    ($times:expr, $at:literal, $ahead:literal, $taken:literal, $refused:literal, $due:literal, $log:literal) => {
        concat!(
            "(SELECT o.now, o.now - o.clock, v.passed,
                CASE WHEN b.blocks THEN greatest(v.taken, $5) ELSE v.taken END,
                CASE WHEN $8 THEN v.refused ELSE v.refused + o.times - v.passed END,
                CASE WHEN b.blocks THEN greatest(o.due, o.now + $7) ELSE o.due END,
                CASE WHEN b.blocks THEN greatest(o.due, o.now + $7) ELSE o.due END,
                NULL::bigint[]
               FROM (SELECT ",
            $times,
            " AS times, c.clock, n.now,
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
            " ELSE n.now + $6 END AS due
                       FROM ",
            steady!("$9", $at, $ahead),
            ") o,
               LATERAL (SELECT least(o.times, greatest($5 - o.taken, 0) / $4) AS passed) p,
               ",
            outcome!("o.taken + p.passed * $4"),
            ")"
        )
    };
}

macro_rules! sliding_window {
    ($times:expr, $at:literal, $ahead:literal, $taken:literal, $refused:literal, $due:literal, $log:literal) => {
        concat!(
            "(SELECT o.now, o.now - o.clock, v.passed, v.taken,
                CASE WHEN $8 THEN v.refused ELSE v.refused + o.times - v.passed END,
                d.due,
                greatest(d.due, CASE WHEN v.passed > 0 THEN o.now ELSE coalesce(o.log[o.taken], 0) END + $6),
                CASE WHEN v.passed > 0
                     THEN o.log || array_fill(o.now, ARRAY[(v.passed * $4)::int]) ELSE o.log END
               FROM (SELECT ", $times, " AS times, c.clock, n.now,
                       k.log, cardinality(k.log)::bigint AS taken, ",
                       $refused, " AS refused, ", $due, " AS due
                       FROM ", steady!("$9", $at, $ahead), ",
                       LATERAL (SELECT ARRAY(SELECT m FROM unnest(", $log, ") AS u (m)
                                              WHERE m > n.now - $6 ORDER BY m) AS log) k) o,
               LATERAL (SELECT CASE WHEN o.due <= o.now
                  THEN least(o.times, greatest($5 - o.taken, 0) / $4) ELSE 0 END AS passed) p,
               ", outcome!("o.taken + p.passed * $4"), ",
               LATERAL (SELECT CASE WHEN b.blocks THEN o.now + $7
                  WHEN v.passed > 0 THEN 0 ELSE o.due END AS due) d)"
        )
    };
}

macro_rules! gcra {
    ($times:expr, $at:literal, $ahead:literal, $taken:literal, $refused:literal, $due:literal, $log:literal) => {
        concat!(
            "(SELECT o.now, o.now - o.clock, v.passed, v.taken,
                CASE WHEN $8 THEN v.refused ELSE v.refused + o.times - v.passed END,
                d.due, d.due / 1000000 + 1, NULL::bigint[]
               FROM (SELECT ",
            $times,
            " AS times, c.clock, n.now, n.now * 1000000 AS ns, ",
            $refused,
            " AS refused, ",
            $due,
            " AS due FROM ",
            steady!("$9", $at, $ahead),
            ") o,
               LATERAL (SELECT CASE WHEN $5 >= 0 AND o.ns + $5 >= greatest(o.due, o.ns)
                  THEN least(o.times, (o.ns + $5 - greatest(o.due, o.ns)) / $4 + 1)
                  ELSE 0 END AS passed) p,
               ",
            outcome!("0"),
            ",
               LATERAL (SELECT CASE WHEN v.passed > 0 THEN greatest(o.due, o.ns) + v.passed * $4
                                    ELSE o.due END AS due) t,
               LATERAL (SELECT CASE WHEN b.blocks THEN greatest(t.due, o.ns + $6)
                                    ELSE t.due END AS due) d)"
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

/// Takes out the moments of that hit, as many as there are points, if it is there; $4 and $5 as above.
const REFUND_SLIDING_WINDOW: &str = concat!(
    "UPDATE baileys_guard_rate_limit l SET (at, ahead, refused, log) =
       (SELECT n.now, n.now - c.clock,
          CASE WHEN $3 > n.now - $4 AND $3 = ANY (l.log) THEN 0 ELSE l.refused END,
          ARRAY(SELECT m FROM unnest(l.log) WITH ORDINALITY AS u (m, i)
                 WHERE $3 <= n.now - $4
                    OR i NOT IN (SELECT j FROM unnest(l.log) WITH ORDINALITY AS w (o, j)
                                  WHERE o = $3 ORDER BY j LIMIT $2) ORDER BY i)
          FROM ",
    steady!("$5", "l.at", "l.ahead"),
    ") WHERE l.id = $1"
);

/// $2 points, $3 the moment of the hit, $4 spacing, $5 clock.
const REFUND_GCRA: &str = concat!(
    "UPDATE baileys_guard_rate_limit l SET (at, ahead, refused, due) =
       (SELECT n.now, n.now - c.clock, CASE WHEN g.back > 0 THEN 0 ELSE l.refused END,
          greatest(l.due - g.back, 0) FROM ",
    steady!("$5", "l.at", "l.ahead"),
    ", LATERAL (SELECT greatest($2 * $4 - greatest(n.now - $3, 0) * 1000000, 0) AS back) g
       ) WHERE l.id = $1"
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

/// What a statement measures hits with: its parameters from $4 to $7.
fn measures(limit: &Limit, points: u32) -> [i64; 4] {
    let (points, Rule { limit: most, window, block, .. }) = (i64::from(points), limit.rule);
    if limit.kind != Kind::Gcra {
        return [points, i64::from(most), window, block];
    }
    // A limit of zero lets nothing pass, however late it comes.
    let Some((spacing, tolerance)) = gcra::spacing(&limit.rule) else { return [1, -1, 0, 0] };
    let early = tolerance.saturating_sub(spacing.saturating_mul(points - 1)).max(-1);
    let blocked = block.saturating_mul(1_000_000).saturating_add(tolerance);
    [spacing.saturating_mul(points), early, blocked, block]
}

/// Hits on each key: at which places of the call they are, keys in order. A refusal that blocks
/// changes what the hits before it are told, so such hits go one by one.
fn folded(keys: &[LimitId], limit: &Limit) -> Vec<BTreeMap<LimitId, Vec<usize>>> {
    let mut rounds: Vec<BTreeMap<LimitId, Vec<usize>>> = vec![BTreeMap::new()];
    for (place, key) in keys.iter().enumerate() {
        let mut round = 0;
        if limit.rule.block > 0 {
            round = rounds.iter().take_while(|round| round.contains_key(key)).count();
            if round == rounds.len() {
                rounds.push(BTreeMap::new());
            }
        }
        rounds[round].entry(*key).or_default().push(place);
    }
    rounds
}

async fn take(
    db: &Connections,
    keys: &[LimitId],
    limit: &Limit,
    points: u32,
    clock: Option<i64>,
) -> Result<Vec<Verdict>, Failure> {
    let statement = match limit.kind {
        Kind::FixedWindow => TAKE_FIXED_WINDOW,
        Kind::SlidingWindow => TAKE_SLIDING_WINDOW,
        Kind::Gcra => TAKE_GCRA,
    };
    let measures = measures(limit, points);
    let [first, second, third, fourth] = measures;
    let mut verdicts = vec![None; keys.len()];
    for round in folded(keys, limit) {
        let ids: Vec<Vec<u8>> = round.keys().map(|id| id.to_vec()).collect();
        let times: Vec<i64> = round.values().map(|places| places.len() as i64).collect();
        let limiter = limit.limiter.clone();
        let waits = limit.rule.waits;
        let arguments = arguments![ids, times, limiter, first, second, third, fourth, waits, clock];
        for row in db.run(statement, arguments).await? {
            let id: &[u8] = row.try_get("id")?;
            let Some(places) = LimitId::try_from(id).ok().and_then(|id| round.get(&id)) else {
                continue;
            };
            let outcome = Outcome::read(&row)?;
            for (nth, &place) in places.iter().enumerate() {
                verdicts[place] = Some(outcome.verdict(limit, points, measures, places.len(), nth));
            }
        }
    }
    verdicts
        .into_iter()
        .map(|verdict| verdict.ok_or_else(|| sqlx::Error::RowNotFound.into()))
        .collect()
}

/// A key's row after some hits.
struct Outcome {
    now: i64,
    passed: usize,
    taken: u32,
    refused: u32,
    due: i64,
    /// The first moment of the log, and the one that has to leave for another hit to fit.
    oldest: Option<i64>,
    leaving: Option<i64>,
}

impl Outcome {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            now: row.try_get("at")?,
            passed: row.try_get::<i64, _>("passed")? as usize,
            taken: count(row, "taken")?,
            refused: count(row, "refused")?,
            due: row.try_get("due")?,
            oldest: row.try_get("oldest")?,
            leaving: row.try_get("leaving")?,
        })
    }

    /// The answer to the `nth` of so many hits, as the row was when those before it were counted.
    fn verdict(
        &self,
        limit: &Limit,
        points: u32,
        measures: [i64; 4],
        times: usize,
        nth: usize,
    ) -> Verdict {
        let Limit { kind, rule, .. } = limit;
        let &Self { now, passed, .. } = self;
        let allowed = nth < passed;
        let (mut taken, mut refused, mut due) = (self.taken, self.refused, self.due);
        if allowed {
            let later = (passed - 1 - nth) as u32;
            taken = taken.saturating_sub(later.saturating_mul(points));
            refused = 0;
            if *kind == Kind::Gcra {
                due = due.saturating_sub(i64::from(later).saturating_mul(measures[0]));
            }
        } else if !rule.waits {
            refused = refused.saturating_sub((times - 1 - nth) as u32);
        }
        let decision = match kind {
            Kind::FixedWindow => Window::stored(due, taken, refused).answer(rule, now, allowed),
            Kind::Gcra => Arrival::stored(due, refused).answer(rule, now, points, allowed),
            Kind::SlidingWindow => {
                let fits = u64::from(taken) + u64::from(points) <= u64::from(rule.limit);
                let room_at = match if allowed { self.oldest } else { self.leaving } {
                    _ if !allowed && fits => now, // only the block keeps it out
                    Some(moment) if allowed || points <= rule.limit => {
                        moment.saturating_add(rule.window)
                    }
                    _ => now.saturating_add(rule.window),
                };
                let summary = Summary { taken, refused, blocked_until: Some(due), room_at };
                summary.answer(rule, now, allowed)
            }
        };
        Verdict { decision, now }
    }
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
    let cost = measures(limit, 1)[0];
    let window = limit.rule.window;
    match limit.kind {
        Kind::FixedWindow => {
            db.run(REFUND_FIXED_WINDOW, arguments![id, points, hit_at, window, clock]).await?
        }
        Kind::SlidingWindow => {
            db.run(REFUND_SLIDING_WINDOW, arguments![id, points, hit_at, window, clock]).await?
        }
        Kind::Gcra => db.run(REFUND_GCRA, arguments![id, points, hit_at, cost, clock]).await?,
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
        keys: &[LimitId],
        limit: &Limit,
        points: u32,
        clock: Option<i64>,
    ) -> Result<Vec<Verdict>> {
        let taken = take(&self.db, keys, limit, points, clock).await;
        let verdicts = self.done("counting hits", taken)?;
        let hits = keys.len() as i64;
        let before = self.sweeping.hits.fetch_add(hits, Ordering::Relaxed);
        if before / SWEEP_EVERY != (before + hits) / SWEEP_EVERY {
            let (db, sweeping) = (self.db.clone(), self.sweeping.clone());
            // What fails here is tried again with the next thousand hits.
            tokio::spawn(async move { sweep(&db, &sweeping).await.is_ok() });
        }
        Ok(verdicts)
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

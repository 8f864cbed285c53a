//! Rate limits: one upsert decides about hits on many keys and counts them.
//!
//! The arithmetic is that of `rate_limit::{window, sliding, gcra}`, written once more as SQL; the
//! conformance suite compares the two. The new state is computed after the row is locked and
//! from the row as it is then, in one sub-select that reads the clock once: hits on one key
//! queue, and each sees what those before it took. Of equal hits on one key at one moment the
//! first ones pass and the others do not, so how many pass says all. Keys are locked in their
//! order, so that two statements never wait for each other.
//!
//! The table is swept a stretch of pages at a time, skipping rows that somebody has locked.

#[rustfmt::skip] // which breaks SQL at every expression in it
mod statements;

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
        Kind::FixedWindow => statements::TAKE_FIXED_WINDOW,
        Kind::SlidingWindow => statements::TAKE_SLIDING_WINDOW,
        Kind::Gcra => statements::TAKE_GCRA,
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
    let rows = db.run_again(statements::PEEK, || arguments![id.to_vec(), clock]).await?;
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
    let (statement, measure) = match limit.kind {
        Kind::FixedWindow => (statements::REFUND_FIXED_WINDOW, limit.rule.window),
        Kind::SlidingWindow => (statements::REFUND_SLIDING_WINDOW, limit.rule.window),
        Kind::Gcra => (statements::REFUND_GCRA, measures(limit, 1)[0]),
    };
    db.run(statement, arguments![id, points, hit_at, measure, clock]).await?;
    Ok(())
}

async fn sweep(db: &Connections, sweeping: &Sweeping) -> Result<u64, Failure> {
    let page = sweeping.page.load(Ordering::Relaxed);
    let rows = db.run(statements::SWEEP, arguments![page]).await?;
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
        let reset = self.db.run_again(statements::RESET, || arguments![id.to_vec()]).await;
        self.done("resetting a rate limit", reset.map(|_| ()))
    }

    async fn sweep_points(&self) -> Result<u64> {
        self.done("sweeping rate limits", sweep(&self.db, &self.sweeping).await)
    }
}

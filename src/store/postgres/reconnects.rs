//! How often sessions have failed, and what there is to resume.

use std::time::Duration;

use sqlx::Row;

use super::connection::Connections;
use super::failure::Failure;
use super::leases::columns;
use crate::store::{Fence, Moved, Orphans, Reconnect};

/// What is left to wait counts from the record on by the database's clock, which may have been
/// set: never less than nothing, never more than was recorded.
const RECALL: &str = "SELECT agent_id, tries, failures, failing_ms, quarantines, reason,
            greatest(0, least(wait_ms, wait_ms -
              (extract(epoch FROM clock_timestamp() - recorded_at) * 1000)::bigint)) AS wait_ms
       FROM baileys_guard_reconnect WHERE agent_id = ANY ($1)";

/// Under the fence of each agent, like every write for it; a clean record is no record.
const RECORD: &str = "WITH given AS (
       SELECT g.* FROM unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::int[],
                              $6::bigint[], $7::int[], $8::bigint[], $9::text[])
         AS g (agent_id, incarnation, token, tries, failures, failing_ms, quarantines, wait_ms, reason)),
     fenced AS (
       SELECT g.*, set_config('lock_timeout', '10s', true) AS bounded
         FROM baileys_guard_lease l JOIN given g
           ON (g.agent_id, g.incarnation, g.token) = (l.agent_id, l.incarnation, l.token)
        WHERE l.held ORDER BY l.agent_id FOR SHARE OF l),
     forgotten AS (
       DELETE FROM baileys_guard_reconnect r USING fenced f
        WHERE r.agent_id = f.agent_id AND f.tries = 0 AND f.failures = 0 AND f.quarantines = 0)
     INSERT INTO baileys_guard_reconnect AS r
       (agent_id, tries, failures, failing_ms, quarantines, wait_ms, reason, recorded_at)
     SELECT agent_id, tries, failures, failing_ms, quarantines, wait_ms, reason, clock_timestamp()
       FROM fenced WHERE tries > 0 OR failures > 0 OR quarantines > 0 ORDER BY agent_id
     ON CONFLICT (agent_id) DO UPDATE
        SET tries = EXCLUDED.tries, failures = EXCLUDED.failures, failing_ms = EXCLUDED.failing_ms,
            quarantines = EXCLUDED.quarantines, wait_ms = EXCLUDED.wait_ms,
            reason = EXCLUDED.reason, recorded_at = EXCLUDED.recorded_at";

const JOIN: &str = "WITH old AS (
       DELETE FROM baileys_guard_resumer r WHERE NOT EXISTS (
         SELECT 1 FROM baileys_guard_instance i WHERE i.incarnation = r.incarnation
            AND (i.dead_at IS NULL OR i.dead_at > clock_timestamp() - interval '1 day')))
     INSERT INTO baileys_guard_resumer (incarnation, since) VALUES ($1, clock_timestamp())
     ON CONFLICT (incarnation) DO NOTHING";

const LEAVE: &str = "DELETE FROM baileys_guard_resumer WHERE incarnation = $1";

/// Which of the orphans are returned is random, so that instances that look at the same moment
/// mostly ask for different ones.
const ORPHANS: &str = "WITH newest AS (
       SELECT DISTINCT ON (s.agent_id) s.agent_id::text AS agent_id, s.is_active, s.status
         FROM whatsapp_sessions s WHERE s.agent_id IS NOT NULL
        ORDER BY s.agent_id, s.created_at DESC NULLS LAST, s.id DESC),
     wanted AS MATERIALIZED (
       SELECT n.agent_id, i.incarnation AS owner
         FROM newest n
         LEFT JOIN (baileys_guard_lease l JOIN baileys_guard_instance i
                      ON i.incarnation = l.incarnation AND l.held AND i.dead_at IS NULL)
           ON l.agent_id = n.agent_id
        WHERE n.is_active AND n.status::text IS DISTINCT FROM 'conflict'),
     passed AS MATERIALIZED (
       SELECT p.agent_id, p.known, coalesce(l.token, 0) AS token,
              coalesce(l.incarnation <> $1
                       AND (l.token > p.known OR i.incarnation IS NOT NULL), false) AS theirs
         FROM unnest($2::text[], $3::bigint[]) AS p (agent_id, known)
         LEFT JOIN baileys_guard_lease l USING (agent_id)
         LEFT JOIN baileys_guard_instance i
           ON i.incarnation = l.incarnation AND l.held AND i.dead_at IS NULL),
     free AS MATERIALIZED (
       SELECT w.agent_id FROM wanted w LEFT JOIN passed p USING (agent_id)
        WHERE w.owner IS NULL AND (p.agent_id IS NULL OR p.theirs)),
     others AS (
       SELECT i.dead_at IS NULL AS lives
         FROM baileys_guard_resumer r JOIN baileys_guard_instance i USING (incarnation)
        WHERE r.incarnation <> $1
          AND (i.dead_at IS NULL OR i.dead_at > clock_timestamp() - interval '1 minute'))
     SELECT (SELECT count(*) FROM wanted) AS should_run,
            (SELECT count(*) FROM wanted WHERE owner = $1) AS mine,
            (SELECT count(*) FROM free) AS orphans,
            (SELECT count(*) FROM others WHERE lives) AS peers,
            (SELECT count(*) FROM others WHERE NOT lives) AS lately_dead,
            ARRAY(SELECT agent_id FROM free ORDER BY random() LIMIT $4) AS agents,
            (SELECT coalesce(json_agg(json_build_array(agent_id, token, theirs)), '[]')::text
               FROM passed WHERE known IS NULL OR token > known) AS moved";

pub(super) async fn recall(db: &Connections, agents: &[String]) -> Result<Vec<Reconnect>, Failure> {
    let rows = db.run_again(RECALL, || arguments![agents]).await?;
    rows.iter()
        .map(|row| {
            Ok(Reconnect {
                agent_id: row.try_get("agent_id")?,
                tries: count(row.try_get("tries")?),
                failures: count(row.try_get("failures")?),
                failing: millis(row.try_get("failing_ms")?),
                quarantines: count(row.try_get("quarantines")?),
                wait: millis(row.try_get("wait_ms")?),
                reason: row.try_get("reason")?,
            })
        })
        .collect()
}

pub(super) async fn record(
    db: &Connections,
    records: &[(Fence, Reconnect)],
) -> Result<(), Failure> {
    if records.is_empty() {
        return Ok(());
    }
    let fences: Vec<Fence> = records.iter().map(|(fence, _)| fence.clone()).collect();
    let (agents, incarnations, tokens) = columns(&fences);
    let numbers = |field: fn(&Reconnect) -> u32| -> Vec<i32> {
        records.iter().map(|(_, r)| i32::try_from(field(r)).unwrap_or(i32::MAX)).collect()
    };
    let times = |field: fn(&Reconnect) -> Duration| -> Vec<i64> {
        records.iter().map(|(_, r)| field(r).as_millis().min(1 << 53) as i64).collect()
    };
    let reasons: Vec<Option<String>> = records.iter().map(|(_, r)| r.reason.clone()).collect();
    // The same record twice is the same record.
    db.run_again(RECORD, || {
        arguments![
            agents,
            incarnations,
            tokens,
            numbers(|r| r.tries),
            numbers(|r| r.failures),
            times(|r| r.failing),
            numbers(|r| r.quarantines),
            times(|r| r.wait),
            reasons
        ]
    })
    .await?;
    Ok(())
}

pub(super) async fn join(db: &Connections, incarnation: &str) -> Result<(), Failure> {
    db.run_again(JOIN, || arguments![incarnation]).await.map(drop)
}

pub(super) async fn leave(db: &Connections, incarnation: &str) -> Result<(), Failure> {
    db.run_again(LEAVE, || arguments![incarnation]).await.map(drop)
}

pub(super) async fn orphans(
    db: &Connections,
    incarnation: &str,
    passed: &[(String, Option<i64>)],
    limit: u32,
) -> Result<Orphans, Failure> {
    let (agents, tokens): (Vec<String>, Vec<Option<i64>>) = passed.iter().cloned().unzip();
    let rows =
        db.run_again(ORPHANS, || arguments![incarnation, agents, tokens, i64::from(limit)]).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let number = |name| row.try_get::<i64, _>(name).map(|n| usize::try_from(n).unwrap_or(0));
    let moved: Vec<(String, i64, bool)> = serde_json::from_str(row.try_get("moved")?)
        .map_err(|error| sqlx::Error::Decode(error.into()))?;
    let moved = moved.into_iter();
    Ok(Orphans {
        agents: row.try_get("agents")?,
        orphans: number("orphans")?,
        should_run: number("should_run")?,
        mine: number("mine")?,
        peers: number("peers")?,
        lately_dead: number("lately_dead")?,
        moved: moved.map(|(agent_id, token, theirs)| Moved { agent_id, token, theirs }).collect(),
    })
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

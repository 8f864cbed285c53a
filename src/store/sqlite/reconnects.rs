//! How often sessions have failed, and what there is to resume.

use std::time::Duration;

use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::connection::Connections;
use super::failure::Failure;
use super::{json, text};
use crate::store::{Fence, Moved, Orphans, Reconnect};

pub(super) async fn recall(db: &Connections, agents: &[String]) -> Result<Vec<Reconnect>, Failure> {
    // What is left to wait counts from the record on by the clock, which may have been set: never
    // less than nothing, never more than was recorded.
    let rows = sqlx::query(concat!(
        "SELECT agent_id, tries, failures, failing_ms, quarantines, reason,
                max(0, min(wait_ms, wait_ms - (",
        unix_ms!("'now'"),
        " - ",
        unix_ms!("recorded_at"),
        "))) AS wait_ms
           FROM baileys_guard_reconnect WHERE agent_id IN (SELECT value FROM json_each(?1))"
    ))
    .bind(json(agents))
    .fetch_all(&mut *db.reader().await?)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Reconnect {
                agent_id: row.try_get("agent_id")?,
                tries: row.try_get("tries")?,
                failures: row.try_get("failures")?,
                failing: millis(row.try_get("failing_ms")?),
                quarantines: row.try_get("quarantines")?,
                wait: millis(row.try_get("wait_ms")?),
                reason: row.try_get("reason")?,
            })
        })
        .collect()
}

/// Under the fence of each agent, like every write for it; a clean record is no record.
pub(super) async fn record(
    db: &Connections,
    records: &[(Fence, Reconnect)],
) -> Result<(), Failure> {
    if records.is_empty() {
        return Ok(());
    }
    let given: Vec<_> = records
        .iter()
        .map(|(fence, r)| {
            let ms = |time: Duration| time.as_millis().min(1 << 53) as i64;
            let counts = (r.tries, r.failures, ms(r.failing), r.quarantines, ms(r.wait));
            (&fence.agent_id, &fence.incarnation, fence.token, counts, &r.reason)
        })
        .collect();
    let given = json(&given);
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    sqlx::query(concat!(
        "INSERT INTO baileys_guard_reconnect
           (agent_id, tries, failures, failing_ms, quarantines, wait_ms, reason, recorded_at)
         SELECT l.agent_id, j.value ->> '$[3][0]', j.value ->> '$[3][1]', j.value ->> '$[3][2]',
                j.value ->> '$[3][3]', j.value ->> '$[3][4]', j.value ->> '$[4]', ",
        iso_now!(),
        " FROM json_each(?1) j JOIN baileys_guard_lease l
            ON l.agent_id = j.value ->> 0 AND l.incarnation = j.value ->> 1
           AND l.token = j.value ->> 2 AND l.held = 1
         WHERE true
         ON CONFLICT (agent_id) DO UPDATE
            SET tries = excluded.tries, failures = excluded.failures,
                failing_ms = excluded.failing_ms, quarantines = excluded.quarantines,
                wait_ms = excluded.wait_ms, reason = excluded.reason,
                recorded_at = excluded.recorded_at"
    ))
    .bind(&given)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "DELETE FROM baileys_guard_reconnect
          WHERE agent_id IN (SELECT value ->> 0 FROM json_each(?1))
            AND tries = 0 AND failures = 0 AND quarantines = 0",
    )
    .bind(&given)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

pub(super) async fn join(db: &Connections, incarnation: &str) -> Result<(), Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    sqlx::query(
        "DELETE FROM baileys_guard_resumer WHERE incarnation NOT IN (
           SELECT incarnation FROM baileys_guard_instance
            WHERE dead_at IS NULL OR julianday(dead_at) > julianday('now', '-1 day'))",
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query(concat!(
        "INSERT OR IGNORE INTO baileys_guard_resumer (incarnation, since) VALUES (?1, ",
        iso_now!(),
        ")"
    ))
    .bind(incarnation)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

pub(super) async fn leave(db: &Connections, incarnation: &str) -> Result<(), Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let leave = "DELETE FROM baileys_guard_resumer WHERE incarnation = ?1";
    sqlx::query(leave).bind(incarnation).execute(&mut *tx).await?;
    tx.commit().await
}

/// Which of the orphans are returned is random, so that instances that look at the same moment
/// mostly ask for different ones.
const ORPHANS: &str = concat!(
    "WITH wanted AS MATERIALIZED (
       SELECT n.agent, i.incarnation AS owner FROM ",
    newest_sessions!(),
    " n
         LEFT JOIN baileys_guard_lease l ON l.agent_id = n.agent AND l.held = 1
         LEFT JOIN baileys_guard_instance i ON i.incarnation = l.incarnation
               AND i.dead_at IS NULL
        WHERE n.active AND n.status IS NOT 'conflict'),
     passed AS MATERIALIZED (
       SELECT CAST(p.value ->> 0 AS TEXT) AS agent, p.value ->> 1 AS known,
              coalesce(l.token, 0) AS token,
              coalesce(l.incarnation <> ?1
                       AND (l.token > p.value ->> 1 OR i.incarnation IS NOT NULL), 0) AS theirs
         FROM json_each(?2) p
         LEFT JOIN baileys_guard_lease l ON l.agent_id = p.value ->> 0
         LEFT JOIN baileys_guard_instance i ON i.incarnation = l.incarnation AND l.held = 1
               AND i.dead_at IS NULL),
     free AS MATERIALIZED (
       SELECT w.agent FROM wanted w LEFT JOIN passed p ON p.agent = w.agent
        WHERE w.owner IS NULL AND (p.agent IS NULL OR p.theirs)),
     others AS (
       SELECT i.dead_at IS NULL AS lives
         FROM baileys_guard_resumer r JOIN baileys_guard_instance i USING (incarnation)
        WHERE r.incarnation <> ?1
          AND (i.dead_at IS NULL OR julianday(i.dead_at) > julianday('now', '-60 seconds')))
     SELECT (SELECT count(*) FROM wanted) AS should_run,
            (SELECT count(*) FROM wanted WHERE owner = ?1) AS mine,
            (SELECT count(*) FROM free) AS orphans,
            (SELECT count(*) FROM others WHERE lives) AS peers,
            (SELECT count(*) FROM others WHERE NOT lives) AS lately_dead,
            (SELECT json_group_array(agent) FROM (
               SELECT agent FROM free ORDER BY random() LIMIT ?3)) AS agents,
            (SELECT json_group_array(json_array(agent, token, theirs)) FROM passed
              WHERE known IS NULL OR token > known) AS moved"
);

pub(super) async fn orphans(
    db: &Connections,
    incarnation: &str,
    passed: &[(String, Option<i64>)],
    limit: u32,
) -> Result<Orphans, Failure> {
    let row = sqlx::query(ORPHANS)
        .bind(incarnation)
        .bind(json(passed))
        .bind(limit)
        .fetch_one(&mut *db.reader().await?)
        .await?;
    let number = |name| row.try_get::<i64, _>(name).map(|n| usize::try_from(n).unwrap_or(0));
    let moved: Vec<(String, i64, i64)> = list(&row, "moved")?;
    let moved = moved.into_iter();
    Ok(Orphans {
        agents: list(&row, "agents")?,
        orphans: number("orphans")?,
        should_run: number("should_run")?,
        mine: number("mine")?,
        peers: number("peers")?,
        lately_dead: number("lately_dead")?,
        moved: moved
            .map(|(agent_id, token, theirs)| Moved { agent_id, token, theirs: theirs != 0 })
            .collect(),
    })
}

fn list<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> sqlx::Result<Vec<T>> {
    let json = text(row, column)?.unwrap_or_default();
    serde_json::from_str(&json).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

    use super::*;
    use crate::store::migrations;

    #[tokio::test]
    async fn those_that_are_passed_over_are_found_by_an_index() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for migration in migrations::SQLITE {
            sqlx::raw_sql(migration.up).execute(&mut db).await.unwrap();
        }
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {ORPHANS}"));
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).fetch_all(&mut db).await.unwrap();
        let steps: Vec<_> = plan.iter().map(|(.., step)| step.as_str()).collect();
        assert!(
            steps.iter().any(|step| step.starts_with("SEARCH p USING AUTOMATIC")),
            "{steps:#?}"
        );
    }
}

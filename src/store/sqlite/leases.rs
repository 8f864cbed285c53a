//! Who lives and who owns what: the transactions that decide.
//!
//! Each is one immediate transaction, so what it has read stays true until it has written. A
//! transaction that decides against writing leaves no byte behind.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::error::OwnerInfo;
use crate::store::{Beat, Claimed, Death, Fence, Free, Grant, Owner, Peer, Registration};

use super::connection::Connections;
use super::failure::Failure;
use super::{json, sessions};

pub(super) async fn register(db: &Connections, me: &Registration) -> Result<(), Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    // Every start leaves a row behind. One that is long dead and that no lease names is no use.
    sqlx::query(
        "DELETE FROM baileys_guard_instance WHERE incarnation IN (
           SELECT incarnation FROM baileys_guard_instance
            WHERE unixepoch(dead_at) < unixepoch('now', '-1 day')
              AND incarnation NOT IN (SELECT incarnation FROM baileys_guard_lease) LIMIT 100)",
    )
    .execute(&mut *tx)
    .await?;
    // The same incarnation twice is the same registration: its first answer was lost.
    sqlx::query(concat!(
        "INSERT INTO baileys_guard_instance (incarnation, instance_id, hostname, pid, started_at, ",
        "ttl_ms, boot_id, lock_dir, beat, beat_at) VALUES (?1, ?2, ?3, ?4, ",
        iso_now!(),
        ", ?5, ?6, ?7, ",
        unix_ms!("'now'"),
        " * 1000, ",
        iso_now!(),
        ") ON CONFLICT (incarnation) DO NOTHING"
    ))
    .bind(&me.incarnation)
    .bind(&me.instance_id)
    .bind(&me.hostname)
    .bind(me.pid)
    .bind(i64::try_from(me.ttl.as_millis()).unwrap_or(i64::MAX))
    .bind(&me.boot_id)
    .bind(&me.lock_dir)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

pub(super) async fn beat(db: &Connections, incarnation: &str) -> Result<Beat, Failure> {
    let mut heartbeat = db.heartbeat().await?;
    let mut tx = heartbeat.begin().await?;
    // Microseconds keep the counter from repeating a value after a commit that a crash lost.
    let beat = sqlx::query(concat!(
        "UPDATE baileys_guard_instance SET beat = max(beat + 1, ",
        unix_ms!("'now'"),
        " * 1000), beat_at = ",
        iso_now!(),
        " WHERE incarnation = ?1 AND dead_at IS NULL"
    ));
    let alive = beat.bind(incarnation).execute(&mut *tx).await?.rows_affected() == 1;
    let (held, token_sum) = if alive { totals(&mut tx, incarnation).await? } else { (0, 0) };
    let peers = live_peers(&mut tx, incarnation).await?;
    tx.commit().await?;
    Ok(Beat { alive, held, token_sum, peers })
}

pub(super) async fn peers(db: &Connections, incarnation: &str) -> Result<Vec<Peer>, Failure> {
    live_peers(&mut *db.heartbeat_reader().await?, incarnation).await
}

/// On a connection of the pool, as a call would.
pub(super) async fn ping(db: &Connections) -> Result<(), Failure> {
    let look = sqlx::query("SELECT 1 FROM baileys_guard_instance LIMIT 1");
    look.fetch_optional(&mut *db.reader().await?).await?;
    Ok(())
}

pub(super) async fn bury(
    db: &Connections,
    peer: &str,
    beat: i64,
    how: Death,
) -> Result<bool, Failure> {
    let mut heartbeat = db.heartbeat().await?;
    let mut tx = heartbeat.begin().await?;
    let bury = sqlx::query(concat!(
        "UPDATE baileys_guard_instance SET dead_at = ",
        iso_now!(),
        ", death = ?3 WHERE incarnation = ?1 AND beat = ?2 AND dead_at IS NULL"
    ));
    let bury = bury.bind(peer).bind(beat).bind(how.as_str());
    let buried = bury.execute(&mut *tx).await?.rows_affected() == 1;
    tx.commit().await?;
    Ok(buried)
}

pub(super) async fn retire(db: &Connections, incarnation: &str) -> Result<(), Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let retire = sqlx::query(concat!(
        "UPDATE baileys_guard_instance SET dead_at = ",
        iso_now!(),
        ", death = ?2 WHERE incarnation = ?1 AND dead_at IS NULL"
    ));
    retire.bind(incarnation).bind(Death::Retired.as_str()).execute(&mut *tx).await?;
    let held = "SELECT agent_id FROM baileys_guard_lease WHERE incarnation = ?1 AND held = 1";
    let agents: Vec<String> =
        sqlx::query_scalar(held).bind(incarnation).fetch_all(&mut *tx).await?;
    sessions::clear(&mut tx, &agents, false).await?;
    tx.commit().await
}

pub(super) async fn claim(
    db: &Connections,
    incarnation: &str,
    seq: i64,
    agents: &[String],
) -> Result<Claimed, Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let alive = "SELECT 1 FROM baileys_guard_instance WHERE incarnation = ?1 AND dead_at IS NULL";
    let alive: Option<i64> =
        sqlx::query_scalar(alive).bind(incarnation).fetch_optional(&mut *tx).await?;
    if alive.is_none() {
        return Ok(Claimed { alive: false, grants: Vec::new() });
    }
    // To retire is to release everything. A lease whose owner's row was deleted by hand is free,
    // with all the care for a frozen owner.
    let free: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT DISTINCT j.value,
                coalesce(l.held = 1 AND l.incarnation <> ?1, 0) AND o.death IS NOT ?5,
                coalesce(l.held = 1 AND l.incarnation <> ?1, 0) AND coalesce(o.death, ?4) = ?4
           FROM json_each(?2) j
           LEFT JOIN baileys_guard_lease l ON l.agent_id = j.value
           LEFT JOIN baileys_guard_instance o ON o.incarnation = l.incarnation
          WHERE l.agent_id IS NULL
             OR (l.incarnation = ?1 AND l.seq < ?3)
             OR (l.incarnation <> ?1
                 AND (l.held = 0 OR o.dead_at IS NOT NULL OR o.incarnation IS NULL))
          ORDER BY 1",
    )
    .bind(incarnation)
    .bind(json(agents))
    .bind(seq)
    .bind(Death::Silent.as_str())
    .bind(Death::Retired.as_str())
    .fetch_all(&mut *tx)
    .await?;
    let agents: Vec<&str> = free.iter().map(|(agent_id, ..)| agent_id.as_str()).collect();
    let mut tokens = grant(&mut tx, incarnation, seq, &agents).await?;
    tx.commit().await?;
    let free = free.into_iter();
    let grants = free.filter_map(|(agent_id, takeover, after_silence)| {
        let token = tokens.remove(&agent_id)?;
        Some(Grant { agent_id, token, after_silence, takeover })
    });
    Ok(Claimed { alive: true, grants: grants.collect() })
}

/// Writes the grants that the transaction has decided on, and returns their tokens.
///
/// The clock only gives a floor: it keeps a token from coming back after a commit that a crash
/// lost, or after a lease row that somebody deleted.
async fn grant(
    tx: &mut SqliteConnection,
    incarnation: &str,
    seq: i64,
    agents: &[&str],
) -> Result<HashMap<String, i64>, Failure> {
    if agents.is_empty() {
        return Ok(HashMap::new());
    }
    let tokens: Vec<(String, i64)> = sqlx::query_as(concat!(
        "INSERT INTO baileys_guard_lease (agent_id, incarnation, held, token, seq, claimed_at) ",
        "SELECT value, ?2, 1, ",
        unix_ms!("'now'"),
        ", ?3, ",
        iso_now!(),
        " FROM json_each(?1) WHERE true ON CONFLICT (agent_id) DO UPDATE SET ",
        "incarnation = excluded.incarnation, held = 1, token = max(token + 1, excluded.token), ",
        "seq = excluded.seq, claimed_at = excluded.claimed_at RETURNING agent_id, token"
    ))
    .bind(json(agents))
    .bind(incarnation)
    .bind(seq)
    .fetch_all(tx)
    .await?;
    Ok(tokens.into_iter().collect())
}

pub(super) async fn owners(db: &Connections, agents: &[String]) -> Result<Vec<Owner>, Failure> {
    let mut reader = db.reader().await?;
    let rows = sqlx::query(concat!(
        "SELECT l.agent_id, ",
        owner_columns!(),
        " FROM json_each(?1) j
          CROSS JOIN baileys_guard_lease l ON l.agent_id = j.value AND l.held = 1
          JOIN baileys_guard_instance i ON i.incarnation = l.incarnation AND i.dead_at IS NULL
         ORDER BY l.agent_id"
    ))
    .bind(json(agents))
    .fetch_all(&mut *reader)
    .await?;
    rows.iter()
        .map(|row| {
            let agent_id = row.try_get("agent_id")?;
            Ok(Owner { agent_id, info: owner_info(row)?, peer: peer(row)? })
        })
        .collect()
}

pub(super) async fn leases(
    db: &Connections,
    incarnation: &str,
) -> Result<Vec<(String, i64)>, Failure> {
    let leases = sqlx::query_as(
        "SELECT l.agent_id, l.token FROM baileys_guard_lease l
           JOIN baileys_guard_instance i ON i.incarnation = l.incarnation AND i.dead_at IS NULL
          WHERE l.incarnation = ?1 AND l.held = 1 ORDER BY l.agent_id",
    );
    Ok(leases.bind(incarnation).fetch_all(&mut *db.reader().await?).await?)
}

/// A second time it finds the token that the first one gave.
pub(super) async fn advance(db: &Connections, fence: &Fence) -> Result<Option<i64>, Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let advance = sqlx::query(concat!(
        "UPDATE baileys_guard_lease SET token = max(token + 1, ",
        unix_ms!("'now'"),
        ") WHERE agent_id = ?1 AND incarnation = ?2 AND token = ?3 AND held = 1 AND EXISTS (
           SELECT 1 FROM baileys_guard_instance WHERE incarnation = ?2 AND dead_at IS NULL)"
    ));
    let advance = advance.bind(&fence.agent_id).bind(&fence.incarnation).bind(fence.token);
    advance.execute(&mut *tx).await?;
    let token = sqlx::query_scalar(
        "SELECT l.token FROM baileys_guard_lease l
           JOIN baileys_guard_instance i ON i.incarnation = l.incarnation AND i.dead_at IS NULL
          WHERE l.agent_id = ?1 AND l.incarnation = ?2 AND l.held = 1",
    );
    let token = token.bind(&fence.agent_id).bind(&fence.incarnation);
    let token = token.fetch_optional(&mut *tx).await?;
    tx.commit().await?;
    Ok(token)
}

pub(super) async fn release(
    db: &Connections,
    leases: &[Fence],
    deactivate: bool,
) -> Result<Vec<String>, Failure> {
    let terms: Vec<_> = leases.iter().map(|l| (&l.agent_id, &l.incarnation, l.token)).collect();
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let mut released: Vec<String> = sqlx::query_scalar(
        "UPDATE baileys_guard_lease SET held = 0 WHERE rowid IN (
           SELECT l.rowid FROM json_each(?1) j
            CROSS JOIN baileys_guard_lease l ON l.agent_id = j.value ->> 0
            WHERE l.incarnation = j.value ->> 1 AND l.token = j.value ->> 2 AND l.held = 1)
         RETURNING agent_id",
    )
    .bind(json(&terms))
    .fetch_all(&mut *tx)
    .await?;
    released.sort_unstable();
    let refused = sessions::clear(&mut tx, &released, deactivate).await?;
    tx.commit().await?;
    refused.map_or(Ok(released), |error| Err(error.into()))
}

pub(super) async fn free(db: &Connections) -> Result<Vec<Free>, Failure> {
    let free = sqlx::query_as(
        "SELECT l.agent_id, l.token, l.held = 1 AND i.death IS NOT ?1, coalesce(i.instance_id, '')
           FROM baileys_guard_lease l
           LEFT JOIN baileys_guard_instance i ON i.incarnation = l.incarnation
          WHERE l.held = 0 OR i.dead_at IS NOT NULL OR i.incarnation IS NULL
          ORDER BY l.agent_id",
    );
    let free = free.bind(Death::Retired.as_str());
    let free: Vec<(String, i64, bool, String)> = free.fetch_all(&mut *db.reader().await?).await?;
    let free = free.into_iter();
    Ok(free
        .map(|(agent_id, token, dead, instance_id)| Free { agent_id, token, dead, instance_id })
        .collect())
}

/// How many leases, and the wrapping sum of their tokens. SQLite's `sum` fails where it would
/// wrap, so the halves of the tokens are summed.
async fn totals(tx: &mut SqliteConnection, incarnation: &str) -> Result<(i64, i64), Failure> {
    let totals = sqlx::query_as(
        "SELECT count(*), coalesce(sum(token >> 32), 0), coalesce(sum(token & 0xffffffff), 0)
           FROM baileys_guard_lease WHERE incarnation = ?1 AND held = 1",
    );
    let (held, high, low): (i64, i64, i64) = totals.bind(incarnation).fetch_one(tx).await?;
    Ok((held, high.wrapping_shl(32).wrapping_add(low)))
}

async fn live_peers(
    connection: &mut SqliteConnection,
    incarnation: &str,
) -> Result<Vec<Peer>, Failure> {
    let peers = sqlx::query(
        "SELECT incarnation, instance_id, ttl_ms, beat, boot_id, lock_dir
           FROM baileys_guard_instance WHERE dead_at IS NULL AND incarnation <> ?1
          ORDER BY incarnation",
    );
    let peers = peers.bind(incarnation).fetch_all(connection).await?;
    Ok(peers.iter().map(peer).collect::<Result<_, _>>()?)
}

fn peer(row: &SqliteRow) -> sqlx::Result<Peer> {
    Ok(Peer {
        incarnation: row.try_get("incarnation")?,
        instance_id: row.try_get("instance_id")?,
        ttl: Duration::from_millis(row.try_get::<i64, _>("ttl_ms")?.unsigned_abs()),
        beat: row.try_get("beat")?,
        boot_id: row.try_get("boot_id")?,
        lock_dir: row.try_get("lock_dir")?,
    })
}

/// What users see of an owner, from a row with `owner_columns!()`.
pub(super) fn owner_info(row: &SqliteRow) -> sqlx::Result<OwnerInfo> {
    let age: i64 = row.try_get("heartbeat_age_ms")?;
    Ok(OwnerInfo {
        instance_id: row.try_get("instance_id")?,
        hostname: row.try_get("hostname")?,
        pid: row.try_get("pid")?,
        last_heartbeat_ms: row.try_get("last_heartbeat_ms")?,
        // A clock that was set back must not make the age huge.
        heartbeat_age: Duration::from_millis(u64::try_from(age).unwrap_or(0)),
        token: row.try_get("token")?,
    })
}

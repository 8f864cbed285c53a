//! Who lives and who owns what: the statements that decide, one each.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::connection::Connections;
use super::failure::{Failure, is_lock_timeout};
use crate::error::OwnerInfo;
use crate::store::{Beat, Claimed, Death, Fence, Free, Grant, Owner, Peer, Registration};

/// Unix microseconds: the counter does not repeat a value after a commit that a crash lost.
macro_rules! micros {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
}

/// Makes the commit of the statement durable where the server's default is weaker, so that a crash
/// undoes nothing that was answered.
macro_rules! durable {
    () => {
        "set_config('synchronous_commit', CASE current_setting('synchronous_commit')
           WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)"
    };
}

/// CTE `me(incarnation, durable)`: the incarnation `$1` while it lives, and its commit made durable.
macro_rules! living_me {
    () => {
        concat!(
            "me AS MATERIALIZED (
       SELECT i.incarnation, ",
            durable!(),
            " AS durable
         FROM baileys_guard_instance i WHERE i.incarnation = $1 AND i.dead_at IS NULL)"
        )
    };
}

/// Also deletes some incarnations that died long ago and that no lease names any more.
const REGISTER: &str = concat!(
    "WITH durable AS MATERIALIZED (SELECT ",
    durable!(),
    "), old AS (
       DELETE FROM baileys_guard_instance WHERE incarnation IN (
         SELECT i.incarnation FROM baileys_guard_instance i
          WHERE i.dead_at < clock_timestamp() - interval '1 day'
            AND NOT EXISTS (SELECT 1 FROM baileys_guard_lease l WHERE l.incarnation = i.incarnation)
          LIMIT 100 FOR UPDATE SKIP LOCKED))
     INSERT INTO baileys_guard_instance
       (incarnation, instance_id, hostname, pid, started_at, ttl_ms, boot_id, lock_dir, beat, beat_at)
     SELECT $1, $2, $3, $4, clock_timestamp(), $5, $6, $7, ",
    micros!(),
    ", clock_timestamp() FROM durable ON CONFLICT (incarnation) DO NOTHING"
);

const BEAT: &str = concat!(
    "WITH me AS (
       UPDATE baileys_guard_instance SET beat = greatest(beat + 1, ",
    micros!(),
    "), beat_at = clock_timestamp()
        WHERE incarnation = $1 AND dead_at IS NULL RETURNING incarnation),
     own AS (
       SELECT count(*) AS held, coalesce(sum(token), 0) AS token_sum
         FROM baileys_guard_lease WHERE incarnation = $1 AND held)
     SELECT EXISTS (SELECT 1 FROM me) AS alive, own.held,
            (mod(own.token_sum + 9223372036854775808, 18446744073709551616)
              - 9223372036854775808)::bigint AS token_sum, pg_backend_pid() AS backend,
            p.incarnation, p.instance_id, p.ttl_ms, p.beat, p.boot_id, p.lock_dir
       FROM own LEFT JOIN baileys_guard_instance p ON p.dead_at IS NULL AND p.incarnation <> $1"
);

const PEERS: &str = "SELECT p.incarnation, p.instance_id, p.ttl_ms, p.beat, p.boot_id, p.lock_dir
       FROM baileys_guard_instance p WHERE p.dead_at IS NULL AND p.incarnation <> $1";

/// A compare-and-set: it waits for a beat in flight, and then misses. Not for long, because our
/// own beat waits behind it.
const BURY: &str = concat!(
    "WITH patience AS MATERIALIZED (SELECT set_config('lock_timeout', '1s', true)),
     dead AS (
       UPDATE baileys_guard_instance SET dead_at = clock_timestamp(), death = $3
         FROM patience WHERE incarnation = $1 AND beat = $2 AND dead_at IS NULL
       RETURNING ",
    durable!(),
    ") SELECT (SELECT pg_notify('baileys_guard', 'dead'))::text FROM dead"
);

const RETIRE: &str = concat!(
    "WITH dead AS (
       UPDATE baileys_guard_instance SET dead_at = clock_timestamp(), death = $2
        WHERE incarnation = $1 AND dead_at IS NULL
       RETURNING ",
    durable!(),
    ") SELECT (SELECT pg_notify('baileys_guard', 'released'))::text FROM dead"
);

/// What is free is looked up first, so that a refusal writes nothing. The conflict clause decides
/// again, on the row as it is when its lock is granted. The grant is on disk when it is answered.
const CLAIM: &str = concat!(
    "WITH ",
    living_me!(),
    ",
     wanted AS MATERIALIZED (
       SELECT a.agent_id,
              coalesce(l.held AND l.incarnation <> $1 AND o.death <> 'retired', false) AS takeover,
              coalesce(l.held AND l.incarnation <> $1 AND o.death = 'silent', false) AS after_silence
         FROM (SELECT DISTINCT unnest($2::text[])) AS a (agent_id)
         LEFT JOIN baileys_guard_lease l ON l.agent_id = a.agent_id
         LEFT JOIN baileys_guard_instance o ON o.incarnation = l.incarnation
        WHERE l.agent_id IS NULL
           OR CASE WHEN l.incarnation = $1 THEN l.seq < $3 ELSE NOT l.held OR o.dead_at IS NOT NULL END),
     granted AS (
       INSERT INTO baileys_guard_lease AS l (agent_id, incarnation, held, token, seq, claimed_at)
       SELECT w.agent_id, me.incarnation, true,
              (extract(epoch FROM clock_timestamp()) * 1000)::bigint, $3, clock_timestamp()
         FROM me CROSS JOIN wanted w WHERE me.durable IS NOT NULL ORDER BY w.agent_id
       ON CONFLICT (agent_id) DO UPDATE
          SET incarnation = EXCLUDED.incarnation, held = true,
              token = greatest(l.token + 1, EXCLUDED.token),
              seq = EXCLUDED.seq, claimed_at = EXCLUDED.claimed_at
        WHERE CASE WHEN l.incarnation = EXCLUDED.incarnation THEN l.seq < EXCLUDED.seq
                   ELSE NOT l.held OR EXISTS (
                     SELECT 1 FROM baileys_guard_instance o
                      WHERE o.incarnation = l.incarnation AND o.dead_at IS NOT NULL) END
       RETURNING l.agent_id, l.token)
     SELECT EXISTS (SELECT 1 FROM me) AS alive, g.agent_id, g.token, w.takeover, w.after_silence
       FROM (SELECT 1) AS one LEFT JOIN (granted g JOIN wanted w USING (agent_id)) ON true"
);

/// A second time it finds the token that the first one gave.
const ADVANCE: &str = concat!(
    "WITH ",
    living_me!(),
    ",
     advanced AS (
       UPDATE baileys_guard_lease l
          SET token = greatest(l.token + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
         FROM me
        WHERE me.durable IS NOT NULL AND l.agent_id = $2 AND l.incarnation = me.incarnation
          AND l.token = $3 AND l.held
       RETURNING l.token)
     SELECT coalesce((SELECT token FROM advanced), l.token) AS token
       FROM me JOIN baileys_guard_lease l USING (incarnation) WHERE l.agent_id = $2 AND l.held"
);

const OWNERS: &str = "SELECT l.agent_id, l.token, i.incarnation, i.instance_id, i.hostname, i.pid,
            i.ttl_ms, i.beat, i.boot_id, i.lock_dir,
            (extract(epoch FROM i.beat_at) * 1000)::bigint AS beat_at_ms,
            (extract(epoch FROM clock_timestamp() - i.beat_at) * 1000)::bigint AS beat_age_ms
       FROM baileys_guard_lease l JOIN baileys_guard_instance i USING (incarnation)
      WHERE l.agent_id = ANY ($1) AND l.held AND i.dead_at IS NULL ORDER BY l.agent_id";

const LEASES: &str =
    "SELECT agent_id, token FROM baileys_guard_lease WHERE incarnation = $1 AND held";

const FREE: &str = "SELECT l.agent_id, l.token, i.instance_id,
            l.held AND i.death IS DISTINCT FROM 'retired' AS dead
       FROM baileys_guard_lease l JOIN baileys_guard_instance i USING (incarnation)
      WHERE NOT l.held OR i.dead_at IS NOT NULL";

/// Frees leases without a look at the host's table.
const RELEASE_LEASES: &str = "WITH given AS (
       SELECT l.agent_id
         FROM baileys_guard_lease l
         JOIN unnest($1::text[], $2::text[], $3::bigint[]) AS g (agent_id, incarnation, token)
           ON (g.agent_id, g.incarnation, g.token) = (l.agent_id, l.incarnation, l.token)
        WHERE l.held ORDER BY l.agent_id FOR NO KEY UPDATE OF l),
     freed AS (
       UPDATE baileys_guard_lease l SET held = false FROM given
        WHERE l.agent_id = given.agent_id RETURNING l.agent_id)
     SELECT f.agent_id, (SELECT pg_notify('baileys_guard', 'released'))::text FROM freed f";

pub(super) async fn register(db: &Connections, me: &Registration) -> Result<(), Failure> {
    let ttl_ms = i64::try_from(me.ttl.as_millis()).unwrap_or(i64::MAX);
    // The same incarnation twice is the same registration: its first answer was lost.
    db.run_again(REGISTER, || {
        arguments![
            me.incarnation,
            me.instance_id,
            me.hostname,
            me.pid,
            ttl_ms,
            me.boot_id,
            me.lock_dir
        ]
    })
    .await?;
    Ok(())
}

pub(super) async fn beat(db: &Connections, incarnation: &str) -> Result<Beat, Failure> {
    let rows = db.run_heartbeat(BEAT, || arguments![incarnation]).await?;
    let Some(first) = rows.first() else {
        return Err(sqlx::Error::RowNotFound.into());
    };
    Ok(Beat {
        alive: first.try_get("alive")?,
        held: first.try_get("held")?,
        token_sum: first.try_get("token_sum")?,
        peers: peers_of(&rows)?,
    })
}

pub(super) async fn peers(db: &Connections, incarnation: &str) -> Result<Vec<Peer>, Failure> {
    peers_of(&db.run_heartbeat(PEERS, || arguments![incarnation]).await?)
}

/// On a connection of the pool, as a call would.
pub(super) async fn ping(db: &Connections) -> Result<(), Failure> {
    let look = "SELECT 1 FROM baileys_guard_instance LIMIT 1";
    db.run_again(look, || arguments![]).await.map(drop)
}

/// On the heartbeat's connection: a burial must not wait behind the application's queries.
pub(super) async fn bury(
    db: &Connections,
    peer: &str,
    beat: i64,
    how: Death,
) -> Result<bool, Failure> {
    match db.run_heartbeat(BURY, || arguments![peer, beat, how.as_str()]).await {
        // Somebody is at work on its row. Whether that was a beat the next look will show.
        Err(Failure::Sqlx(error)) if is_lock_timeout(&error) => Ok(false),
        rows => Ok(!rows?.is_empty()),
    }
}

pub(super) async fn retire(store: &PostgresStore, incarnation: &str) -> Result<(), Failure> {
    let death = Death::Retired.as_str();
    store.db.run_again(RETIRE, || arguments![incarnation, death]).await?;
    // What people see is cleared after what counts; a host's lock or rule cannot hold it up.
    if let Ok(table) = store.host_table().await {
        let shown = table.clear.clone();
        let _ = store.db.run(shown, arguments![incarnation]).await;
    }
    Ok(())
}

pub(super) async fn claim(
    db: &Connections,
    incarnation: &str,
    seq: i64,
    agents: &[String],
) -> Result<Claimed, Failure> {
    let rows = db.run(CLAIM, arguments![incarnation, agents, seq]).await?;
    let mut claimed = Claimed { alive: false, grants: Vec::with_capacity(rows.len()) };
    for row in rows {
        claimed.alive = row.try_get("alive")?;
        if let Some(agent_id) = row.try_get("agent_id")? {
            claimed.grants.push(Grant {
                agent_id,
                token: row.try_get("token")?,
                after_silence: row.try_get("after_silence")?,
                takeover: row.try_get("takeover")?,
            });
        }
    }
    Ok(claimed)
}

pub(super) async fn owners(db: &Connections, agents: &[String]) -> Result<Vec<Owner>, Failure> {
    let rows = db.run_again(OWNERS, || arguments![agents]).await?;
    rows.iter()
        .map(|row| {
            Ok(Owner {
                agent_id: row.try_get("agent_id")?,
                info: owner_info(row)?,
                peer: peer(row)?,
            })
        })
        .collect()
}

pub(super) async fn leases(
    db: &Connections,
    incarnation: &str,
) -> Result<Vec<(String, i64)>, Failure> {
    let rows = db.run_again(LEASES, || arguments![incarnation]).await?;
    rows.iter().map(|row| Ok((row.try_get("agent_id")?, row.try_get("token")?))).collect()
}

pub(super) async fn advance(db: &Connections, fence: &Fence) -> Result<Option<i64>, Failure> {
    let arguments = || arguments![fence.incarnation, fence.agent_id, fence.token];
    let rows = db.run_again(ADVANCE, arguments).await?;
    Ok(rows.first().map(|row| row.try_get("token")).transpose()?)
}

pub(super) async fn free(db: &Connections) -> Result<Vec<Free>, Failure> {
    let rows = db.run_again(FREE, || arguments![]).await?;
    rows.iter()
        .map(|row| {
            Ok(Free {
                agent_id: row.try_get("agent_id")?,
                token: row.try_get("token")?,
                dead: row.try_get("dead")?,
                instance_id: row.try_get("instance_id")?,
            })
        })
        .collect()
}

/// Frees leases and nothing else; for when the host's table refuses to be written.
pub(super) async fn release_leases(
    db: &Connections,
    leases: &[Fence],
) -> Result<Vec<String>, Failure> {
    let (agents, incarnations, tokens) = columns(leases);
    released(&db.run(RELEASE_LEASES, arguments![agents, incarnations, tokens]).await?)
}

/// The fences as three arrays, for `unnest`.
pub(super) fn columns(leases: &[Fence]) -> (Vec<String>, Vec<String>, Vec<i64>) {
    (
        leases.iter().map(|lease| lease.agent_id.clone()).collect(),
        leases.iter().map(|lease| lease.incarnation.clone()).collect(),
        leases.iter().map(|lease| lease.token).collect(),
    )
}

pub(super) fn released(rows: &[PgRow]) -> Result<Vec<String>, Failure> {
    rows.iter().map(|row| Ok(row.try_get("agent_id")?)).collect()
}

/// The owner as people see it, from the columns of `OWNERS`.
pub(super) fn owner_info(row: &PgRow) -> Result<OwnerInfo, Failure> {
    Ok(OwnerInfo {
        instance_id: row.try_get("instance_id")?,
        hostname: row.try_get("hostname")?,
        pid: row.try_get("pid")?,
        last_heartbeat_ms: row.try_get("beat_at_ms")?,
        // The database's clock may have been set back since.
        heartbeat_age: millis(row.try_get::<i64, _>("beat_age_ms")?),
        token: row.try_get("token")?,
    })
}

fn peers_of(rows: &[PgRow]) -> Result<Vec<Peer>, Failure> {
    let alone = |row: &PgRow| row.try_get::<Option<&str>, _>("incarnation").map(|id| id.is_none());
    let mut peers = Vec::with_capacity(rows.len());
    for row in rows {
        if !alone(row)? {
            peers.push(peer(row)?);
        }
    }
    Ok(peers)
}

fn peer(row: &PgRow) -> Result<Peer, Failure> {
    Ok(Peer {
        incarnation: row.try_get("incarnation")?,
        instance_id: row.try_get("instance_id")?,
        ttl: millis(row.try_get::<i64, _>("ttl_ms")?),
        beat: row.try_get("beat")?,
        boot_id: row.try_get("boot_id")?,
        lock_dir: row.try_get("lock_dir")?,
    })
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

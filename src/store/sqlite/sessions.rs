//! `whatsapp_sessions`: what people see of the owners, and the host's own fields.
//!
//! An agent may have several rows; the newest one is meant wherever one is.

use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{Connection, QueryBuilder, Row, SqliteConnection};

use crate::error::Error;
use crate::store::{Fence, Registration, Session, SessionFilter, SessionUpdate, Written};

use super::connection::Connections;
use super::failure::{Failure, constraint};
use super::host::HostTable;
use super::leases::owner_info;
use super::{json, text};

/// The newest row of the agent that the expression names. A column has to come with a sign, so that
/// its affinity finds no rows that a parameter would not find.
macro_rules! newest_row_of {
    ($agent:literal) => {
        concat!(
            "(SELECT rowid FROM whatsapp_sessions WHERE agent_id = ",
            $agent,
            " ORDER BY ",
            newest_first!(),
            " LIMIT 1)"
        )
    };
}

pub(super) async fn show(
    db: &Connections,
    me: &Registration,
    agents: &[String],
    user_id: Option<&str>,
) -> Result<(), Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let table = HostTable::read(&mut tx).await?;
    let bare = show_held(&mut tx, &table, me, Some(agents)).await?;
    for agent_id in &bare {
        if table.user_required() && user_id.is_none() {
            return Err(Error::UserIdRequired { agent_id: agent_id.clone() }.into());
        }
        insert(&mut tx, &table, agent_id, user_id).await.map_err(|e| refused(agent_id, e))?;
    }
    if let Some(first) = bare.first() {
        show_held(&mut tx, &table, me, Some(&bare)).await?;
        // A deferred foreign key of the host speaks only now.
        return tx.commit().await.map_err(|error| match error {
            Failure::Sqlx(error) => refused(first, error),
            error => error,
        });
    }
    tx.commit().await
}

pub(super) async fn refresh(db: &Connections, me: &Registration) -> Result<Vec<String>, Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let table = HostTable::read(&mut tx).await?;
    let bare = show_held(&mut tx, &table, me, None).await?;
    tx.commit().await?;
    Ok(bare)
}

/// Shows `me` in the newest rows of what `me` holds, of these agents or of all, and returns the
/// held agents that have no row. An agent that was lost meanwhile is its new owner's to show.
async fn show_held(
    tx: &mut SqliteConnection,
    table: &HostTable,
    me: &Registration,
    agents: Option<&[String]>,
) -> Result<Vec<String>, Failure> {
    // CROSS JOIN: SQLite keeps the order, else it may read the list anew for every lease.
    let held = match agents {
        Some(_) => "json_each(?2) j CROSS JOIN baileys_guard_lease l ON l.agent_id = j.value",
        None => "baileys_guard_lease l",
    };
    let agents = agents.map(json);
    let started = "(SELECT started_at FROM baileys_guard_instance WHERE incarnation = ?1)";
    let show = format!(
        "UPDATE whatsapp_sessions SET instance_id = ?3, instance_hostname = ?4, \
         instance_pid = ?5, instance_started_at = {}, last_heartbeat = {} \
         WHERE rowid IN (SELECT {} FROM {held} WHERE l.incarnation = ?1 AND l.held = 1)",
        table.time("instance_started_at", started),
        table.time("last_heartbeat", "'now'"),
        newest_row_of!("+l.agent_id"),
    );
    let show = sqlx::query(sqlx::AssertSqlSafe(show)).bind(&me.incarnation).bind(&agents);
    let show = show.bind(&me.instance_id).bind(&me.hostname).bind(me.pid);
    show.execute(&mut *tx).await?;
    let bare = format!(
        "SELECT l.agent_id FROM {held} WHERE l.incarnation = ?1 AND l.held = 1 \
         AND NOT EXISTS (SELECT 1 FROM whatsapp_sessions WHERE agent_id = +l.agent_id) \
         ORDER BY l.agent_id"
    );
    let bare = sqlx::query_scalar(sqlx::AssertSqlSafe(bare)).bind(&me.incarnation).bind(&agents);
    Ok(bare.fetch_all(tx).await?)
}

/// A first row for an agent, which is not to be resumed before it has been connected once.
async fn insert(
    tx: &mut SqliteConnection,
    table: &HostTable,
    agent_id: &str,
    user_id: Option<&str>,
) -> sqlx::Result<()> {
    let id = if table.numbers_rows() { None } else { Some(uuid::Uuid::new_v4().to_string()) };
    let insert = format!(
        "INSERT INTO whatsapp_sessions \
         (id, agent_id, user_id, is_active, status, created_at, updated_at) \
         VALUES (?1, ?2, ?3, 0, 'disconnected', {}, {})",
        table.time("created_at", "'now'"),
        table.time("updated_at", "'now'"),
    );
    let insert = sqlx::query(sqlx::AssertSqlSafe(insert)).bind(id).bind(agent_id).bind(user_id);
    insert.execute(tx).await?;
    Ok(())
}

fn refused(agent_id: &str, error: sqlx::Error) -> Failure {
    match constraint(&error) {
        Some(cause) => Error::SessionRowRefused { agent_id: agent_id.to_owned(), cause }.into(),
        None => error.into(),
    }
}

/// Clears the instance columns of agents that were given back, in all their rows, and ends the
/// sessions if asked to.
///
/// The release itself must stand. What the host's table refuses is undone alone; it is told
/// where a user asked for it, and else only a row goes on showing who was the last owner.
pub(super) async fn clear(
    tx: &mut SqliteConnection,
    agents: &[String],
    deactivate: bool,
) -> Result<Option<Error>, Failure> {
    if agents.is_empty() {
        return Ok(None);
    }
    let mut savepoint = tx.begin().await?;
    match try_clear(&mut savepoint, agents, deactivate).await {
        Err(Failure::Sqlx(error)) if constraint(&error).is_some() => {
            savepoint.rollback().await?;
            let Failure::Told(told) = refused(&agents.join(", "), error) else { return Ok(None) };
            Ok(deactivate.then_some(told))
        }
        cleared => {
            cleared?;
            savepoint.commit().await?;
            Ok(None)
        }
    }
}

async fn try_clear(
    tx: &mut SqliteConnection,
    agents: &[String],
    deactivate: bool,
) -> Result<(), Failure> {
    let agents = json(agents);
    let clear = "UPDATE whatsapp_sessions SET instance_id = NULL, instance_hostname = NULL,
                 instance_pid = NULL, instance_started_at = NULL, last_heartbeat = NULL
                 WHERE agent_id IN (SELECT value FROM json_each(?1)) AND instance_id IS NOT NULL";
    sqlx::query(clear).bind(&agents).execute(&mut *tx).await?;
    if deactivate {
        let table = HostTable::read(tx).await?;
        let deactivate = format!(
            "UPDATE whatsapp_sessions SET is_active = 0, status = 'disconnected', \
             updated_at = {} WHERE rowid IN (SELECT {} FROM json_each(?1) j)",
            table.time("updated_at", "'now'"),
            newest_row_of!("j.value"),
        );
        sqlx::query(sqlx::AssertSqlSafe(deactivate)).bind(&agents).execute(tx).await?;
    }
    Ok(())
}

pub(super) async fn update(
    db: &Connections,
    fence: &Fence,
    update: &SessionUpdate,
) -> Result<Written, Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let table = HostTable::read(&mut tx).await?;
    let mut sql = fenced_update(&table, fence, update);
    let done = sql.build().execute(&mut *tx).await.map_err(|e| refused(&fence.agent_id, e))?;
    if done.rows_affected() == 1 {
        tx.commit().await?;
        return Ok(Written::Done);
    }
    let holds = "SELECT 1 FROM baileys_guard_lease
                  WHERE agent_id = ?1 AND incarnation = ?2 AND token = ?3 AND held = 1";
    let holds = sqlx::query_scalar(holds).bind(&fence.agent_id);
    let holds: Option<i64> =
        holds.bind(&fence.incarnation).bind(fence.token).fetch_optional(&mut *tx).await?;
    Ok(if holds.is_some() { Written::NoRow } else { Written::Refused })
}

fn fenced_update(table: &HostTable, fence: &Fence, update: &SessionUpdate) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("UPDATE whatsapp_sessions SET updated_at = ");
    sql.push(table.time("updated_at", "'now'"));
    if let Some(status) = &update.status {
        sql.push(", status = ").push_bind(status.clone());
    }
    let connected = update.status.as_deref() == Some("connected");
    if let Some(is_active) = update.is_active.or(connected.then_some(true)) {
        sql.push(", is_active = ").push_bind(i64::from(is_active));
    }
    if let Some(phone_number) = &update.phone_number {
        sql.push(", phone_number = ").push_bind(phone_number.clone());
    }
    if let Some(qr_code) = &update.qr_code {
        sql.push(", qr_code = ").push_bind(qr_code.clone());
        if qr_code.is_some() {
            sql.push(", qr_generated_at = ").push(table.time("qr_generated_at", "'now'"));
        }
    }
    if let Some(last_connected_ms) = update.last_connected_ms {
        // A number of ours, or NULL: no text of a user's.
        let text = last_connected_ms.map_or_else(
            || "NULL".to_owned(),
            |ms| format!("strftime('%Y-%m-%dT%H:%M:%fZ', {ms} / 1000.0, 'unixepoch')"),
        );
        sql.push(", last_connected = ").push(table.time("last_connected", &text));
    }
    sql.push(" WHERE rowid = (SELECT rowid FROM whatsapp_sessions WHERE agent_id = ");
    sql.push_bind(fence.agent_id.clone());
    sql.push(concat!(" ORDER BY ", newest_first!(), " LIMIT 1)"));
    sql.push(" AND EXISTS (SELECT 1 FROM baileys_guard_lease WHERE held = 1 AND agent_id = ");
    sql.push_bind(fence.agent_id.clone());
    sql.push(" AND incarnation = ").push_bind(fence.incarnation.clone());
    sql.push(" AND token = ").push_bind(fence.token).push(")");
    sql
}

pub(super) async fn list(
    db: &Connections,
    incarnation: &str,
    filter: SessionFilter,
) -> Result<Vec<Session>, Failure> {
    let rows = sqlx::query(concat!(
        "SELECT s.agent, s.user_id, s.phone_number, s.status, s.active, ",
        host_ms!("s.last_connected"),
        " AS last_connected_ms, ",
        host_ms!("s.updated_at"),
        " AS updated_at_ms, coalesce(i.incarnation = ?1, 0) AS mine, i.incarnation, ",
        owner_columns!(),
        " FROM ",
        newest_sessions!(),
        " s
          LEFT JOIN baileys_guard_lease l ON l.agent_id = s.agent AND l.held = 1
          LEFT JOIN baileys_guard_instance i ON i.incarnation = l.incarnation
                AND i.dead_at IS NULL
         WHERE (?2 IS NULL OR s.active = ?2)
           AND (?3 IS NULL OR coalesce(i.incarnation = ?1, 0) = ?3)
         ORDER BY s.agent"
    ))
    .bind(incarnation)
    .bind(filter.active)
    .bind(filter.mine)
    .fetch_all(&mut *db.reader().await?)
    .await?;
    Ok(rows.iter().map(session).collect::<Result<_, _>>()?)
}

fn session(row: &SqliteRow) -> sqlx::Result<Session> {
    let owned = row.try_get::<Option<String>, _>("incarnation")?.is_some();
    Ok(Session {
        agent_id: text(row, "agent")?.unwrap_or_default(),
        user_id: text(row, "user_id")?,
        phone_number: text(row, "phone_number")?,
        status: text(row, "status")?,
        is_active: row.try_get("active")?,
        last_connected_ms: row.try_get("last_connected_ms")?,
        updated_at_ms: row.try_get("updated_at_ms")?,
        owner: if owned { Some(owner_info(row)?) } else { None },
        mine: row.try_get("mine")?,
    })
}

//! What the host's table shows: owners, states, who is listed.

use sqlx::Row;

use super::PostgresStore;
use super::failure::{Failure, Refusal, is_no_value, refusal};
use super::leases::{columns, owner_info, release_leases, released};
use crate::error::Error;
use crate::store::{Fence, Registration, Session, SessionFilter, SessionUpdate, Written};

pub(super) async fn show(
    store: &PostgresStore,
    me: &Registration,
    agents: &[String],
    user_id: Option<&str>,
) -> Result<(), Failure> {
    let table = store.host_table().await?;
    let shown = || arguments![me.incarnation, me.instance_id, me.hostname, me.pid, agents];
    let show = async || {
        let rows = store.db.run_again(table.show.clone(), shown).await;
        released(&rows.map_err(|error| refused(error, agents))?)
    };
    let insert = async |agents: &[String]| {
        let row = arguments![me.incarnation, me.instance_id, me.hostname, me.pid, agents, user_id];
        match store.db.run(table.insert.clone(), row).await {
            // The agents have been stored before: it is the user that cannot be.
            Err(Failure::Sqlx(error)) if is_no_value(&error) => Err(table.not_a_user().into()),
            answer => answer.map(drop),
        }
    };
    let missing = show().await?;
    if missing.is_empty() {
        return Ok(());
    }
    match insert(&missing).await {
        Err(Failure::Sqlx(error)) if is_refused_by_one(&error) => {}
        answer => return answer.map_err(|error| refused(error, &missing)),
    }
    // One of them was refused, or the host has inserted one in between: which one it was shows
    // one by one, and the others need not suffer for it.
    let mut refusal = Ok(());
    for agent in show().await? {
        let agent = std::slice::from_ref(&agent);
        match insert(agent).await.map_err(|error| refused(error, agent)) {
            Err(error @ Failure::Sqlx(_)) => return Err(error),
            answer => refusal = refusal.and(answer),
        }
    }
    refusal
}

pub(super) async fn refresh(
    store: &PostgresStore,
    me: &Registration,
) -> Result<Vec<String>, Failure> {
    let table = store.host_table().await?;
    let refresh = || arguments![me.incarnation, me.instance_id, me.hostname, me.pid];
    released(&store.db.run_again(table.refresh.clone(), refresh).await?)
}

pub(super) async fn update(
    store: &PostgresStore,
    fence: &Fence,
    update: &SessionUpdate,
) -> Result<Written, Failure> {
    let table = store.host_table().await?;
    let connected = update.status.as_deref() == Some("connected");
    let is_active = update.is_active.or(connected.then_some(true));
    let rows = store
        .db
        .run_fenced(table.update.clone(), || {
            arguments![
                fence.agent_id,
                fence.incarnation,
                fence.token,
                update.status.is_some(),
                update.status,
                update.phone_number.is_some(),
                update.phone_number.clone().flatten(),
                update.qr_code.is_some(),
                update.qr_code.clone().flatten(),
                is_active.is_some(),
                is_active,
                update.last_connected_ms.is_some(),
                update.last_connected_ms.flatten()
            ]
        })
        .await
        .map_err(|error| refused(error, std::slice::from_ref(&fence.agent_id)))?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(match (row.try_get::<i64, _>("fenced")?, row.try_get::<i64, _>("written")?) {
        (0, _) => Written::Refused,
        (_, 0) => Written::NoRow,
        _ => Written::Done,
    })
}

pub(super) async fn release(
    store: &PostgresStore,
    leases: &[Fence],
    deactivate: bool,
) -> Result<Vec<String>, Failure> {
    let Some(first) = leases.first() else { return Ok(Vec::new()) };
    let (agents, incarnations, tokens) = columns(leases);
    let table = store.host_table().await?;
    let sql = if deactivate { &table.deactivate } else { &table.release };
    let release = arguments![agents, incarnations, tokens];
    match store.db.run(sql.clone(), release).await {
        Ok(rows) => released(&rows),
        Err(Failure::Sqlx(error)) if refusal(&error).is_some() => {
            // The agent is free all the same; what could not be shown is an error of its own.
            let freed = release_leases(&store.db, leases).await?;
            if deactivate {
                let agents = std::slice::from_ref(&first.agent_id);
                return Err(refused(Failure::Sqlx(error), agents));
            }
            Ok(freed)
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn list(
    store: &PostgresStore,
    incarnation: &str,
    filter: SessionFilter,
) -> Result<Vec<Session>, Failure> {
    let table = store.host_table().await?;
    let list = || arguments![incarnation, filter.active, filter.mine];
    let rows = store.db.run_again(table.list.clone(), list).await?;
    rows.iter()
        .map(|row| {
            let owned = row.try_get::<Option<&str>, _>("incarnation")?.is_some();
            Ok(Session {
                agent_id: row.try_get("agent_id")?,
                user_id: row.try_get("user_id")?,
                phone_number: row.try_get("phone_number")?,
                status: row.try_get("status")?,
                is_active: row.try_get("is_active")?,
                last_connected_ms: row.try_get("last_connected_ms")?,
                updated_at_ms: row.try_get("updated_at_ms")?,
                owner: if owned { Some(owner_info(row)?) } else { None },
                mine: row.try_get("mine")?,
            })
        })
        .collect()
}

/// The table refused a row, and may take others; without a user it takes none.
fn is_refused_by_one(error: &sqlx::Error) -> bool {
    matches!(refusal(error), Some(Refusal::Other(_)))
}

/// Tells the host's table refusing a row from everything else.
fn refused(failure: Failure, agents: &[String]) -> Failure {
    let Failure::Sqlx(error) = &failure else { return failure };
    let agent_id = agents.first().cloned().unwrap_or_default();
    match refusal(error) {
        None => failure,
        Some(Refusal::UserId) => Failure::Told(Error::UserIdRequired { agent_id }),
        Some(Refusal::Other(cause)) => Failure::Told(Error::SessionRowRefused { agent_id, cause }),
    }
}

//! Auth states and the host's `session_data`.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::connection::Sql;
use super::failure::Failure;
use crate::error::Result;
use crate::store::{
    AuthChange, AuthKey, AuthRow, AuthStore, AuthSwap, Fence, HostColumn, SessionData, Written,
};

const GET: &str = "SELECT agent_id, kind, id, value FROM baileys_guard_auth
      WHERE agent_id = $1 AND kind = $2 AND id = ANY ($3)";

const LIST: &str = "SELECT agent_id, kind, id, value FROM baileys_guard_auth
      WHERE (agent_id, kind, id) > ($1, $2, $3) AND agent_id = coalesce($4, agent_id)
      ORDER BY agent_id, kind, id LIMIT $5";

/// The fence is locked before anything is written, because everything written asks for it.
const SET: &str = fenced!(
    "changes AS (
       SELECT * FROM unnest($4::text[], $5::text[], $6::bytea[]) AS c (kind, id, value)
        WHERE EXISTS (SELECT 1 FROM fence)),
     deleted AS (
       DELETE FROM baileys_guard_auth a USING changes c
        WHERE c.value IS NULL AND a.agent_id = $1 AND a.kind = c.kind AND a.id = c.id),
     written AS (
       INSERT INTO baileys_guard_auth (agent_id, kind, id, value, updated_at)
       SELECT $1, c.kind, c.id, c.value, clock_timestamp() FROM changes c
        WHERE c.value IS NOT NULL ORDER BY c.kind, c.id
       ON CONFLICT (agent_id, kind, id)
       DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at)
     SELECT count(*) AS fenced FROM fence"
);

const CLEAR: &str = fenced!(
    "cleared AS (
       DELETE FROM baileys_guard_auth a WHERE a.agent_id = $1 AND EXISTS (SELECT 1 FROM fence))
     SELECT count(*) AS fenced FROM fence"
);

const SWAP: &str = "WITH swaps AS (
       SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[])
         AS s (agent_id, kind, id, old, new)),
     locked AS (
       SELECT a.agent_id, a.kind, a.id, s.new FROM baileys_guard_auth a JOIN swaps s
           ON (s.agent_id, s.kind, s.id) = (a.agent_id, a.kind, a.id) AND s.old = a.value
        ORDER BY a.agent_id, a.kind, a.id FOR NO KEY UPDATE OF a),
     swapped AS (
       UPDATE baileys_guard_auth a SET value = l.new FROM locked l
        WHERE (l.agent_id, l.kind, l.id) = (a.agent_id, a.kind, a.id) RETURNING 1)
     SELECT count(*) AS swapped FROM swapped";

fn session_data(column: HostColumn) -> Sql {
    Sql::assembled(format!(
        "SELECT id::text AS row_id, agent_id::text AS agent_id, {column}::text AS json
           FROM whatsapp_sessions
          WHERE {column} IS NOT NULL AND agent_id IS NOT NULL AND id::text > $1
          ORDER BY id::text LIMIT $2",
        column = column.name(),
    ))
}

/// Compared as the text that was read: `json` takes `\u0000`, which `jsonb` does not.
fn session_data_swap(column: HostColumn) -> Sql {
    Sql::assembled(format!(
        "WITH swapped AS (
           UPDATE whatsapp_sessions SET {column} = $3::text::json
            WHERE id::text = $1 AND {column}::text = $2 RETURNING 1)
         SELECT count(*) AS swapped FROM swapped",
        column = column.name(),
    ))
}

#[async_trait]
impl AuthStore for PostgresStore {
    async fn auth_get(&self, agent_id: &str, kind: &str, ids: &[String]) -> Result<Vec<AuthRow>> {
        let rows = self.db.run_again(GET, || arguments![agent_id, kind, ids]).await;
        self.done("reading an auth state", rows.and_then(|rows| auth_rows(&rows)))
    }

    async fn auth_list(
        &self,
        agent_id: Option<&str>,
        after: &AuthKey,
        limit: i64,
    ) -> Result<Vec<AuthRow>> {
        let list = || arguments![after.agent_id, after.kind, after.id, agent_id, limit];
        let rows = self.db.run_again(LIST, list).await;
        self.done("listing auth states", rows.and_then(|rows| auth_rows(&rows)))
    }

    async fn auth_set(&self, fence: &Fence, changes: &[AuthChange]) -> Result<Written> {
        let kinds: Vec<&str> = changes.iter().map(|change| change.kind.as_str()).collect();
        let ids: Vec<&str> = changes.iter().map(|change| change.id.as_str()).collect();
        let values: Vec<Option<&[u8]>> =
            changes.iter().map(|change| change.value.as_deref()).collect();
        let set = || arguments![fence.agent_id, fence.incarnation, fence.token, kinds, ids, values];
        let rows = self.db.run_fenced(SET, set).await;
        self.done("writing an auth state", rows.and_then(|rows| written(&rows)))
    }

    async fn auth_clear(&self, fence: &Fence) -> Result<Written> {
        let clear = || arguments![fence.agent_id, fence.incarnation, fence.token];
        let rows = self.db.run_fenced(CLEAR, clear).await;
        self.done("clearing an auth state", rows.and_then(|rows| written(&rows)))
    }

    async fn auth_swap(&self, swaps: &[AuthSwap]) -> Result<u64> {
        let keys = || swaps.iter().map(|swap| &swap.old.key);
        let agents: Vec<&str> = keys().map(|key| key.agent_id.as_str()).collect();
        let kinds: Vec<&str> = keys().map(|key| key.kind.as_str()).collect();
        let ids: Vec<&str> = keys().map(|key| key.id.as_str()).collect();
        let old: Vec<&[u8]> = swaps.iter().map(|swap| swap.old.value.as_slice()).collect();
        let new: Vec<&[u8]> = swaps.iter().map(|swap| swap.new.as_slice()).collect();
        let rows = self.db.run(SWAP, arguments![agents, kinds, ids, old, new]).await;
        self.done("rotating auth states", rows.and_then(|rows| swapped(&rows)))
    }

    async fn session_data(
        &self,
        column: HostColumn,
        after: &str,
        limit: i64,
    ) -> Result<Vec<SessionData>> {
        let read = async {
            if !self.host_table().await?.has(column) {
                return Ok(Vec::new());
            }
            let rows = self.db.run_again(session_data(column), || arguments![after, limit]).await?;
            data_rows(column, &rows)
        };
        self.done("listing session_data", read.await)
    }

    async fn session_data_of(
        &self,
        column: HostColumn,
        agent_id: &str,
    ) -> Result<Option<SessionData>> {
        let read = async {
            let table = self.host_table().await?;
            if !table.has(column) {
                return Ok(None);
            }
            let newest = table.session_data(column);
            let rows = self.db.run_again(newest, || arguments![agent_id]).await?;
            Ok(data_rows(column, &rows)?.pop())
        };
        self.done("reading session_data", read.await)
    }

    async fn session_data_swap(&self, old: &SessionData, new: &str) -> Result<bool> {
        let swap = session_data_swap(old.column);
        let rows = self.db.run(swap, arguments![old.row_id, old.json, new]).await;
        let swapped = self.done("rotating session_data", rows.and_then(|rows| swapped(&rows)))?;
        Ok(swapped == 1)
    }
}

fn auth_rows(rows: &[PgRow]) -> Result<Vec<AuthRow>, Failure> {
    rows.iter()
        .map(|row| {
            let key = AuthKey {
                agent_id: row.try_get("agent_id")?,
                kind: row.try_get("kind")?,
                id: row.try_get("id")?,
            };
            Ok(AuthRow { key, value: row.try_get("value")? })
        })
        .collect()
}

fn data_rows(column: HostColumn, rows: &[PgRow]) -> Result<Vec<SessionData>, Failure> {
    rows.iter()
        .map(|row| {
            Ok(SessionData {
                column,
                row_id: row.try_get("row_id")?,
                agent_id: row.try_get("agent_id")?,
                json: row.try_get("json")?,
            })
        })
        .collect()
}

fn written(rows: &[PgRow]) -> Result<Written, Failure> {
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let fenced = row.try_get::<i64, _>("fenced")? == 1;
    Ok(if fenced { Written::Done } else { Written::Refused })
}

fn swapped(rows: &[PgRow]) -> Result<u64, Failure> {
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(row.try_get::<i64, _>("swapped")?.unsigned_abs())
}

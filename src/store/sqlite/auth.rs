//! Auth states and the host's `session_data`.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::failure::Failure;
use super::host::HostTable;
use super::{SqliteStore, json, text};
use crate::error::Result;
use crate::store::{
    AuthChange, AuthKey, AuthRow, AuthStore, AuthSwap, Fence, HostColumn, SessionData, Written,
};

const UPSERT: &str = concat!(
    "INSERT INTO baileys_guard_auth (agent_id, kind, id, value, updated_at) VALUES (?1, ?2, ?3, ?4, ",
    iso_now!(),
    ") ON CONFLICT (agent_id, kind, id)
       DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at"
);

const DELETE: &str = "DELETE FROM baileys_guard_auth WHERE agent_id = ?1 AND kind = ?2 AND id = ?3";

#[async_trait]
impl AuthStore for SqliteStore {
    async fn auth_get(&self, agent_id: &str, kind: &str, ids: &[String]) -> Result<Vec<AuthRow>> {
        let read = async {
            let get = sqlx::query(
                "SELECT agent_id, kind, id, value FROM baileys_guard_auth
                  WHERE agent_id = ?1 AND kind = ?2 AND id IN (SELECT value FROM json_each(?3))",
            );
            let get = get.bind(agent_id).bind(kind).bind(json(ids));
            auth_rows(&get.fetch_all(&mut *self.db.reader().await?).await?)
        };
        self.call("reading an auth state", read).await
    }

    async fn auth_list(
        &self,
        agent_id: Option<&str>,
        after: &AuthKey,
        limit: i64,
    ) -> Result<Vec<AuthRow>> {
        let read = async {
            let list = sqlx::query(
                "SELECT agent_id, kind, id, value FROM baileys_guard_auth
                  WHERE (agent_id, kind, id) > (?1, ?2, ?3) AND agent_id = coalesce(?4, agent_id)
                  ORDER BY agent_id, kind, id LIMIT ?5",
            );
            let list = list.bind(&after.agent_id).bind(&after.kind).bind(&after.id);
            let list = list.bind(agent_id).bind(limit);
            auth_rows(&list.fetch_all(&mut *self.db.reader().await?).await?)
        };
        self.call("listing auth states", read).await
    }

    async fn auth_set(&self, fence: &Fence, changes: &[AuthChange]) -> Result<Written> {
        let write = async {
            let mut writer = self.db.writer().await?;
            let mut tx = writer.begin().await?;
            if !holds(&mut tx, fence).await? {
                return Ok(Written::Refused);
            }
            for change in changes {
                let sql = if change.value.is_some() { UPSERT } else { DELETE };
                let query = sqlx::query(sql).bind(&fence.agent_id).bind(&change.kind);
                let query = query.bind(&change.id);
                let query = match &change.value {
                    Some(value) => query.bind(value),
                    None => query,
                };
                query.execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(Written::Done)
        };
        self.call("writing an auth state", write).await
    }

    async fn auth_clear(&self, fence: &Fence) -> Result<Written> {
        let write = async {
            let mut writer = self.db.writer().await?;
            let mut tx = writer.begin().await?;
            if !holds(&mut tx, fence).await? {
                return Ok(Written::Refused);
            }
            let clear = "DELETE FROM baileys_guard_auth WHERE agent_id = ?1";
            sqlx::query(clear).bind(&fence.agent_id).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(Written::Done)
        };
        self.call("clearing an auth state", write).await
    }

    async fn auth_swap(&self, swaps: &[AuthSwap]) -> Result<u64> {
        let write = async {
            let mut writer = self.db.writer().await?;
            let mut tx = writer.begin().await?;
            let mut swapped = 0;
            for AuthSwap { old, new } in swaps {
                let swap = sqlx::query(
                    "UPDATE baileys_guard_auth SET value = ?5
                      WHERE agent_id = ?1 AND kind = ?2 AND id = ?3 AND value = ?4",
                );
                let swap = swap.bind(&old.key.agent_id).bind(&old.key.kind).bind(&old.key.id);
                let swap = swap.bind(&old.value).bind(new);
                swapped += swap.execute(&mut *tx).await?.rows_affected();
            }
            tx.commit().await?;
            Ok(swapped)
        };
        self.call("rotating auth states", write).await
    }

    async fn session_data(
        &self,
        column: HostColumn,
        after: &str,
        limit: i64,
    ) -> Result<Vec<SessionData>> {
        let read = async {
            let mut reader = self.db.reader().await?;
            if !HostTable::read(&mut reader).await?.has(column) {
                return Ok(Vec::new());
            }
            // By row: a host's `id` may be NULL, or be in several rows as number, text and blob.
            let list = format!(
                "SELECT CAST(rowid AS TEXT) AS row_id, CAST(agent_id AS TEXT) AS agent_id,
                        CAST({column} AS TEXT) AS json FROM whatsapp_sessions
                  WHERE {column} IS NOT NULL AND agent_id IS NOT NULL
                    AND (?1 IS NULL OR rowid > ?1)
                  ORDER BY rowid LIMIT ?2",
                column = column.name(),
            );
            let list = sqlx::query(AssertSqlSafe(list));
            let list = list.bind(after.parse::<i64>().ok()).bind(limit);
            data_rows(column, &list.fetch_all(&mut *reader).await?)
        };
        self.call("listing session_data", read).await
    }

    async fn session_data_of(
        &self,
        column: HostColumn,
        agent_id: &str,
    ) -> Result<Option<SessionData>> {
        let read = async {
            let mut reader = self.db.reader().await?;
            if !HostTable::read(&mut reader).await?.has(column) {
                return Ok(None);
            }
            let newest = format!(
                "SELECT CAST(row AS TEXT) AS row_id, CAST(agent_id AS TEXT) AS agent_id,
                        CAST({column} AS TEXT) AS json FROM (
                   SELECT rowid AS row, * FROM whatsapp_sessions WHERE agent_id = ?1
                    ORDER BY {newest_first} LIMIT 1) WHERE {column} IS NOT NULL",
                column = column.name(),
                newest_first = newest_first!(),
            );
            let newest = sqlx::query(AssertSqlSafe(newest)).bind(agent_id);
            Ok(data_rows(column, &newest.fetch_all(&mut *reader).await?)?.pop())
        };
        self.call("reading session_data", read).await
    }

    async fn session_data_swap(&self, old: &SessionData, new: &str) -> Result<bool> {
        let write = async {
            let mut writer = self.db.writer().await?;
            let mut tx = writer.begin().await?;
            let swap = format!(
                "UPDATE whatsapp_sessions SET {column} = ?3
                  WHERE rowid = ?1 AND CAST({column} AS TEXT) = ?2",
                column = old.column.name(),
            );
            let swap = sqlx::query(AssertSqlSafe(swap));
            let swap = swap.bind(old.row_id.parse::<i64>().ok()).bind(&old.json).bind(new);
            let swapped = swap.execute(&mut *tx).await?.rows_affected() == 1;
            tx.commit().await?;
            Ok(swapped)
        };
        self.call("rotating session_data", write).await
    }
}

/// Whether the lease is still the writer's; true until the transaction ends.
async fn holds(tx: &mut SqliteConnection, fence: &Fence) -> Result<bool, Failure> {
    let holds = sqlx::query_scalar(
        "SELECT 1 FROM baileys_guard_lease
          WHERE agent_id = ?1 AND incarnation = ?2 AND token = ?3 AND held = 1",
    );
    let holds = holds.bind(&fence.agent_id).bind(&fence.incarnation).bind(fence.token);
    let holds: Option<i64> = holds.fetch_optional(tx).await?;
    Ok(holds.is_some())
}

fn auth_rows(rows: &[SqliteRow]) -> Result<Vec<AuthRow>, Failure> {
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

fn data_rows(column: HostColumn, rows: &[SqliteRow]) -> Result<Vec<SessionData>, Failure> {
    rows.iter()
        .map(|row| {
            // Bytes that are no text are no JSON either, and are told as that.
            let json = String::from_utf8(row.try_get("json")?).unwrap_or_default();
            let agent_id = text(row, "agent_id")?.unwrap_or_default();
            Ok(SessionData { column, row_id: row.try_get("row_id")?, agent_id, json })
        })
        .collect()
}

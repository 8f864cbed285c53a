//! Applies and undoes the migrations, each of them all or nothing.

use sqlx::{Row, SqliteConnection};

use super::connection::Connections;
use super::failure::Failure;
use super::{host, text};
use crate::store::{Migrated, migrations};

pub(super) async fn migrate(db: &Connections) -> Result<Migrated, Failure> {
    let mut writer = db.writer().await?;
    // Several processes may start at once: the first migrates, the others find it done.
    let mut tx = writer.begin().await?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS baileys_guard_migration (
           name TEXT NOT NULL PRIMARY KEY,
           applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
         )",
    )
    .execute(&mut *tx)
    .await?;
    let before = names(&mut tx).await?;
    let mut applied = Vec::new();
    for migration in migrations::SQLITE {
        if before.iter().any(|name| name == migration.name) {
            continue;
        }
        sqlx::raw_sql(migration.up).execute(&mut *tx).await?;
        let record = "INSERT INTO baileys_guard_migration (name) VALUES (?1)";
        sqlx::query(record).bind(migration.name).execute(&mut *tx).await?;
        applied.push(migration.name.to_owned());
    }
    host::complete(&mut tx).await?;
    let duplicates = duplicates(&mut tx).await?;
    tx.commit().await?;
    Ok(Migrated { applied, duplicates })
}

pub(super) async fn rollback(db: &Connections) -> Result<Vec<String>, Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let known = "SELECT 1 FROM sqlite_schema WHERE name = 'baileys_guard_migration'";
    let known: Option<i64> = sqlx::query_scalar(known).fetch_optional(&mut *tx).await?;
    if known.is_none() {
        return Ok(Vec::new());
    }
    host::strip(&mut tx).await?;
    let before = names(&mut tx).await?;
    let mut undone = Vec::new();
    for migration in migrations::SQLITE.iter().rev() {
        if before.iter().any(|name| name == migration.name) {
            sqlx::raw_sql(migration.down).execute(&mut *tx).await?;
            let forget = "DELETE FROM baileys_guard_migration WHERE name = ?1";
            sqlx::query(forget).bind(migration.name).execute(&mut *tx).await?;
            undone.push(migration.name.to_owned());
        }
    }
    // What is left was applied by a later version of this library, which knows how to undo it.
    if names(&mut tx).await?.is_empty() {
        sqlx::raw_sql("DROP TABLE baileys_guard_migration").execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(undone)
}

/// Agents with more than one session row.
pub(super) async fn duplicates(tx: &mut SqliteConnection) -> Result<Vec<(String, i64)>, Failure> {
    let duplicates = sqlx::query(concat!(
        "SELECT CAST(agent_id AS TEXT) AS agent, count(*) AS rows FROM whatsapp_sessions WHERE ",
        has_agent!(),
        " GROUP BY agent HAVING count(*) > 1 ORDER BY agent"
    ));
    let duplicates = duplicates.fetch_all(tx).await?;
    let duplicate = |row| Ok((text(row, "agent")?.unwrap_or_default(), row.try_get("rows")?));
    Ok(duplicates.iter().map(duplicate).collect::<sqlx::Result<_>>()?)
}

/// Names of the migrations that were recorded as applied.
pub(super) async fn names(tx: &mut SqliteConnection) -> Result<Vec<String>, Failure> {
    Ok(sqlx::query_scalar("SELECT name FROM baileys_guard_migration").fetch_all(tx).await?)
}

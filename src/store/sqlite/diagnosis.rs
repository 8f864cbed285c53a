//! What an SQLite file tells of itself.

use std::time::Instant;

use super::connection::Connections;
use super::failure::Failure;
use super::schema;
use crate::store::diagnosis::{self, Diagnosis};
use crate::store::migrations;

pub(super) async fn diagnose(db: &Connections) -> Result<Diagnosis, Failure> {
    let mut reader = db.reader().await?;
    let asked = Instant::now();
    let version: String =
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *reader).await?;
    let round_trip = asked.elapsed();
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *reader).await?;
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut *reader).await?;
    let has = |table: &str| tables.iter().any(|name| name == table);
    let recorded =
        if has("baileys_guard_migration") { schema::names(&mut reader).await? } else { Vec::new() };
    let duplicates =
        if has("whatsapp_sessions") { schema::duplicates(&mut reader).await? } else { Vec::new() };
    Ok(Diagnosis {
        server: format!("SQLite {version}"),
        round_trip,
        migrations: diagnosis::applied(migrations::SQLITE, &recorded, &tables),
        unknown_migrations: diagnosis::unknown(migrations::SQLITE, &recorded),
        duplicates,
        journal_mode: Some(journal),
        network: None,
    })
}

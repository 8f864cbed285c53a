//! Applies and undoes the migrations, all or nothing.

use sqlx::{Connection, PgConnection, Row};

use super::connection::Connections;
use super::failure::Failure;
use crate::store::Migrated;

struct Migration {
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        &[$(Migration {
            name: concat!($name, ".sql"),
            up: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/", $name, ".sql"
            )),
            down: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/rollback/", $name, ".sql"
            )),
        }),+]
    };
}

/// In the order in which they are applied. Add new ones at the end.
const MIGRATIONS: &[Migration] = migrations![
    "008_add_instance_tracking",
    "009_add_leases",
    "010_rate_limits",
    "011_add_auth_state",
    "012_add_reconnects",
];

/// Held until the transaction ends: of several processes that start at once the first migrates
/// and the others find it done. The number is "baileys" on a telephone's keys.
const LOCK: &str = "SELECT pg_advisory_xact_lock(2245397)";

const DUPLICATES: &str = "SELECT agent_id::text AS agent_id, count(*) AS rows
    FROM whatsapp_sessions WHERE agent_id IS NOT NULL
   GROUP BY agent_id HAVING count(*) > 1 ORDER BY 1";

/// Runs every file, also those that were applied before: each adds only what is missing, so this
/// mends a table that was changed by hand, and costs no lock where nothing is missing.
pub(super) async fn migrate(db: &Connections) -> Result<Migrated, Failure> {
    let mut connection = db.connect().await?;
    let mut transaction = connection.begin().await?;
    simple(&mut transaction, LOCK).await?;
    simple(
        &mut transaction,
        "CREATE TABLE IF NOT EXISTS baileys_guard_migration (
           name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    )
    .await?;
    let before = names(&mut transaction).await?;
    let mut applied = Vec::new();
    for migration in MIGRATIONS {
        simple(&mut transaction, migration.up).await?;
        if !before.iter().any(|name| name == migration.name) {
            record(&mut transaction, "INSERT INTO baileys_guard_migration VALUES ($1)", migration)
                .await?;
            applied.push(migration.name.to_owned());
        }
    }
    let duplicates = duplicates(&mut transaction).await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(Migrated { applied, duplicates })
}

pub(super) async fn rollback(db: &Connections) -> Result<Vec<String>, Failure> {
    let mut connection = db.connect().await?;
    let mut transaction = connection.begin().await?;
    simple(&mut transaction, LOCK).await?;
    let known = sqlx::raw_sql("SELECT to_regclass('baileys_guard_migration') IS NOT NULL AS known")
        .fetch_one(&mut *transaction)
        .await?;
    if !known.try_get::<bool, _>("known")? {
        return Ok(Vec::new());
    }
    let before = names(&mut transaction).await?;
    let mut undone = Vec::new();
    for migration in MIGRATIONS.iter().rev() {
        if before.iter().any(|name| name == migration.name) {
            simple(&mut transaction, migration.down).await?;
            record(
                &mut transaction,
                "DELETE FROM baileys_guard_migration WHERE name = $1",
                migration,
            )
            .await?;
            undone.push(migration.name.to_owned());
        }
    }
    // What is left was applied by a later version of this library, which knows how to undo it.
    if before.len() == undone.len() {
        simple(&mut transaction, "DROP TABLE baileys_guard_migration").await?;
    }
    transaction.commit().await?;
    connection.close().await?;
    Ok(undone)
}

/// Names and scripts of all, in order.
pub(super) fn migrations() -> impl Iterator<Item = (&'static str, &'static str)> {
    MIGRATIONS.iter().map(|migration| (migration.name, migration.up))
}

/// Agents with more than one session row.
pub(super) async fn duplicates(
    connection: &mut PgConnection,
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows = sqlx::raw_sql(DUPLICATES).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("agent_id")?, row.try_get("rows")?))).collect()
}

/// A script, by the simple query protocol: several statements, no parameters.
async fn simple(connection: &mut PgConnection, script: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(script).execute(connection).await.map(|_| ())
}

async fn record(
    connection: &mut PgConnection,
    sql: &'static str,
    migration: &Migration,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(sql).bind(migration.name).persistent(false);
    query.execute(connection).await.map(|_| ())
}

async fn names(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let rows =
        sqlx::raw_sql("SELECT name FROM baileys_guard_migration").fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get("name")).collect()
}

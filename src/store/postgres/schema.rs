//! Applies and undoes the migrations, all or nothing.

use sqlx::{Connection, PgConnection, Row};

use super::connection::Connections;
use super::failure::Failure;
use crate::store::{Migrated, migrations};

/// Of several processes that start at once the first migrates and the others find it done: the
/// lock is held until the transaction ends. The number is "baileys" on a telephone's keys.
///
/// We wait for each other however long it takes. For the host's statements not for long: while we
/// waited behind one of them for a lock on its table, all others would wait behind us.
const BEGIN: &str = "SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL lock_timeout = 0;
    SELECT pg_advisory_xact_lock(2245397);
    SET LOCAL lock_timeout = '10s'";

const DUPLICATES: &str = "SELECT agent_id::text AS agent_id, count(*) AS rows
    FROM whatsapp_sessions WHERE agent_id IS NOT NULL
   GROUP BY agent_id HAVING count(*) > 1 ORDER BY 1";

/// Runs every file, also those that were applied before: each adds only what is missing, so this
/// mends a table that was changed by hand, and costs no lock where nothing is missing. Each keeps
/// its own record, so that one applied by hand is known too.
pub(super) async fn migrate(db: &Connections) -> Result<Migrated, Failure> {
    let mut connection = db.connect().await?;
    let mut transaction = connection.begin().await?;
    simple(&mut transaction, BEGIN).await?;
    let before = recorded(&mut transaction).await?;
    for migration in migrations::POSTGRES {
        simple(&mut transaction, migration.up).await?;
    }
    let duplicates = duplicates(&mut transaction).await?;
    transaction.commit().await?;
    connection.close().await?;
    let new = |name: &String| !before.contains(name);
    Ok(Migrated { applied: names().filter(new).collect(), duplicates })
}

/// Runs every file, in reverse order: each takes back what is there.
pub(super) async fn rollback(db: &Connections) -> Result<Vec<String>, Failure> {
    let mut connection = db.connect().await?;
    let mut transaction = connection.begin().await?;
    simple(&mut transaction, BEGIN).await?;
    let before = recorded(&mut transaction).await?;
    for migration in migrations::POSTGRES.iter().rev() {
        simple(&mut transaction, migration.down).await?;
    }
    transaction.commit().await?;
    connection.close().await?;
    Ok(names().rev().filter(|name| before.contains(name)).collect())
}

fn names() -> impl DoubleEndedIterator<Item = String> {
    migrations::POSTGRES.iter().map(|migration| migration.name.to_owned())
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

/// The names of the files that have been applied.
async fn recorded(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let known = sqlx::raw_sql("SELECT to_regclass('baileys_guard_migration') IS NOT NULL AS known")
        .fetch_one(&mut *connection)
        .await?;
    if !known.try_get::<bool, _>("known")? {
        return Ok(Vec::new());
    }
    let rows = sqlx::raw_sql("SELECT name FROM baileys_guard_migration").fetch_all(connection);
    rows.await?.iter().map(|row| row.try_get("name")).collect()
}

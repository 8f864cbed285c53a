//! What PostgreSQL tells of itself: plain questions by the simple protocol, which are safe behind
//! any pooler, on a connection of their own.

use std::time::Instant;

use sqlx::postgres::PgSslMode;
use sqlx::{Connection, PgConnection, Row};

use super::connection::Connections;
use super::failure::Failure;
use super::schema;
use crate::store::diagnosis::{self, Diagnosis, Exposed, NetworkFacts};
use crate::store::migrations;

const SERVER: &str = "SELECT current_setting('server_version') AS version,
        current_setting('transaction_read_only') = 'on' AS read_only,
        coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted";

const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms";

/// As far as the search path reaches, like every other statement.
const TABLES: &str = "SELECT relname::text AS name FROM pg_class
      WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid)
        AND (relname LIKE 'baileys\\_guard\\_%' OR relname = 'whatsapp_sessions')";

const RECORDED: &str = "SELECT name FROM baileys_guard_migration ORDER BY name";

const EXPOSED: &str = "SELECT c.relname::text AS name, r.rolname::text AS role
       FROM pg_class c CROSS JOIN pg_roles r
      WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)
        AND (c.relname LIKE 'baileys\\_guard\\_%' OR c.relname = 'whatsapp_sessions')
        AND r.rolname IN ('anon', 'authenticated') AND NOT c.relrowsecurity
        AND has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
      ORDER BY 1, 2";

pub(super) async fn diagnose(db: &Connections) -> Result<Diagnosis, Failure> {
    let mut connection = db.connect().await?;
    let found = db.within(async { ask(db, &mut connection).await }).await?;
    let _ = connection.close().await;
    Ok(found)
}

async fn ask(db: &Connections, connection: &mut PgConnection) -> Result<Diagnosis, Failure> {
    let server = sqlx::raw_sql(SERVER).fetch_one(&mut *connection).await?;
    let (asked, asked_ms) = (Instant::now(), diagnosis::wall_ms());
    let clock = sqlx::raw_sql(CLOCK).fetch_one(&mut *connection).await?;
    let round_trip = asked.elapsed();
    let half = i64::try_from(round_trip.as_millis() / 2).unwrap_or(0);

    let tables = column(sqlx::raw_sql(TABLES).fetch_all(&mut *connection).await?, "name")?;
    let has = |table: &str| tables.iter().any(|name| name == table);
    let recorded = if has("baileys_guard_migration") {
        column(sqlx::raw_sql(RECORDED).fetch_all(&mut *connection).await?, "name")?
    } else {
        Vec::new()
    };
    let duplicates =
        if has("whatsapp_sessions") { schema::duplicates(connection).await? } else { Vec::new() };
    let exposed = sqlx::raw_sql(EXPOSED).fetch_all(&mut *connection).await?;
    let exposed = exposed
        .iter()
        .map(|row| Ok(Exposed { table: row.try_get("name")?, role: row.try_get("role")? }))
        .collect::<Result<_, sqlx::Error>>()?;

    let options = db.options();
    let mode = options.get_ssl_mode();
    let encrypted = match mode {
        PgSslMode::Disable => Some(false),
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => Some(true),
        // Behind a pooler the server knows about the pooler's connection, not about ours.
        _ if db.is_pooled() => None,
        _ => Some(server.try_get("encrypted")?),
    };
    Ok(Diagnosis {
        server: format!("PostgreSQL {}", server.try_get::<String, _>("version")?),
        round_trip,
        migrations: diagnosis::applied(migrations::POSTGRES, &recorded, &tables),
        unknown_migrations: diagnosis::unknown(migrations::POSTGRES, &recorded),
        duplicates,
        journal_mode: None,
        network: Some(NetworkFacts {
            clock_ahead_ms: clock.try_get::<i64, _>("now_ms")? - (asked_ms + half),
            pooled: db.is_pooled(),
            read_only: server.try_get("read_only")?,
            encrypted,
            verified: matches!(mode, PgSslMode::VerifyCa | PgSslMode::VerifyFull),
            local: options.get_socket().is_some() || is_loopback(options.get_host()),
            exposed,
        }),
    })
}

fn column(rows: Vec<sqlx::postgres::PgRow>, name: &str) -> Result<Vec<String>, sqlx::Error> {
    rows.iter().map(|row| row.try_get(name)).collect()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

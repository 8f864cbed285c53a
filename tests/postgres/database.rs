//! A PostgreSQL database for one test. `TEST_DATABASE_URL` names a server and a role that may create
//! databases; each test makes one of its own and drops it.

use async_trait::async_trait;
use baileys_guard::store::DatabaseUrl;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row as _};

use crate::conformance::{Database, Row};

/// A database of its own on the test server.
pub struct Fresh {
    server: String,
    name: String,
}

pub async fn fresh() -> Fresh {
    let server = std::env::var("TEST_DATABASE_URL").expect(
        "TEST_DATABASE_URL names no PostgreSQL server, such as postgres://user:pw@127.0.0.1:5432/postgres",
    );
    let name = format!("guard_test_{}", uuid::Uuid::new_v4().simple());
    let fresh = Fresh { server, name };
    fresh.on_server(&format!("CREATE DATABASE {}", fresh.name)).await;
    fresh
}

impl Fresh {
    async fn on_server(&self, sql: &str) {
        let mut connection = connect(&self.server).await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect(sql);
    }

    /// The server's URL with another database in it.
    pub fn url_text(&self) -> String {
        let (address, query) = match self.server.split_once('?') {
            Some((address, query)) => (address, format!("?{query}")),
            None => (self.server.as_str(), String::new()),
        };
        let host = address.find("://").map_or(0, |at| at + 3);
        let end = address[host..].find('/').map_or(address.len(), |at| host + at);
        format!("{}/{}{query}", &address[..end], self.name)
    }
}

pub async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("a PostgreSQL URL");
    options.connect().await.expect("the PostgreSQL server of TEST_DATABASE_URL")
}

#[async_trait]
impl Database for Fresh {
    fn url(&self) -> DatabaseUrl {
        DatabaseUrl::Postgres(self.url_text())
    }

    async fn execute(&self, sql: &str) {
        let mut connection = connect(&self.url_text()).await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect(sql);
    }

    async fn rows(&self, sql: &str) -> Vec<Row> {
        let mut connection = connect(&self.url_text()).await;
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect(sql);
        rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
    }

    fn host_tables(&self) -> &'static str {
        "CREATE TABLE users (id UUID PRIMARY KEY);
         INSERT INTO users VALUES ('00000000-0000-4000-9000-000000000001');
         CREATE TABLE whatsapp_sessions (
           id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
           user_id UUID NOT NULL REFERENCES users (id),
           agent_id UUID,
           phone_number VARCHAR(15),
           session_state JSONB,
           is_active BOOLEAN DEFAULT false,
           qr_code TEXT,
           last_connected TIMESTAMP,
           created_at TIMESTAMP DEFAULT now(),
           updated_at TIMESTAMP DEFAULT now(),
           UNIQUE (user_id, phone_number)
         );"
    }

    fn hosts_own_008(&self) -> &'static str {
        "ALTER TABLE whatsapp_sessions
           ADD COLUMN instance_id VARCHAR(255),
           ADD COLUMN instance_hostname VARCHAR(255),
           ADD COLUMN instance_pid INTEGER,
           ADD COLUMN instance_started_at TIMESTAMP,
           ADD COLUMN last_heartbeat TIMESTAMP,
           ADD COLUMN status VARCHAR(50) DEFAULT 'disconnected' CHECK (status IN (
             'disconnected', 'connecting', 'qr_pending', 'connected', 'conflict', 'error',
             'initializing')),
           ADD COLUMN qr_generated_at TIMESTAMP,
           ADD COLUMN session_data JSONB;
         CREATE INDEX idx_whatsapp_sessions_instance_id ON whatsapp_sessions (instance_id);
         CREATE INDEX idx_whatsapp_sessions_last_heartbeat ON whatsapp_sessions (last_heartbeat)
           WHERE is_active;"
    }

    async fn shape(&self) -> Vec<Row> {
        self.rows(
            "SELECT CAST(column_name AS TEXT), CAST(data_type AS TEXT), CAST(is_nullable AS TEXT),
                    CAST(column_default AS TEXT)
               FROM information_schema.columns WHERE table_name = 'whatsapp_sessions'
             UNION ALL
             SELECT CAST(indexname AS TEXT), indexdef, NULL, NULL
               FROM pg_indexes WHERE tablename = 'whatsapp_sessions'
             UNION ALL
             SELECT CAST(conname AS TEXT), pg_get_constraintdef(oid), NULL, NULL
               FROM pg_constraint WHERE conrelid = to_regclass('whatsapp_sessions')
             ORDER BY 1, 2",
        )
        .await
    }

    async fn remove(&self) {
        self.on_server(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

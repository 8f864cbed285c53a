//! A SQLite file as the database of one test.

use std::path::PathBuf;

use async_trait::async_trait;
use baileys_guard::store::DatabaseUrl;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row as _};

use crate::conformance::{Database, Row};

/// A file in a folder of its own.
pub struct File {
    pub folder: PathBuf,
}

pub async fn fresh() -> File {
    let folder = std::env::temp_dir().join(format!("baileys-guard-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    File { folder }
}

impl File {
    pub fn path(&self) -> PathBuf {
        self.folder.join("guard.db")
    }

    /// As a host or a person opens it.
    pub async fn connect(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path()).create_if_missing(true);
        options.connect().await.unwrap()
    }
}

#[async_trait]
impl Database for File {
    fn url(&self) -> DatabaseUrl {
        DatabaseUrl::Sqlite(self.path())
    }

    async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect(sql);
    }

    async fn rows(&self, sql: &str) -> Vec<Row> {
        let mut connection = self.connect().await;
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect(sql);
        rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
    }

    fn host_tables(&self) -> &'static str {
        "CREATE TABLE users (id TEXT PRIMARY KEY);
         INSERT INTO users VALUES ('00000000-0000-4000-9000-000000000001');
         CREATE TABLE whatsapp_sessions (
           id TEXT PRIMARY KEY,
           user_id TEXT NOT NULL REFERENCES users (id),
           agent_id TEXT,
           phone_number VARCHAR(15),
           session_state TEXT,
           is_active BOOLEAN DEFAULT FALSE,
           qr_code TEXT,
           last_connected TEXT,
           created_at TEXT DEFAULT CURRENT_TIMESTAMP,
           updated_at TEXT DEFAULT CURRENT_TIMESTAMP,
           UNIQUE (user_id, phone_number)
         );"
    }

    fn hosts_own_008(&self) -> &'static str {
        "ALTER TABLE whatsapp_sessions ADD COLUMN instance_id VARCHAR(255);
         ALTER TABLE whatsapp_sessions ADD COLUMN instance_hostname VARCHAR(255);
         ALTER TABLE whatsapp_sessions ADD COLUMN instance_pid INTEGER;
         ALTER TABLE whatsapp_sessions ADD COLUMN instance_started_at DATETIME;
         ALTER TABLE whatsapp_sessions ADD COLUMN last_heartbeat DATETIME;
         ALTER TABLE whatsapp_sessions ADD COLUMN status VARCHAR(50) DEFAULT 'disconnected'
           CHECK (status IN ('disconnected', 'connecting', 'qr_pending', 'connected', 'conflict',
             'error', 'initializing'));
         ALTER TABLE whatsapp_sessions ADD COLUMN qr_generated_at DATETIME;
         ALTER TABLE whatsapp_sessions ADD COLUMN session_data JSON;
         CREATE INDEX idx_whatsapp_sessions_instance_id ON whatsapp_sessions (instance_id);
         CREATE INDEX idx_whatsapp_sessions_last_heartbeat ON whatsapp_sessions (last_heartbeat)
           WHERE is_active;"
    }

    async fn shape(&self) -> Vec<Row> {
        self.rows(
            "SELECT name, type, CAST(\"notnull\" AS TEXT), dflt_value, CAST(pk AS TEXT)
               FROM pragma_table_info('whatsapp_sessions')
             UNION ALL
             SELECT name, sql, NULL, NULL, NULL FROM sqlite_schema
              WHERE type = 'index' AND tbl_name = 'whatsapp_sessions'",
        )
        .await
    }

    async fn remove(&self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

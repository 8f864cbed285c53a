//! Migrations applied by hand, at a busy time, and over leftovers.

use std::time::{Duration, Instant};

use baileys_guard::store::SessionUpdate;

use crate::conformance::{agent, registration};
use crate::database::connect;
use crate::on_a_database;

/// What `psql -f` of every file does.
async fn apply_by_hand(site: &crate::conformance::Site, folder: &str, reverse: bool) -> usize {
    let folder = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    files.sort();
    if reverse {
        files.reverse();
    }
    for file in &files {
        site.execute(&std::fs::read_to_string(file).unwrap()).await;
    }
    files.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_by_hand_can_be_rolled_back() {
    on_a_database(|site, _| async move {
        site.with_host_tables().await;
        let shape = site.shape().await;
        let files = apply_by_hand(&site, "migrations/postgres", false).await;
        apply_by_hand(&site, "migrations/postgres", false).await;
        let store = site.store();
        store.register(&registration("a")).await.unwrap();
        assert_eq!(store.rollback().await.unwrap().len(), files);
        assert_eq!(site.shape().await, shape);
        let left = "SELECT count(*)::text FROM pg_class WHERE relname LIKE 'baileys_guard%'";
        assert_eq!(site.value(left).await.as_deref(), Some("0"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rolled_back_by_hand_can_be_applied_again() {
    on_a_database(|site, _| async move {
        site.with_host_tables().await;
        let shape = site.shape().await;
        let a = site.member("a").await;
        let files = apply_by_hand(&site, "migrations/postgres/rollback", true).await;
        apply_by_hand(&site, "migrations/postgres/rollback", true).await;
        assert_eq!(site.shape().await, shape);
        assert_eq!(a.store.migrate().await.unwrap().applied.len(), files);
        site.member("b").await.claim(1, &agent(1)).await;
    })
    .await;
}

/// A lock on a table is granted in turn: while we waited for ours behind a report that runs for an
/// hour, every statement of the host's would wait behind us.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_table_is_not_blocked_by_a_migration_that_waits() {
    on_a_database(|site, url| async move {
        site.with_host_tables().await;
        let mut report = connect(&url).await;
        sqlx::raw_sql("BEGIN; SELECT count(*) FROM whatsapp_sessions")
            .execute(&mut report)
            .await
            .unwrap();
        let store = site.store();
        let began = Instant::now();
        let error = store.migrate().await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
        assert_eq!(error.code(), "ERR_DATABASE_UNAVAILABLE", "{error}");
        site.host_row(&agent(1), 1).await;

        sqlx::raw_sql("COMMIT").execute(&mut report).await.unwrap();
        store.migrate().await.unwrap();
    })
    .await;
}

/// Where nothing is missing nothing is locked, however busy the table is.
#[tokio::test(flavor = "multi_thread")]
async fn a_migrated_table_is_not_locked_again() {
    on_a_database(|site, url| async move {
        site.with_host_tables().await;
        let a = site.member("a").await;
        let mut writer = connect(&url).await;
        sqlx::raw_sql(
            "BEGIN; LOCK TABLE whatsapp_sessions, baileys_guard_lease, baileys_guard_instance
               IN ROW EXCLUSIVE MODE",
        )
        .execute(&mut writer)
        .await
        .unwrap();
        let began = Instant::now();
        a.store.migrate().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    })
    .await;
}

/// Rows of before do not look newer than those that come after, nor as new as each other.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_before_do_not_seem_to_be_made_by_the_migration() {
    on_a_database(|site, _| async move {
        site.execute(&format!(
            "CREATE TABLE whatsapp_sessions (id bigserial PRIMARY KEY, agent_id text);
             INSERT INTO whatsapp_sessions (agent_id) VALUES ('{}')",
            agent(1)
        ))
        .await;
        let a = site.member("a").await;
        let unknown =
            "SELECT (created_at IS NULL AND updated_at IS NULL)::text FROM whatsapp_sessions";
        assert_eq!(site.value(unknown).await.as_deref(), Some("true"));
        site.execute(&format!("INSERT INTO whatsapp_sessions (agent_id) VALUES ('{}')", agent(1)))
            .await;
        let grant = a.claim(1, &agent(1)).await;
        let update = SessionUpdate { is_active: Some(true), ..SessionUpdate::default() };
        a.store.update_session(&a.fence(&grant), &update).await.unwrap();
        let written = "SELECT id::text FROM whatsapp_sessions WHERE is_active";
        assert_eq!(site.value(written).await.as_deref(), Some("2"));
    })
    .await;
}

/// Supabase's REST API shows what these roles may read.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_read_our_tables() {
    on_a_database(|site, _| async move {
        site.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC").await;
        apply_by_hand(&site, "migrations/postgres", false).await;
        let readable = "SELECT string_agg(relname::text, ' ')::text FROM pg_class
            WHERE relname LIKE 'baileys_guard%' AND relkind = 'r'
              AND has_table_privilege('pg_monitor', oid, 'SELECT, INSERT, UPDATE, DELETE')";
        assert_eq!(site.value(readable).await, None);
    })
    .await;
}

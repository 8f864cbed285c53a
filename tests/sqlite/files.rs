//! Files that are not there, not ours to write, or no databases.

use std::path::Path;
use std::time::Duration;

use baileys_guard::error::Error;
use sqlx::{Connection, SqliteConnection};
use tokio::time::timeout;

use crate::conformance::{agent, registration};
use crate::{on_a_file, store_at};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
#[cfg(unix)]
async fn a_new_file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    on_a_file(|_, path| async move {
        let store = store_at(&path, LONG);
        assert!(!path.exists(), "connects on the first call");
        store.migrate().await.unwrap();
        store.register(&registration("a")).await.unwrap();
        for suffix in ["", "-wal", "-shm"] {
            let file = format!("{}{suffix}", path.display());
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    })
    .await;
}

/// SQLite removes its side files when the last connection closes.
#[tokio::test]
async fn a_closed_store_lets_go_of_the_file() {
    on_a_file(|site, path| async move {
        let a = site.member("a").await;
        a.claim(1, &agent(1)).await;
        a.store.beat(a.id()).await.unwrap();
        let mut changes = a.store.changes().await.unwrap();
        let log = path.with_extension("db-wal");
        assert!(log.exists());
        a.store.close().await;
        assert!(log.exists(), "the feed is its reader's to drop");
        timeout(Duration::from_secs(5), changes.changed()).await.expect("an end of the feed");
        let gone = async {
            while log.exists() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), gone).await.expect("a connection is left open");
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_leads_nowhere_is_unavailable() {
    on_a_file(|_, path| async move {
        std::fs::write(&path, "").unwrap();
        let below_a_file = path.join("guard.db");
        let folder = path.parent().unwrap().to_owned();
        let not_mounted = folder.join("volume");
        for path in [below_a_file, not_mounted.join("guard.db"), folder] {
            let error = store_at(&path, LONG).migrate().await.unwrap_err();
            let Error::DatabaseUnavailable { cause, .. } = &error else { panic!("{error:?}") };
            assert!(cause.contains(path.to_str().unwrap()), "{error}");
        }
        assert!(!not_mounted.exists());
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    on_a_file(|_, path| async move {
        let letter = "Dear host, this is not a database. ".repeat(100);
        std::fs::write(&path, &letter).unwrap();
        let error = store_at(&path, LONG).migrate().await.unwrap_err();
        assert!(matches!(error, Error::Database { .. }), "{error:?}");
        assert!(error.to_string().contains("file is not a database"), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), letter);
    })
    .await;
}

#[tokio::test]
async fn a_file_that_another_program_keeps_to_itself_is_unavailable() {
    on_a_file(|site, path| async move {
        site.execute("CREATE TABLE t (x)").await;
        let url = format!("sqlite:{}", path.display());
        let mut host = SqliteConnection::connect(&url).await.unwrap();
        let keep = "PRAGMA locking_mode = EXCLUSIVE; INSERT INTO t VALUES (1)";
        sqlx::raw_sql(keep).execute(&mut host).await.unwrap();
        let store = store_at(&path, Duration::from_millis(200));
        let error = store.migrate().await.unwrap_err();
        assert!(matches!(error, Error::DatabaseUnavailable { .. }), "{error:?}");
        host.close().await.unwrap();
        store.migrate().await.unwrap();
    })
    .await;
}

#[tokio::test]
#[cfg(unix)]
async fn an_instance_notices_that_its_file_was_replaced() {
    on_a_file(|site, path| async move {
        let a = site.member("a").await;
        a.claim(1, &agent(1)).await;
        a.store.beat(a.id()).await.unwrap();
        let lost = async |why: &str| {
            let failures = [
                a.store.beat(a.id()).await.err(),
                a.store.claim(a.id(), 2, &[agent(2)]).await.err(),
                a.store.leases(a.id()).await.err(),
            ];
            for error in failures {
                assert!(
                    matches!(error, Some(Error::DatabaseUnavailable { .. })),
                    "{why}: {error:?}"
                );
                assert!(error.unwrap().to_string().contains("removed or replaced"));
            }
        };
        std::fs::remove_file(&path).unwrap();
        lost("no file").await;
        let b = site.member("b").await;
        b.claim(1, &agent(1)).await;
        lost("another file").await;
    })
    .await;
}

#[tokio::test]
async fn each_migration_file_runs_alone_any_number_of_times() {
    for host in [false, true] {
        on_a_file(|site, _| async move {
            if host {
                site.with_host_tables().await;
                site.host_row(&agent(1), 1).await;
            }
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
            let mut files: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
                .collect();
            files.sort();
            assert!(files.len() >= 2);
            let mut shapes = Vec::new();
            for _ in 0..3 {
                for file in &files {
                    site.execute(&std::fs::read_to_string(file).unwrap()).await;
                }
                shapes.push(site.shape().await);
            }
            assert_eq!(shapes[0], shapes[2]);
            let a = site.member("a").await;
            a.claim(1, &agent(1)).await;
            a.show(&[agent(1)]).await;
            a.store.rollback().await.unwrap();
            assert!(!site.shape().await.is_empty(), "it holds a row");
        })
        .await;
    }
}

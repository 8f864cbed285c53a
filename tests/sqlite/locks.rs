//! Another program that holds the write lock, and many writers of one's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use baileys_guard::error::Error;
use baileys_guard::store::{SessionFilter, SessionUpdate};
use sqlx::{Connection, SqliteConnection};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::conformance::{Site, agent, agents, registration};
use crate::{on_a_file, store_at};

/// A host's connection in the middle of a write.
async fn foreign_writer(path: &std::path::Path) -> SqliteConnection {
    let mut host = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut host).await.unwrap();
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_beyond_the_call_timeout_is_unavailable_and_passes() {
    on_a_file(|site, path| async move {
        site.member("a").await;
        let store = store_at(&path, Duration::from_millis(1500));
        let me = registration("b");
        store.register(&me).await.unwrap();
        let host = foreign_writer(&path).await;
        for _ in 0..4 {
            let asked = Instant::now();
            let error = store.claim(&me.incarnation, 1, &[agent(1)]).await.unwrap_err();
            assert!(matches!(error, Error::DatabaseUnavailable { .. }), "{error:?}");
            assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
        }
        assert!(store.free().await.unwrap().is_empty(), "readers are not held up");
        host.close().await.unwrap();
        let claimed = store.claim(&me.incarnation, 1, &[agent(1)]).await.unwrap();
        assert_eq!(claimed.grants.len(), 1, "what was given up was never written");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_waits_for_a_short_lock() {
    on_a_file(|site, path| async move {
        let a = site.member("a").await;
        let host = foreign_writer(&path).await;
        let wanted = agents(0..3);
        let (claimed, beat, ()) =
            tokio::join!(a.try_claim(1, &wanted), a.store.beat(a.id()), async {
                tokio::time::sleep(Duration::from_millis(400)).await;
                host.close().await.unwrap();
            });
        assert_eq!(claimed.grants.len(), 3);
        assert!(beat.unwrap().alive);
    })
    .await;
}

/// A file of a host's that is not in write-ahead logging yet, and is at work. SQLite's own waiting
/// does not cover a writer here.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_open_waits_for_the_host() {
    for work in ["BEGIN; SELECT count(*) FROM users", "BEGIN IMMEDIATE; DELETE FROM users"] {
        on_a_file(|site, path| async move {
            site.with_host_tables().await;
            let url = format!("sqlite:{}", path.display());
            let mut host = SqliteConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(work).execute(&mut host).await.unwrap();
            let store = store_at(&path, Duration::from_secs(20));
            let (migrated, ()) = tokio::join!(store.migrate(), async {
                tokio::time::sleep(Duration::from_millis(400)).await;
                host.close().await.unwrap();
            });
            assert!(migrated.unwrap().applied.len() >= 2);
            let mode = site.rows("PRAGMA journal_mode").await;
            assert_eq!(mode, [vec![Some("wal".to_owned())]]);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beat_that_was_given_up_leaves_the_heart_beating() {
    on_a_file(|site, path| async move {
        let (a, b) = (site.member("a").await, site.member("b").await);
        a.store.beat(a.id()).await.unwrap();
        let before = b.beat_of(&a).await;
        let host = foreign_writer(&path).await;
        for _ in 0..3 {
            let beat = timeout(Duration::from_millis(100), a.store.beat(a.id())).await;
            assert!(beat.is_err(), "the lock is held");
        }
        host.close().await.unwrap();
        assert!(a.store.beat(a.id()).await.unwrap().alive);
        assert!(b.beat_of(&a).await > before);
    })
    .await;
}

/// One process writes 400 session rows at once over a pool of four; the heartbeat takes its turn
/// after the one that is at it.
#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeat_overtakes_the_queue() {
    on_a_file(|site, _| async move {
        let a = Arc::new(site.member("a").await);
        let grants = a.try_claim(1, &agents(0..400)).await.grants;
        a.show(&agents(0..400)).await;
        a.store.beat(a.id()).await.unwrap();
        let written = Arc::new(AtomicUsize::new(0));
        let mut writers = JoinSet::new();
        for grant in &grants {
            let (a, fence, written) = (a.clone(), a.fence(grant), written.clone());
            writers.spawn(async move {
                a.store.update_session(&fence, &SessionUpdate::default()).await.unwrap();
                written.fetch_add(1, Ordering::SeqCst);
            });
        }
        while written.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let before = written.load(Ordering::SeqCst);
        assert!(a.store.beat(a.id()).await.unwrap().alive);
        let meanwhile = written.load(Ordering::SeqCst) - before;
        assert!(meanwhile < 100, "{meanwhile} writers went first");
        writers.join_all().await;
    })
    .await;
}

/// Readers that hold every connection of the pool do not hold up the heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_pool_does_not_delay_the_heartbeat() {
    on_a_file(|site, path| async move {
        let a = site.member("a").await;
        a.try_claim(1, &agents(0..2_000)).await;
        a.show(&agents(0..2_000)).await;
        let store = store_at(&path, Duration::from_secs(60));
        store.peers(a.id()).await.unwrap();
        let mut readers = JoinSet::new();
        let read = Arc::new(AtomicUsize::new(0));
        for _ in 0..300 {
            let (store, read) = (store.clone(), read.clone());
            readers.spawn(async move {
                store.sessions("nobody", SessionFilter::default()).await.unwrap();
                read.fetch_add(1, Ordering::SeqCst);
            });
        }
        while read.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let before = read.load(Ordering::SeqCst);
        assert!(store.beat(a.id()).await.unwrap().alive);
        let meanwhile = read.load(Ordering::SeqCst) - before;
        assert!(meanwhile < 150, "{meanwhile} readers went first");
        readers.abort_all();
    })
    .await;
}

/// Beats and session rows are written all the time and free nobody.
#[tokio::test(flavor = "multi_thread")]
async fn the_feed_sleeps_through_beats() {
    on_a_file(|site: Arc<Site>, _| async move {
        let (a, b) = (site.member("a").await, site.member("b").await);
        let grant = a.claim(1, &agent(1)).await;
        a.show(&[agent(1)]).await;
        let mut changes = b.store.changes().await.unwrap();
        let busy = async {
            loop {
                a.store.beat(a.id()).await.unwrap();
                a.store.update_session(&a.fence(&grant), &SessionUpdate::default()).await.unwrap();
            }
        };
        let woken = async {
            changes.changed().await;
            "woken"
        };
        let quiet = tokio::select! {
            never = busy => never,
            woken = woken => woken,
            () = tokio::time::sleep(Duration::from_millis(800)) => "quiet",
        };
        assert_eq!(quiet, "quiet");
    })
    .await;
}

/// Futures that are dropped at any moment leave neither a lock nor an open transaction behind.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_leaves_no_transaction_open() {
    on_a_file(|site, path| async move {
        let a = site.member("a").await;
        let grant = a.claim(1, &agent(1)).await;
        a.show(&[agent(1)]).await;
        let (fence, update) = (a.fence(&grant), SessionUpdate::default());
        for round in 0..200u64 {
            let moment = Duration::from_micros(round * 25);
            let write = async {
                tokio::join!(a.store.beat(a.id()), a.store.update_session(&fence, &update))
            };
            let _ = timeout(moment, write).await;
        }
        let asked = Instant::now();
        drop(foreign_writer(&path).await);
        a.store.update_session(&fence, &update).await.unwrap();
        assert!(a.store.beat(a.id()).await.unwrap().alive);
        assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    })
    .await;
}

//! Rows that somebody else is holding.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baileys_guard::error::Error;
use baileys_guard::store::{Death, SessionFilter, SessionUpdate, Written};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::JoinSet;

use crate::conformance::{Site, agent, agents};
use crate::database::connect;
use crate::on_a_database;

/// Somebody in the middle of a transaction that began with this.
async fn holding(url: &str, sql: String) -> PgConnection {
    let mut somebody = connect(url).await;
    sqlx::raw_sql("BEGIN").execute(&mut somebody).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut somebody).await.unwrap();
    somebody
}

async fn lock_session(url: &str, agent_id: &str) -> PgConnection {
    let sql = format!("SELECT 1 FROM whatsapp_sessions WHERE agent_id = '{agent_id}' FOR UPDATE");
    holding(url, sql).await
}

const PROMPT: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_session_row_delays_nobody_else() {
    on_a_database(|site, url| async move {
        site.with_host_tables().await;
        let (a, b) = (site.member("a").await, site.member("b").await);
        for number in 0..20 {
            site.host_row(&agent(number), 1).await;
        }
        a.try_claim(1, &agents(0..20)).await;
        let somebody = lock_session(&url, &agent(7)).await;
        let began = Instant::now();

        a.show(&agents(0..20)).await;
        assert!(a.store.refresh_sessions(&a.me).await.unwrap().is_empty(), "locked is not gone");
        assert!(a.store.beat(a.id()).await.unwrap().alive);
        let shown = "SELECT count(*)::text FROM whatsapp_sessions WHERE instance_id = 'instance-a'";
        assert_eq!(site.value(shown).await.as_deref(), Some("19"));
        let grant = a.claim(2, &agent(7)).await;
        a.release(&grant).await;
        b.claim(1, &agent(7)).await;
        a.store.retire(a.id()).await.unwrap();
        assert_eq!(b.try_claim(2, &agents(0..20)).await.grants.len(), 20);
        assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());

        drop(somebody);
    })
    .await;
}

/// How many of our statements wait for a lock comes to this.
async fn until_waiting(site: &Site, number: usize) {
    let waiting = "SELECT count(*)::text FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while site.value(waiting).await != Some(number.to_string()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What the fence locks is what makes this so: a look alone, or a lock on the key, and the successor
/// would have its token before the last write of the old term is there to be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_waits_for_a_locked_row_and_a_takeover_for_the_write() {
    on_a_database(|site, url| async move {
        let (a, b) = (site.member("a").await, site.member("b").await);
        let grant = a.claim(1, &agent(1)).await;
        a.show(&[agent(1)]).await;
        let mut host = lock_session(&url, &agent(1)).await;
        b.bury(&a, Death::Silent).await;
        let write = async {
            let update =
                SessionUpdate { status: Some("connected".to_owned()), ..Default::default() };
            a.store.update_session(&a.fence(&grant), &update).await
        };
        let takeover = async {
            until_waiting(&site, 1).await;
            let taken = b.claim(1, &agent(1)).await;
            let sessions = b.store.sessions(b.id(), SessionFilter::default()).await.unwrap();
            assert_eq!(sessions[0].status.as_deref(), Some("connected"), "before, not after");
            taken
        };
        let release = async {
            until_waiting(&site, 2).await;
            sqlx::raw_sql("COMMIT").execute(&mut host).await.unwrap();
        };
        let (written, taken, ()) = tokio::join!(write, takeover, release);
        assert_eq!(written.unwrap(), Written::Done);
        assert!(taken.token > grant.token);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_deactivated_is_told_and_free_all_the_same() {
    on_a_database(|site, url| async move {
        let (a, b) = (site.member("a").await, site.member("b").await);
        let grant = a.claim(1, &agent(1)).await;
        a.show(&[agent(1)]).await;
        let somebody = lock_session(&url, &agent(1)).await;
        let began = Instant::now();
        let error = a.store.release(&[a.fence(&grant)], true).await.unwrap_err();
        assert!(matches!(error, Error::SessionRowRefused { .. }), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        b.claim(1, &agent(1)).await;
        drop(somebody);
    })
    .await;
}

/// The host writes all rows in one transaction, in the order that is not ours.
#[tokio::test(flavor = "multi_thread")]
async fn bulk_statements_and_a_hosts_bulk_writer_never_stop_each_other() {
    on_a_database(|site, url| async move {
        site.with_host_tables().await;
        site.member("first").await.store.close().await;
        for number in 0..60 {
            site.host_row(&agent(number), 1).await;
        }
        let database = site.value("SELECT current_database()::text").await.unwrap();
        site.execute(&format!("ALTER DATABASE {database} SET deadlock_timeout = '20ms'")).await;
        let done = Arc::new(AtomicBool::new(false));
        let host = {
            let (mut host, done) = (connect(&url).await, done.clone());
            tokio::spawn(async move {
                let backwards = "DO $$ DECLARE one record; BEGIN
                     FOR one IN SELECT id FROM whatsapp_sessions ORDER BY id DESC LOOP
                       UPDATE whatsapp_sessions SET updated_at = now() WHERE id = one.id;
                     END LOOP; END $$";
                while !done.load(Ordering::SeqCst) {
                    sqlx::raw_sql(backwards).execute(&mut host).await.expect("the host's own");
                }
            })
        };
        let mut bulk = JoinSet::new();
        for name in ["a", "b", "c"] {
            let member = site.member(name).await;
            bulk.spawn(async move {
                let mut order = agents(0..60);
                for round in 0..25 {
                    order.rotate_left(17);
                    let grants = member.try_claim(round, &order).await.grants;
                    let won: Vec<_> = grants.iter().map(|grant| grant.agent_id.clone()).collect();
                    member.show(&won).await;
                    member.store.refresh_sessions(&member.me).await.unwrap();
                    let fences: Vec<_> = grants.iter().rev().map(|g| member.fence(g)).collect();
                    let released = member.store.release(&fences, false).await.unwrap();
                    assert_eq!(released.len(), won.len());
                }
                member.store.close().await;
            });
        }
        bulk.join_all().await;
        done.store(true, Ordering::SeqCst);
        host.await.unwrap();
        // Who was stopped and tried again has told nobody but the server, at the latest as it ended.
        let others = "SELECT count(*)::text FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        while site.value(others).await.as_deref() != Some("0") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let deadlocks =
            format!("SELECT deadlocks::text FROM pg_stat_database WHERE datname = '{database}'");
        assert_eq!(site.value(&deadlocks).await.as_deref(), Some("0"));
    })
    .await;
}

/// A peer that is frozen in the middle of a transaction keeps its row locked. It cannot be buried
/// as long as it does, and we go on beating.
#[tokio::test(flavor = "multi_thread")]
async fn a_burial_that_has_to_wait_does_not_hold_up_the_heartbeat() {
    on_a_database(|site, url| async move {
        let (a, b) = (site.member("a").await, site.member("b").await);
        let watched = b.beat_of(&a).await;
        let sql = format!(
            "UPDATE baileys_guard_instance SET beat = beat + 1 WHERE incarnation = '{}'",
            a.id()
        );
        let mut frozen = holding(&url, sql).await;
        let began = Instant::now();
        let buried = b.store.bury(a.id(), watched, Death::Silent).await;
        assert!(!buried.unwrap());
        assert!(b.store.beat(b.id()).await.unwrap().alive);
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());

        sqlx::raw_sql("ROLLBACK").execute(&mut frozen).await.unwrap();
        assert!(b.store.bury(a.id(), watched, Death::Silent).await.unwrap());
    })
    .await;
}

/// The host's rows are referenced by rows of its other tables, which lock them by key.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_others_refer_to_is_still_shown() {
    on_a_database(|site, url| async move {
        let a = site.member("a").await;
        a.claim(1, &agent(1)).await;
        a.show(&[agent(1)]).await;
        site.execute("UPDATE whatsapp_sessions SET last_heartbeat = NULL").await;
        let key = format!(
            "SELECT 1 FROM whatsapp_sessions WHERE agent_id = '{}' FOR KEY SHARE",
            agent(1)
        );
        let referring = holding(&url, key).await;
        a.store.refresh_sessions(&a.me).await.unwrap();
        drop(referring);
        let beating = "SELECT (last_heartbeat IS NOT NULL)::text FROM whatsapp_sessions";
        assert_eq!(site.value(beating).await.as_deref(), Some("true"));
    })
    .await;
}

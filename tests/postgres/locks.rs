//! Rows that somebody else is holding.

use std::time::{Duration, Instant};

use baileys_guard::error::Error;
use baileys_guard::store::{Death, SessionFilter, SessionUpdate, Written};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::JoinSet;
use tokio::time::timeout;

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
        let work = async {
            a.show(&agents(0..20)).await;
            let gone = a.store.refresh_sessions(&a.me).await.unwrap();
            assert!(gone.is_empty(), "locked is not gone");
            assert!(a.store.beat(a.id()).await.unwrap().alive);
            let shown =
                "SELECT count(*)::text FROM whatsapp_sessions WHERE instance_id = 'instance-a'";
            assert_eq!(site.value(shown).await.as_deref(), Some("19"));
            let grant = a.claim(2, &agent(7)).await;
            a.release(&grant).await;
            b.claim(1, &agent(7)).await;
            a.store.retire(a.id()).await.unwrap();
            assert_eq!(b.try_claim(2, &agents(0..20)).await.grants.len(), 20);
        };
        tokio::select! {
            () = work => {}
            () = until_waiting(&site, 1) => panic!("one of them waits for the row"),
        }
        drop(somebody);
    })
    .await;
}

/// Bulk statements of ours, at once and in all orders, beside a host that writes many rows in an order
/// of its own. The server counts every deadlock, also one whose victim was tried again.
#[tokio::test(flavor = "multi_thread")]
async fn bulk_statements_deadlock_with_nobody() {
    on_a_database(|site, url| async move {
        site.with_host_tables().await;
        for number in 0..60 {
            site.host_row(&agent(number), 1).await;
        }
        let mut work = JoinSet::new();
        for name in ["a", "b", "c"] {
            let member = site.member(name).await;
            work.spawn(async move {
                for seq in 1..=15 {
                    let mut wanted = agents(0..60);
                    wanted.rotate_left(seq as usize * 7 % 60);
                    if seq % 2 == 0 {
                        wanted.reverse();
                    }
                    let grants = member.try_claim(seq, &wanted).await.grants;
                    let names: Vec<_> = grants.iter().map(|grant| grant.agent_id.clone()).collect();
                    let shown = member.show(&names);
                    let refreshed = member.store.refresh_sessions(&member.me);
                    let ((), refreshed) = tokio::join!(shown, refreshed);
                    refreshed.unwrap();
                    let mut held: Vec<_> = grants.iter().map(|grant| member.fence(grant)).collect();
                    held.reverse();
                    member.store.release(&held, false).await.unwrap();
                }
                member.store.retire(member.id()).await.unwrap();
                member.store.close().await;
            });
        }
        for order in ["ASC", "DESC"] {
            let mut host = connect(&url).await;
            work.spawn(async move {
                let sql = format!(
                    "UPDATE whatsapp_sessions s SET qr_code = 'new' FROM (
                       SELECT id, pg_sleep(0.001) FROM whatsapp_sessions ORDER BY agent_id {order}
                          FOR UPDATE) AS locked WHERE s.id = locked.id"
                );
                // One of the two at a time: what they do to each other is not ours.
                for _ in 0..10 {
                    let gate = "SELECT pg_advisory_lock(1)";
                    sqlx::raw_sql(gate).execute(&mut host).await.unwrap();
                    sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut host).await.unwrap();
                    let gate = "SELECT pg_advisory_unlock(1)";
                    sqlx::raw_sql(gate).execute(&mut host).await.unwrap();
                }
            });
        }
        while let Some(ended) = work.join_next().await {
            ended.unwrap();
        }
        // A backend hands in its counts when it ends.
        let others = "SELECT count(*)::text FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let all_ended = async { while site.value(others).await.as_deref() != Some("0") {} };
        timeout(Duration::from_secs(30), all_ended).await.expect("somebody is still connected");
        let deadlocks = "SELECT deadlocks::text FROM pg_stat_database
                          WHERE datname = current_database()";
        assert_eq!(site.value(deadlocks).await.as_deref(), Some("0"));
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
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
        b.claim(1, &agent(1)).await;
        drop(somebody);
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
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());

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

//! Settings of the server, the database or the role that change what a statement means.

use std::time::Duration;

use baileys_guard::store::{Death, SessionFilter};
use tokio::task::JoinSet;

use crate::conformance::{Site, USER, agent, agents};
use crate::on_a_database;

/// From the next connection on.
async fn set(site: &Site, setting: &str) {
    let name = site.value("SELECT current_database()::text").await.unwrap();
    site.execute(&format!("ALTER DATABASE {name} SET {setting}")).await;
}

/// Under these levels a statement that met a concurrent one fails instead of deciding again.
#[tokio::test(flavor = "multi_thread")]
async fn the_default_isolation_level_changes_nothing() {
    for level in ["repeatable read", "serializable"] {
        on_a_database(|site, _| async move {
            site.member("first").await.store.close().await;
            set(&site, &format!("default_transaction_isolation = '{level}'")).await;
            let mut claims = JoinSet::new();
            for name in ["a", "b", "c", "d"] {
                let member = site.member(name).await;
                claims.spawn(async move {
                    let mut won = 0;
                    for round in 0..10 {
                        let claimed = member.try_claim(round, &agents(0..60)).await;
                        won += claimed.grants.len();
                        for grant in &claimed.grants {
                            member.store.beat(member.id()).await.unwrap();
                            member.release(grant).await;
                        }
                    }
                    won
                });
            }
            let won = claims.join_all().await;
            assert!(won.iter().sum::<usize>() >= 60, "{level}: {won:?}");
        })
        .await;
    }
}

/// Times without zone hold UTC, wherever server and session believe to be, and times with zone
/// are what they are.
#[tokio::test(flavor = "multi_thread")]
async fn time_zones_change_nothing() {
    for zone in ["America/New_York", "Asia/Karachi"] {
        for hosts_own in [true, false] {
            on_a_database(|site, _| async move {
                if hosts_own {
                    site.with_hosts_own_008().await;
                }
                set(&site, &format!("timezone = '{zone}'")).await;
                let (a, b) = (site.member("a").await, site.member("b").await);
                a.claim(1, &agent(1)).await;
                a.store.show(&a.me, &[agent(1)], Some(USER)).await.unwrap();
                a.store.refresh_sessions(&a.me).await.unwrap();
                let utc = "SELECT (abs(extract(epoch FROM last_heartbeat)
                             - extract(epoch FROM clock_timestamp())) < 5)::text FROM whatsapp_sessions";
                assert_eq!(site.value(utc).await.as_deref(), Some("true"), "{zone}");
                let utc = utc.replace("last_heartbeat", "instance_started_at");
                assert_eq!(site.value(&utc).await.as_deref(), Some("true"), "{zone}");

                let owner = b.store.owners(&[agent(1)]).await.unwrap().remove(0).info;
                assert!(owner.heartbeat_age < Duration::from_secs(5), "{zone}: {owner:?}");
                let listed = b.store.sessions(b.id(), SessionFilter::default()).await.unwrap();
                assert_eq!(listed[0].owner.as_ref().map(|owner| owner.token), Some(owner.token));
                b.bury(&a, Death::Silent).await;
                b.claim(1, &agent(1)).await;
            })
            .await;
        }
    }
}

/// A server that was read-only when we connected, as a standby is before it is promoted, and one
/// that we were connected to when it became one.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_a_standby_is_given_up() {
    on_a_database(|site, _| async move {
        site.member("first").await.store.close().await;
        let a = site.store();
        let me = crate::conformance::registration("a");
        set(&site, "default_transaction_read_only = on").await;
        let error = a.beat("nobody").await.unwrap_err();
        assert_eq!(error.code(), "ERR_DATABASE_UNAVAILABLE");
        for _ in 0..4 {
            let error = a.register(&me).await.unwrap_err();
            assert_eq!(error.code(), "ERR_DATABASE_UNAVAILABLE", "{error}");
        }
        let name = site.value("SELECT current_database()::text").await.unwrap();
        site.execute(&format!(
            "BEGIN READ WRITE;
             ALTER DATABASE {name} RESET default_transaction_read_only;
             COMMIT"
        ))
        .await;
        for _ in 0..4 {
            a.register(&me).await.unwrap();
        }
        assert!(a.beat(&me.incarnation).await.unwrap().alive);
    })
    .await;
}

/// A crash keeps what these have answered, even where the server answers before it writes: what
/// counts is the setting at commit. A stronger one of the server's stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_decides_is_durable_where_the_server_is_not() {
    for (setting, expected) in [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")] {
        on_a_database(|site, _| async move {
            site.member("first").await.store.close().await;
            set(&site, &format!("synchronous_commit = {setting}")).await;
            site.execute(
                "CREATE TABLE commits (what text, setting text);
                 CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   INSERT INTO commits VALUES (TG_ARGV[0], current_setting('synchronous_commit'));
                   RETURN NULL;
                 END $$;
                 CREATE CONSTRAINT TRIGGER note AFTER INSERT OR UPDATE ON baileys_guard_lease
                   DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note('claim');
                 CREATE CONSTRAINT TRIGGER note AFTER INSERT ON baileys_guard_instance
                   DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note('register');
                 CREATE CONSTRAINT TRIGGER dead AFTER UPDATE ON baileys_guard_instance
                   DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
                   WHEN (NEW.dead_at IS NOT NULL) EXECUTE FUNCTION note('dead')",
            )
            .await;
            let (a, b) = (site.member("a").await, site.member("b").await);
            a.claim(1, &agent(1)).await;
            a.claim(2, &agent(1)).await;
            b.bury(&a, Death::Silent).await;
            b.store.retire(b.id()).await.unwrap();
            let commits = site.rows("SELECT what, setting FROM commits ORDER BY 1").await;
            let expected = ["claim", "claim", "dead", "dead", "register", "register"]
                .map(|what| vec![Some(what.to_owned()), Some(expected.to_owned())]);
            assert_eq!(commits, expected, "{setting}");
        })
        .await;
    }
}

/// Not even a lock is left on the owner's row.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_claim_touches_no_row() {
    on_a_database(|site, _| async move {
        let (a, b) = (site.member("a").await, site.member("b").await);
        a.try_claim(1, &agents(0..100)).await;
        site.execute("VACUUM (FREEZE, ANALYZE)").await; // so that reading sets no hint bits
        let versions =
            "SELECT string_agg(xmin::text || ctid::text || xmax::text, ' ' ORDER BY agent_id)
                          FROM baileys_guard_lease";
        let before = site.value(versions).await;
        let refused = b.try_claim(1, &agents(0..100)).await;
        assert!(refused.grants.is_empty());
        assert_eq!(site.value(versions).await, before);
    })
    .await;
}

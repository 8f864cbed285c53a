//! Migrations, and what they leave alone.

use std::time::Duration;

use baileys_guard::error::{Error, Result};
use baileys_guard::store::{Death, Fence, SessionFilter, SessionUpdate};
use tokio::task::JoinSet;

use super::{Site, USER, agent, registration};

/// Every call that needs our tables says how to get them.
async fn nothing_works(site: &Site) {
    fn refused<T>(call: &str, answer: Result<T>) {
        let error = answer.err();
        assert!(matches!(error, Some(Error::MigrationRequired)), "{call}: {error:?}");
    }
    let store = site.store();
    let me = registration("a");
    let fence = Fence { incarnation: "x".to_owned(), agent_id: agent(1), token: 1 };
    let one = [agent(1)];
    refused("register", store.register(&me).await);
    refused("beat", store.beat("x").await);
    refused("peers", store.peers("x").await);
    refused("bury", store.bury("x", 1, Death::Gone).await);
    refused("retire", store.retire("x").await);
    refused("claim", store.claim("x", 1, &one).await);
    refused("owners", store.owners(&one).await);
    refused("leases", store.leases("x").await);
    refused("release", store.release(std::slice::from_ref(&fence), false).await);
    refused("free", store.free().await);
    refused("show", store.show(&me, &one, Some(USER)).await);
    refused("refresh", store.refresh_sessions(&me).await);
    refused("update", store.update_session(&fence, &SessionUpdate::default()).await);
    refused("sessions", store.sessions("x", SessionFilter::default()).await);
    refused("ping", store.ping().await);
    store.close().await;
}

pub async fn nothing_works_before_migration(site: &Site) {
    nothing_works(site).await;
    site.with_host_tables().await;
    nothing_works(site).await;
}

pub async fn an_empty_database_gets_the_table(site: &Site) {
    let store = site.store();
    let migrated = store.migrate().await.unwrap();
    assert!(migrated.applied.contains(&"008_add_instance_tracking.sql".to_owned()));
    assert!(migrated.applied.is_sorted());
    assert!(migrated.duplicates.is_empty());
    assert_eq!(store.canonical_agent(&agent(1)).await.unwrap(), agent(1));
    site.execute(&format!(
        "INSERT INTO whatsapp_sessions (agent_id, user_id, phone_number) VALUES ('{}', '{USER}', '49')",
        agent(1)
    ))
    .await;
    let rows = site.rows("SELECT CAST(id AS TEXT), status FROM whatsapp_sessions").await;
    assert_eq!(rows[0][0].as_ref().map(String::len), Some(36));
    assert_eq!(rows[0][1].as_deref(), Some("disconnected"));
}

pub async fn a_ping_takes_a_connection_and_gives_it_back(site: &Site) {
    let store = site.store();
    store.migrate().await.unwrap();
    let before = store.pool_state();
    assert!(before.max > 0);
    store.ping().await.unwrap();
    // It goes back in the background.
    let idle = async {
        loop {
            let state = store.pool_state();
            assert!(state.size <= state.max, "{state:?}");
            if state.size > 0 && state.idle == state.size {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), idle).await.expect("a ping keeps its connection");
    store.close().await;
    assert!(matches!(store.ping().await, Err(Error::DatabaseUnavailable { .. } | Error::ShutDown)));
}

pub async fn migrating_twice_changes_nothing(site: &Site) {
    let store = site.store();
    let first = store.migrate().await.unwrap();
    assert!(first.applied.len() >= 2);
    let shape = site.shape().await;
    let again = store.migrate().await.unwrap();
    assert!(again.applied.is_empty(), "{:?}", again.applied);
    assert_eq!(site.shape().await, shape);
}

pub async fn a_diagnosis_tells_and_changes_nothing(site: &Site) {
    let store = site.store();
    let applied = async || {
        let found = store.diagnose().await.unwrap();
        let there = found.migrations.into_iter().filter(|(_, there)| *there);
        there.map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert!(applied().await.is_empty());
    site.with_host_tables().await;
    for age in [1, 2] {
        site.host_row(&agent(1), age).await;
    }
    let shape = site.shape().await;
    assert!(applied().await.is_empty());
    assert_eq!(site.shape().await, shape);

    let migrated = store.migrate().await.unwrap();
    assert_eq!(applied().await, migrated.applied);
    let found = store.diagnose().await.unwrap();
    assert_eq!(found.duplicates, [(agent(1), 2)]);
    assert!(found.unknown_migrations.is_empty());

    site.execute("DROP TABLE baileys_guard_resumer").await;
    site.execute("INSERT INTO baileys_guard_migration (name) VALUES ('999_later.sql')").await;
    assert_eq!(applied().await, migrated.applied[..migrated.applied.len() - 1]);
    assert_eq!(store.diagnose().await.unwrap().unknown_migrations, ["999_later.sql"]);
}

pub async fn several_migrate_at_once(site: &Site) {
    site.with_host_tables().await;
    let mut all = JoinSet::new();
    for _ in 0..6 {
        let store = site.store();
        all.spawn(async move {
            let migrated = store.migrate().await;
            store.close().await;
            migrated
        });
    }
    let mut applied = Vec::new();
    for migrated in all.join_all().await {
        applied.extend(migrated.unwrap().applied);
    }
    let count = applied.len();
    applied.sort();
    applied.dedup();
    assert_eq!(applied.len(), count, "each was applied by one of them");
    assert!(count >= 2);
    site.member("a").await.claim(1, &agent(1)).await;
}

pub async fn a_host_keeps_its_rows(site: &Site) {
    site.with_host_tables().await;
    site.host_row(&agent(1), 1).await;
    site.host_row(&agent(1), 2).await;
    site.host_row(&agent(1), 3).await;
    site.host_row(&agent(2), 1).await;
    site.host_row(&agent(3), 1).await;
    site.host_row(&agent(3), 2).await;
    let host = "SELECT CAST(id AS TEXT), CAST(user_id AS TEXT), CAST(agent_id AS TEXT), \
                phone_number, CAST(is_active AS TEXT), CAST(created_at AS TEXT) \
                FROM whatsapp_sessions ORDER BY 1";
    let before = site.rows(host).await;
    let store = site.store();
    let migrated = store.migrate().await.unwrap();
    assert_eq!(migrated.duplicates, [(agent(1), 3), (agent(3), 2)]);
    assert_eq!(site.rows(host).await, before);
    let again = store.migrate().await.unwrap();
    assert_eq!(again.duplicates, migrated.duplicates, "told every time");
    site.host_row(&agent(2), 5).await;
    site.host_row(&agent(9), 5).await;
}

pub async fn a_host_that_has_migrated_itself_is_accepted(site: &Site) {
    site.with_hosts_own_008().await;
    site.host_row(&agent(1), 1).await;
    let a = site.member("a").await;
    a.claim(1, &agent(1)).await;
    a.store.show(&a.me, &[agent(1)], None).await.unwrap();
    let query = "SELECT instance_id FROM whatsapp_sessions WHERE is_active = true";
    assert_eq!(site.value(query).await.as_deref(), Some("instance-a"));
    assert_eq!(a.store.refresh_sessions(&a.me).await.unwrap(), Vec::<String>::new());
    let owner = &a.store.sessions(a.id(), SessionFilter::default()).await.unwrap()[0].owner;
    assert!(owner.is_some());
}

pub async fn a_rollback_restores_the_hosts_table(site: &Site) {
    site.with_host_tables().await;
    site.host_row(&agent(1), 1).await;
    let shape = site.shape().await;
    let a = site.member("a").await;
    assert_ne!(site.shape().await, shape);
    a.claim(1, &agent(1)).await;
    a.show(&[agent(1)]).await;
    let undone = a.store.rollback().await.unwrap();
    assert!(undone.contains(&"008_add_instance_tracking.sql".to_owned()));
    assert_eq!(site.shape().await, shape);
    let rows = site.rows("SELECT CAST(agent_id AS TEXT) FROM whatsapp_sessions").await;
    assert_eq!(rows, [vec![Some(agent(1))]]);
    nothing_works(site).await;

    let again = a.store.migrate().await.unwrap();
    assert_eq!(again.applied.len(), undone.len());
    site.member("b").await.claim(1, &agent(1)).await;
}

pub async fn a_rollback_leaves_the_hosts_own_columns(site: &Site) {
    site.with_hosts_own_008().await;
    let shape = site.shape().await;
    let store = site.store();
    store.migrate().await.unwrap();
    store.rollback().await.unwrap();
    assert_eq!(site.shape().await, shape);
}

pub async fn a_table_of_ours_that_is_used_survives_a_rollback(site: &Site) {
    let a = site.member("a").await;
    a.store.rollback().await.unwrap();
    assert!(site.shape().await.is_empty(), "an empty table of ours goes");

    let a = site.member("a").await;
    a.claim(1, &agent(1)).await;
    a.show(&[agent(1)]).await;
    a.store.rollback().await.unwrap();
    let rows = site.rows("SELECT CAST(agent_id AS TEXT) FROM whatsapp_sessions").await;
    assert_eq!(rows, [vec![Some(agent(1))]], "rows are never dropped");
    nothing_works_without_our_tables(site).await;
}

/// The session table is there, so only what decides is missing.
async fn nothing_works_without_our_tables(site: &Site) {
    let store = site.store();
    let error = store.register(&registration("b")).await.unwrap_err();
    assert!(matches!(error, Error::MigrationRequired), "{error:?}");
}

pub async fn a_rollback_of_nothing_does_nothing(site: &Site) {
    assert!(site.store().rollback().await.unwrap().is_empty());
    site.with_hosts_own_008().await;
    let shape = site.shape().await;
    assert!(site.store().rollback().await.unwrap().is_empty());
    assert_eq!(site.shape().await, shape);
}

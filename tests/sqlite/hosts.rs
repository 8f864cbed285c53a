//! Hosts that declare their columns as they like, and that guard their table with triggers.

use baileys_guard::error::Error;
use baileys_guard::store::{SessionFilter, SessionUpdate, Written};

use crate::conformance::{Site, agent, agents};
use crate::on_a_file;

async fn with_numbers(site: &Site) {
    site.execute(
        "CREATE TABLE whatsapp_sessions (
           id INTEGER PRIMARY KEY AUTOINCREMENT,
           user_id INTEGER NOT NULL,
           agent_id INTEGER,
           is_active INTEGER,
           last_connected INTEGER,
           last_heartbeat BIGINT,
           created_at INTEGER,
           updated_at INTEGER
         );
         INSERT INTO whatsapp_sessions (user_id, agent_id, is_active, created_at)
         VALUES (5, 7, 1, 1700000000000), (5, 7, 0, 1600000000000)",
    )
    .await;
}

#[tokio::test]
async fn numbers_for_ids_and_times() {
    on_a_file(|site, _| async move {
        with_numbers(&site).await;
        let a = site.member("a").await;
        for (given, canonical) in [("7", "7"), ("007", "7"), ("-3", "-3"), ("seven", "seven")] {
            assert_eq!(a.store.canonical_agent(given).await.unwrap(), canonical);
        }
        for given in ["1e5", "7.5", "99999999999999999999"] {
            let error = a.store.canonical_agent(given).await.unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { name: "agentId", .. }), "{error:?}");
        }

        let ids = ["7".to_owned(), "8".to_owned()];
        let grants = a.try_claim(1, &ids).await.grants;
        assert_eq!(grants.len(), 2);
        a.store.show(&a.me, &ids, Some("6")).await.unwrap();
        let update = SessionUpdate {
            status: Some("connected".to_owned()),
            last_connected_ms: Some(Some(1_700_000_000_123)),
            ..SessionUpdate::default()
        };
        for grant in &grants {
            let written = a.store.update_session(&a.fence(grant), &update).await.unwrap();
            assert_eq!(written, Written::Done);
        }
        let types = "SELECT DISTINCT typeof(agent_id) || typeof(user_id) || typeof(last_connected)
                       || typeof(last_heartbeat) || typeof(updated_at)
                       FROM whatsapp_sessions WHERE instance_id = 'instance-a'";
        assert_eq!(site.value(types).await, Some("integer".repeat(5)));

        let rows = a.store.sessions(a.id(), SessionFilter::default()).await.unwrap();
        let found: Vec<_> = rows.iter().map(|row| row.agent_id.as_str()).collect();
        assert_eq!(found, ["7", "8"]);
        for (row, user) in rows.iter().zip(["5", "6"]) {
            assert_eq!(row.user_id.as_deref(), Some(user));
            assert_eq!(row.last_connected_ms, Some(1_700_000_000_123));
            let updated = row.updated_at_ms.expect("a time");
            assert!(updated > 1_700_000_000_000, "milliseconds: {updated}");
            assert!(row.is_active && row.mine);
        }
        let newest = "SELECT CAST(created_at AS TEXT) FROM whatsapp_sessions
                       WHERE agent_id = 7 AND instance_id IS NOT NULL";
        assert_eq!(site.value(newest).await.as_deref(), Some("1700000000000"));
        assert_eq!(a.store.release(&[a.fence(&grants[0])], true).await.unwrap(), ["7"]);
        assert!(a.store.refresh_sessions(&a.me).await.unwrap().is_empty());
    })
    .await;
}

/// Two spellings of one agent would have an owner each, on one row.
#[tokio::test]
async fn an_agent_id_that_ignores_case_is_refused() {
    for collation in ["NOCASE", "RTRIM"] {
        on_a_file(|site, _| async move {
            site.execute(&format!(
                "CREATE TABLE whatsapp_sessions (id INTEGER PRIMARY KEY, agent_id TEXT COLLATE {collation})"
            ))
            .await;
            let error = site.store().migrate().await.unwrap_err();
            let Error::Database { cause, .. } = error else { panic!("{error:?}") };
            assert!(cause.contains("takes different text for equal"), "{cause}");
        })
        .await;
    }
}

#[tokio::test]
async fn times_in_different_spellings_are_compared_as_times() {
    on_a_file(|site, _| async move {
        site.with_host_tables().await;
        let a = site.member("a").await;
        let early = site.host_row(&agent(1), 3).await;
        let late = site.host_row(&agent(1), 3).await;
        for (id, time) in [(&early, "2024-01-25T08:00:00.000Z"), (&late, "2024-01-25 09:00:00")] {
            site.execute(&format!(
                "UPDATE whatsapp_sessions SET created_at = '{time}' WHERE id = '{id}'"
            ))
            .await;
        }
        a.claim(1, &agent(1)).await;
        a.show(&[agent(1)]).await;
        let shown = "SELECT id FROM whatsapp_sessions WHERE instance_id IS NOT NULL";
        assert_eq!(site.value(shown).await, Some(late));
    })
    .await;
}

#[tokio::test]
async fn a_trigger_that_forbids_does_not_stop_a_release() {
    on_a_file(|site, _| async move {
        let a = site.member("a").await;
        let grants = a.try_claim(1, &agents(0..2)).await.grants;
        a.show(&agents(0..2)).await;
        site.execute(
            "CREATE TRIGGER host BEFORE UPDATE ON whatsapp_sessions
             BEGIN SELECT RAISE(ABORT, 'the host says no'); END",
        )
        .await;
        let error = a.store.release(&[a.fence(&grants[0])], true).await.unwrap_err();
        let Error::SessionRowRefused { agent_id, cause } = error else { panic!("{error:?}") };
        assert_eq!((agent_id, cause.as_str()), (agent(0), "the host says no"));
        assert_eq!(a.store.leases(a.id()).await.unwrap(), [(agent(1), grants[1].token)]);

        let third = a.claim(1, &agent(2)).await;
        a.release(&third).await;
        a.store.retire(a.id()).await.unwrap();
        assert!(!a.store.beat(a.id()).await.unwrap().alive, "it has retired");
    })
    .await;
}

/// `RAISE(ROLLBACK)` ends our transaction behind the driver's back.
#[tokio::test]
async fn a_trigger_that_rolls_back_spoils_no_connection() {
    on_a_file(|site, _| async move {
        let a = site.member("a").await;
        let grant = a.claim(1, &agent(1)).await;
        a.show(&[agent(1)]).await;
        site.execute(
            "CREATE TRIGGER host BEFORE UPDATE OF status ON whatsapp_sessions
             BEGIN SELECT RAISE(ROLLBACK, 'the host says no'); END",
        )
        .await;
        let update = SessionUpdate { status: Some("error".to_owned()), ..Default::default() };
        for _ in 0..20 {
            let error = a.store.update_session(&a.fence(&grant), &update).await.unwrap_err();
            assert!(matches!(error, Error::SessionRowRefused { .. }), "{error:?}");
            let error = a.store.release(&[a.fence(&grant)], true).await.unwrap_err();
            assert!(!matches!(error, Error::DatabaseUnavailable { .. }), "{error:?}");
        }
        let still = a.store.leases(a.id()).await.unwrap();
        assert_eq!(still, [(agent(1), grant.token)], "the whole release was rolled back");
        a.release(&grant).await;
    })
    .await;
}

#[tokio::test]
async fn an_agent_id_that_sqlite_would_cut_is_refused() {
    on_a_file(|site, _| async move {
        let a = site.member("a").await;
        let error = a.store.canonical_agent("a\0b").await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { name: "agentId", .. }), "{error:?}");
        let odd = "O'Neil \"x\" \u{1F600} 00012";
        assert_eq!(a.store.canonical_agent(odd).await.unwrap(), odd);
        let grant = a.claim(1, odd).await;
        a.show(&[odd.to_owned()]).await;
        let sessions = a.store.sessions(a.id(), SessionFilter::default()).await.unwrap();
        assert_eq!(sessions[0].agent_id, odd);
        assert!(sessions[0].mine);
        a.release(&grant).await;
    })
    .await;
}

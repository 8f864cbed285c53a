//! Tables as hosts have them.

use baileys_guard::error::Error;
use baileys_guard::store::{SessionUpdate, Store, Written};
use std::time::Duration;

use crate::conformance::{Member, Site, USER, agent, agents, registration};
use crate::{on_a_database, store_at};

const CALL_TIMEOUT: Duration = Duration::from_secs(30);

fn status(status: &str) -> SessionUpdate {
    SessionUpdate { status: Some(status.to_owned()), ..SessionUpdate::default() }
}

/// The whole life of a claim on one agent.
async fn live(store: std::sync::Arc<dyn Store>, given: &str) {
    let me = registration("a");
    store.register(&me).await.unwrap();
    let a = Member { store, me };
    let agent = a.store.canonical_agent(given).await.unwrap();
    let grant = a.claim(1, &agent).await;
    a.show(std::slice::from_ref(&agent)).await;
    a.show(std::slice::from_ref(&agent)).await;
    assert!(a.store.refresh_sessions(&a.me).await.unwrap().is_empty());
    let written = a.store.update_session(&a.fence(&grant), &status("connected")).await.unwrap();
    assert_eq!(written, Written::Done);
    let listed = a.store.sessions(a.id(), Default::default()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].agent_id, listed[0].mine), (&agent, true));
    assert_eq!(a.store.release(&[a.fence(&grant)], true).await.unwrap(), [agent]);
    a.store.retire(a.id()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_id_is_of_any_type() {
    for (kind, given, canonical) in [
        ("text", "Agent One", "Agent One"),
        ("varchar(20)", "Agent Zwölf", "Agent Zwölf"),
        ("uuid", "0A0B0C0D000040008000000000000001", "0a0b0c0d-0000-4000-8000-000000000001"),
        ("bigint", "17", "17"),
        (
            "char(36)",
            "0a0b0c0d-0000-4000-8000-000000000001",
            "0a0b0c0d-0000-4000-8000-000000000001",
        ),
        ("char(36)", "Agent One", "Agent One"),
    ] {
        on_a_database(|site, url| async move {
            site.execute(&format!(
                "CREATE TABLE whatsapp_sessions (id bigserial PRIMARY KEY, agent_id {kind})"
            ))
            .await;
            let store = store_at(&url, CALL_TIMEOUT);
            store.migrate().await.unwrap();
            assert_eq!(store.canonical_agent(given).await.unwrap(), canonical, "{kind}");
            live(store, given).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_id_that_cannot_be_stored_is_named() {
    for (kind, given) in [
        ("varchar(5)", "sixsix"),
        ("char(5)", "sixsix"),
        ("uuid", "nobody"),
        ("text", "a\0b"),
        ("bigint", "seventeen"),
    ] {
        on_a_database(|site, url| async move {
            let columns = format!("id bigserial PRIMARY KEY, agent_id {kind}");
            site.execute(&format!("CREATE TABLE whatsapp_sessions ({columns})")).await;
            let store = store_at(&url, CALL_TIMEOUT);
            store.migrate().await.unwrap();
            let error = store.canonical_agent(given).await.unwrap_err();
            let Error::InvalidArgument { name: "agentId", .. } = error else {
                panic!("{kind}: {error:?}")
            };
        })
        .await;
    }
}

/// Two spellings of one agent would have an owner each, on one row.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_id_that_ignores_case_is_refused() {
    for (extra, kind) in [
        ("CREATE EXTENSION citext", "citext"),
        (
            "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
            "text COLLATE loose",
        ),
    ] {
        on_a_database(|site, url| async move {
            site.execute(extra).await;
            let columns = format!("id bigserial PRIMARY KEY, agent_id {kind}");
            site.execute(&format!("CREATE TABLE whatsapp_sessions ({columns})")).await;
            let store = store_at(&url, CALL_TIMEOUT);
            let error = store.migrate().await.unwrap_err();
            let Error::Database { cause, .. } = error else { panic!("{kind}: {error:?}") };
            assert!(cause.contains("takes different text for equal"), "{cause}");
        })
        .await;
    }
}

/// A host may keep its states in a type of its own, and number its users.
#[tokio::test(flavor = "multi_thread")]
async fn other_columns_are_of_the_hosts_own_types() {
    on_a_database(|site, url| async move {
        site.execute(
            "CREATE TYPE session_state AS ENUM ('disconnected', 'connecting', 'connected');
             CREATE DOMAIN agent AS text CHECK (value <> '');
             CREATE TABLE whatsapp_sessions (
               id bigserial PRIMARY KEY, user_id bigint NOT NULL, agent_id agent,
               status session_state NOT NULL DEFAULT 'disconnected',
               is_active boolean NOT NULL DEFAULT false,
               created_at timestamptz NOT NULL DEFAULT now())",
        )
        .await;
        let store = store_at(&url, CALL_TIMEOUT);
        store.migrate().await.unwrap();
        let me = registration("a");
        store.register(&me).await.unwrap();
        let a = Member { store, me };
        let grant = a.claim(1, "one").await;
        let one = ["one".to_owned()];
        let error = a.store.show(&a.me, &one, None).await.unwrap_err();
        assert!(matches!(error, Error::UserIdRequired { .. }), "{error:?}");
        let error = a.store.show(&a.me, &one, Some("nobody")).await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { name: "userId", .. }), "{error:?}");
        a.store.show(&a.me, &one, Some("7")).await.unwrap();
        let written = a.store.update_session(&a.fence(&grant), &status("connected")).await;
        assert_eq!(written.unwrap(), Written::Done);
        assert_eq!(a.store.release(&[a.fence(&grant)], true).await.unwrap(), one);
        let state = "SELECT status::text FROM whatsapp_sessions";
        assert_eq!(site.value(state).await.as_deref(), Some("disconnected"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_lives_in_a_schema_on_the_search_path() {
    on_a_database(|site, url| async move {
        site.execute("CREATE SCHEMA app; CREATE TABLE app.whatsapp_sessions (agent_id uuid)").await;
        let mark = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{mark}options=-csearch_path%3Dapp");
        let store = store_at(&url, CALL_TIMEOUT);
        store.migrate().await.unwrap();
        live(store.clone(), &agent(1)).await;
        let elsewhere =
            "SELECT count(*)::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
            WHERE nspname = 'public' AND relkind = 'r'";
        assert_eq!(site.value(elsewhere).await.as_deref(), Some("0"));
        store.rollback().await.unwrap();
        let left = "SELECT string_agg(attname, ',')::text FROM pg_attribute
            WHERE attrelid = 'app.whatsapp_sessions'::regclass AND attnum > 0 AND NOT attisdropped";
        assert_eq!(site.value(left).await.as_deref(), Some("agent_id"));
    })
    .await;
}

/// Of many new rows the host's table refuses one: the others are there.
#[tokio::test(flavor = "multi_thread")]
async fn one_refused_row_keeps_no_other_from_being_shown() {
    on_a_database(|site, _| async move {
        site.with_host_tables().await;
        site.execute(&format!(
            "ALTER TABLE whatsapp_sessions ADD CONSTRAINT known CHECK (agent_id <> '{}')",
            agent(3)
        ))
        .await;
        let a = site.member("a").await;
        a.try_claim(1, &agents(0..6)).await;
        let error = a.store.show(&a.me, &agents(0..6), Some(USER)).await.unwrap_err();
        let Error::SessionRowRefused { agent_id, cause } = error else { panic!("{error:?}") };
        assert_eq!(agent_id, agent(3));
        assert!(cause.contains("known"), "{cause}");
        assert_eq!(a.store.refresh_sessions(&a.me).await.unwrap(), [agent(3)]);
    })
    .await;
}

/// The host migrates while we run.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_changes_its_type_is_looked_at_again() {
    on_a_database(|site, url| async move {
        site.execute("CREATE TABLE whatsapp_sessions (id bigserial PRIMARY KEY, agent_id text)")
            .await;
        let store = store_at(&url, CALL_TIMEOUT);
        store.migrate().await.unwrap();
        live(store.clone(), &agent(1)).await;
        site.execute(
            "ALTER TABLE whatsapp_sessions ALTER COLUMN agent_id TYPE uuid USING agent_id::uuid,
               ALTER COLUMN last_heartbeat TYPE timestamptz",
        )
        .await;
        live_again(&site, store).await;
    })
    .await;
}

/// What fails at the first try, on a table looked at before, works at the next.
async fn live_again(site: &Site, store: std::sync::Arc<dyn Store>) {
    let me = registration("b");
    store.register(&me).await.unwrap();
    let b = Member { store, me };
    let grant = b.claim(1, &agent(1)).await;
    let _ = b.store.show(&b.me, &[agent(1)], None).await;
    b.store.show(&b.me, &[agent(1)], None).await.unwrap();
    assert!(b.store.refresh_sessions(&b.me).await.unwrap().is_empty());
    let written = b.store.update_session(&b.fence(&grant), &status("connecting")).await.unwrap();
    assert_eq!(written, Written::Done);
    let shown = "SELECT instance_id::text FROM whatsapp_sessions";
    assert_eq!(site.value(shown).await.as_deref(), Some("instance-b"));
}

//! A transaction-mode pooler in between. `TEST_PGBOUNCER_URL` names one in front of the server of
//! `TEST_DATABASE_URL`, with three connections to it; `npm test` starts it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baileys_guard::store::{Death, SessionUpdate, Written};
use tokio::task::JoinSet;

use crate::conformance::{Member, Site, USER, agent, agents, registration};
use crate::network::Network;
use crate::{on_a_database, store_at};

const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a test on a database of its own, whose URL by way of the pooler it is given as well.
async fn through_a_pooler<F, Fut>(case: F)
where
    F: FnOnce(Arc<Site>, String) -> Fut,
    Fut: Future<Output = ()>,
{
    let Ok(pooler) = std::env::var("TEST_PGBOUNCER_URL") else {
        println!("SKIPPED: TEST_PGBOUNCER_URL names no pooler");
        return;
    };
    on_a_database(|site, url| {
        let name = url.rsplit('/').next().expect("a database").split('?').next().unwrap();
        let start = pooler.find("://").map_or(0, |at| at + 3);
        let end = pooler[start..].find('/').map_or(pooler.len(), |at| start + at);
        case(site, format!("{}/{name}", &pooler[..end]))
    })
    .await;
}

async fn member_at(url: &str, name: &str, call_timeout: Duration) -> Member {
    let store = store_at(url, call_timeout);
    let me = registration(name);
    store.register(&me).await.unwrap();
    Member { store, me }
}

/// Without a transaction around each statement, most of these would run another one with these
/// parameters, and say that all was well.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_one_to_its_question() {
    through_a_pooler(|site, url| async move {
        store_at(&url, CALL_TIMEOUT).migrate().await.unwrap();
        let mut clients = JoinSet::new();
        for client in 0..8 {
            let url = url.clone();
            clients.spawn(async move {
                let a = member_at(&url, &format!("c{client}"), CALL_TIMEOUT).await;
                let own = agents(client * 25..(client + 1) * 25);
                let claimed = a.try_claim(1, &own).await;
                assert_eq!(claimed.grants.len(), 25);
                a.store.show(&a.me, &own, Some(USER)).await.unwrap();
                for round in 0..8 {
                    for grant in &claimed.grants {
                        let said = format!("{}:{round}", grant.agent_id);
                        let update =
                            SessionUpdate { qr_code: Some(Some(said)), ..Default::default() };
                        let written = a.store.update_session(&a.fence(grant), &update).await;
                        assert_eq!(written.unwrap(), Written::Done);
                        let asked = std::slice::from_ref(&grant.agent_id);
                        let owner = a.store.owners(asked).await.unwrap().remove(0);
                        assert_eq!(owner.info.token, grant.token);
                        assert_eq!(owner.peer.incarnation, a.id());
                    }
                    let beat = a.store.beat(a.id()).await.unwrap();
                    assert!(beat.alive);
                    assert_eq!(beat.held, 25);
                }
                a.store.close().await;
            });
        }
        clients.join_all().await;
        let wrong = "SELECT count(*)::text FROM whatsapp_sessions
             WHERE qr_code IS DISTINCT FROM agent_id || ':7'";
        assert_eq!(site.value(wrong).await.as_deref(), Some("0"));
        let all = "SELECT count(*)::text FROM whatsapp_sessions";
        assert_eq!(site.value(all).await.as_deref(), Some("200"));
    })
    .await;
}

/// However busy the pooler is when we look, and however it hands its connections out: one store
/// that took it for a server would be enough to see statements mixed up.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_pooler_is_found_out_every_time() {
    through_a_pooler(|_, url| async move {
        store_at(&url, CALL_TIMEOUT).migrate().await.unwrap();
        let mut clients = JoinSet::new();
        for client in 0..8 {
            let url = url.clone();
            clients.spawn(async move {
                for round in 0..10 {
                    let a = member_at(&url, &format!("{client}.{round}"), CALL_TIMEOUT).await;
                    let agent = agent(client * 100 + round);
                    let grant = a.claim(1, &agent).await;
                    assert_eq!(grant.agent_id, agent);
                    assert_eq!(a.store.leases(a.id()).await.unwrap(), [(agent, grant.token)]);
                    a.release(&grant).await;
                    let feed = a.store.changes().await.unwrap();
                    drop(feed);
                    a.store.close().await;
                }
            });
        }
        clients.join_all().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_that_want_the_same_agents_have_one_winner_each() {
    through_a_pooler(|_, url| async move {
        store_at(&url, CALL_TIMEOUT).migrate().await.unwrap();
        let mut claims = JoinSet::new();
        for name in ["a", "b", "c", "d"] {
            let member = member_at(&url, name, CALL_TIMEOUT).await;
            claims.spawn(async move { member.try_claim(1, &agents(0..500)).await.grants });
        }
        let grants = claims.join_all().await.concat();
        assert_eq!(crate::conformance::by_agent(&grants).len(), 500);
    })
    .await;
}

/// The transaction around a statement takes two round trips, and a process can be frozen between
/// them. Its rows must not stay locked, or nobody could ever bury it.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_frozen_before_its_commit_is_buried() {
    through_a_pooler(|site, url| async move {
        let b = site.member("b").await;
        let network = Network::to(&url).await;
        let a = member_at(&network.url(&url), "a", Duration::from_secs(3)).await;
        let grant = a.claim(1, &agent(1)).await;
        a.store.beat(a.id()).await.unwrap();
        let watched = b.beat_of(&a).await;
        network.fall_silent_before(b"COMMIT");
        let frozen = {
            let (store, id) = (a.store.clone(), a.id().to_owned());
            tokio::spawn(async move { store.beat(&id).await.map(|beat| beat.alive) })
        };
        while !network.fell_silent() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let began = Instant::now();
        while !b.store.bury(a.id(), watched, Death::Silent).await.unwrap() {
            assert!(began.elapsed() < Duration::from_secs(25), "its row stays locked");
            assert!(b.store.beat(b.id()).await.unwrap().alive);
        }
        assert!(b.claim(1, &agent(1)).await.token > grant.token);
        frozen.abort();
    })
    .await;
}

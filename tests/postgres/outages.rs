//! Connections that die, loudly or in silence.

use std::time::{Duration, Instant};

use baileys_guard::store::Death;
use tokio::time::timeout;

use crate::conformance::{Member, Site, agent, agents, registration};
use crate::network::Network;
use crate::{on_a_database, store_at};

const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A member whose connections go by way of a network.
async fn member_by(network: &Network, site: &Site, url: &str) -> Member {
    site.member("first").await.store.close().await;
    let store = store_at(&network.url(url), CALL_TIMEOUT);
    let me = registration("a");
    store.register(&me).await.unwrap();
    Member { store, me }
}

/// Fills the pool: four calls at once, on four connections.
async fn warm(member: &Member) {
    let call = || member.store.leases(member.id());
    let (a, b, c, d) = tokio::join!(call(), call(), call(), call());
    for answer in [a, b, c, d] {
        answer.unwrap();
    }
    member.store.beat(member.id()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_a_firewall_forgot_cost_seconds() {
    on_a_database(|site, url| async move {
        let network = Network::to(&url).await;
        let a = member_by(&network, &site, &url).await;
        warm(&a).await;
        network.forget_connections();
        tokio::time::sleep(Duration::from_millis(1500)).await; // idle, as at night
        let began = Instant::now();
        a.claim(1, &agent(1)).await;
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
        let beat = timeout(Duration::from_secs(1), a.store.beat(a.id())).await;
        assert!(beat.is_err(), "nobody has told the heartbeat");
        let beat = timeout(Duration::from_secs(10), a.store.beat(a.id())).await;
        assert!(beat.expect("a connection of its own, made anew").unwrap().alive);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_a_firewall_forgot_hears_again() {
    on_a_database(|site, url| async move {
        let network = Network::to(&url).await;
        let a = member_by(&network, &site, &url).await;
        let b = site.member("b").await;
        let mut changes = a.store.changes().await.unwrap();
        network.forget_connections();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(24) {
            changes.changed().await;
        }
        let grant = b.claim(1, &agent(1)).await;
        let soon = timeout(Duration::from_secs(10), changes.changed());
        let (heard, ()) = tokio::join!(soon, async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            b.release(&grant).await;
        });
        heard.expect("a feed that hears");
    })
    .await;
}

/// As after a restart of the server.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_server_ended_are_made_anew() {
    on_a_database(|site, _| async move {
        let a = site.member("a").await;
        for round in 0..3 {
            warm(&a).await;
            site.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
            assert!(a.store.beat(a.id()).await.unwrap().alive, "{round}");
            let reads = agents(0..6);
            for _ in 0..6 {
                assert!(a.store.owners(&reads).await.unwrap().is_empty(), "{round}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_told_at_once_and_by_name() {
    on_a_database(|site, url| async move {
        let network = Network::to(&url).await;
        let a = member_by(&network, &site, &url).await;
        warm(&a).await;
        network.forget_connections();
        drop(network);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let began = Instant::now();
        let error = a.store.leases(a.id()).await.unwrap_err();
        assert_eq!(error.code(), "ERR_DATABASE_UNAVAILABLE");
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    })
    .await;
}

/// The one who was cut off in the middle can be buried, and does not come back.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_cut_off_is_buried() {
    on_a_database(|site, url| async move {
        let network = Network::to(&url).await;
        let a = member_by(&network, &site, &url).await;
        let b = site.member("b").await;
        a.claim(1, &agent(1)).await;
        a.store.beat(a.id()).await.unwrap();
        network.fall_silent_before(b"UPDATE baileys_guard_instance");
        network.forget_connections();
        let watched = b.beat_of(&a).await;
        assert!(timeout(Duration::from_millis(300), a.store.beat(a.id())).await.is_err());
        assert!(b.store.bury(a.id(), watched, Death::Silent).await.unwrap());
        b.claim(1, &agent(1)).await;
    })
    .await;
}

/// The bytes of a claim are held up on the way until another one of the same process is through.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_duplicate_of_ones_own_claim_does_no_harm() {
    on_a_database(|site, url| async move {
        let network = Network::to(&url).await;
        site.member("first").await.store.close().await;
        let store = store_at(&network.url(&url), Duration::from_secs(4));
        let me = registration("a");
        store.register(&me).await.unwrap();
        let a = Member { store, me };
        warm(&a).await;
        for number in 0..8 {
            a.claim(1, &agent(number)).await; // the statement is known on the connections
        }
        network.fall_silent_before(b"00000000-0000-4000-8000-000000000099");
        let error = a.store.claim(a.id(), 1, &[agent(99)]).await.unwrap_err();
        assert_eq!(error.code(), "ERR_DATABASE_UNAVAILABLE");
        assert!(network.fell_silent());
        let granted = a.claim(2, &agent(99)).await;

        let connections = "SELECT count(*)::text FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let before = site.value(connections).await;
        network.deliver_late();
        while site.value(connections).await == before {
            tokio::time::sleep(Duration::from_millis(10)).await; // it answers nobody, and ends
        }
        let leases = a.store.leases(a.id()).await.unwrap();
        assert!(leases.contains(&(agent(99), granted.token)), "{leases:?}");
        a.release(&granted).await;
    })
    .await;
}

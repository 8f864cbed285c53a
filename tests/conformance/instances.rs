//! Beats, burials and retirements.

use std::time::Duration;

use baileys_guard::error::Error;
use baileys_guard::store::{Death, Registration};

use super::{Site, agent, agents, registration};

pub async fn a_beat_counts_up_and_shows_the_others(site: &Site) {
    let a = site.member("a").await;
    let store = site.store();
    let me =
        Registration { lock_dir: Some("locks".to_owned()), boot_id: None, ..registration("b") };
    store.register(&me).await.unwrap();

    let mut last = 0;
    for _ in 0..5 {
        assert!(store.beat(&me.incarnation).await.unwrap().alive);
        let beat = a.store.beat(a.id()).await.unwrap();
        assert!(beat.alive);
        assert_eq!((beat.held, beat.token_sum), (0, 0));
        let [peer] = &beat.peers[..] else { panic!("one peer, not {:?}", beat.peers) };
        assert_eq!(peer.incarnation, me.incarnation);
        assert_eq!(peer.instance_id, "instance-b");
        assert_eq!(peer.ttl, Duration::from_millis(60_500));
        assert_eq!(peer.boot_id, None);
        assert_eq!(peer.lock_dir.as_deref(), Some("locks"));
        assert!(peer.beat > last, "{} after {last}", peer.beat);
        last = peer.beat;
    }
}

pub async fn looking_at_the_others_is_no_beat(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let before = site.truth().await;
    let peers = a.store.peers(a.id()).await.unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].incarnation, b.id());
    assert_eq!(peers[0].boot_id.as_deref(), Some("boot-b"));
    assert_eq!(a.store.peers("nobody").await.unwrap().len(), 2);
    assert_eq!(site.truth().await, before);
}

pub async fn an_unknown_incarnation_is_not_alive(site: &Site) {
    let a = site.member("a").await;
    let beat = a.store.beat("nobody").await.unwrap();
    assert!(!beat.alive);
    assert_eq!(beat.held, 0);
    assert_eq!(beat.peers.len(), 1);

    site.execute("DELETE FROM baileys_guard_instance").await;
    assert!(!a.store.beat(a.id()).await.unwrap().alive);
    assert!(!a.try_claim(1, &[agent(1)]).await.alive);
}

pub async fn a_beat_counts_what_is_held(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let grants = a.try_claim(1, &agents(0..3)).await.grants;
    b.try_claim(1, &agents(3..5)).await;
    let beat = a.store.beat(a.id()).await.unwrap();
    assert_eq!(beat.held, 3);
    assert_eq!(beat.token_sum, grants.iter().map(|grant| grant.token).sum::<i64>());

    a.release(&grants[0]).await;
    site.execute(&format!("DELETE FROM baileys_guard_lease WHERE agent_id = '{}'", agent(1))).await;
    let beat = a.store.beat(a.id()).await.unwrap();
    assert_eq!((beat.held, beat.token_sum), (1, grants[2].token));

    let huge = i64::MAX - 7;
    a.try_claim(2, &agents(0..2)).await;
    let update = format!("UPDATE baileys_guard_lease SET token = {huge}");
    site.execute(&format!("{update} WHERE incarnation = '{}'", a.id())).await;
    let beat = a.store.beat(a.id()).await.unwrap();
    let sum = huge.wrapping_add(huge).wrapping_add(huge);
    assert_eq!((beat.held, beat.token_sum), (3, sum));
}

pub async fn a_burial_needs_the_count_that_was_watched(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let watched = a.beat_of(&b).await;
    b.store.beat(b.id()).await.unwrap();
    let before = site.truth().await;
    assert!(!a.store.bury(b.id(), watched, Death::Silent).await.unwrap());
    assert!(!a.store.bury("nobody", watched, Death::Silent).await.unwrap());
    assert_eq!(site.truth().await, before);

    let watched = a.beat_of(&b).await;
    assert!(a.store.bury(b.id(), watched, Death::Silent).await.unwrap());
    assert!(!a.store.bury(b.id(), watched, Death::Gone).await.unwrap(), "only once");
    assert!(a.store.peers(a.id()).await.unwrap().is_empty());
    let death = "SELECT death FROM baileys_guard_instance WHERE dead_at IS NOT NULL";
    assert_eq!(site.value(death).await.as_deref(), Some("silent"));
}

pub async fn the_dead_stay_dead(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    b.claim(1, &agent(1)).await;
    a.bury(&b, Death::Silent).await;
    let before = site.truth().await;
    assert!(!b.store.beat(b.id()).await.unwrap().alive);
    b.store.retire(b.id()).await.unwrap();
    assert_eq!(site.truth().await, before);
}

pub async fn registering_twice_is_registering_once(site: &Site) {
    let a = site.member("a").await;
    let before = site.truth().await;
    a.store.register(&a.me).await.unwrap();
    assert_eq!(site.truth().await, before);
    a.store.retire(a.id()).await.unwrap();
    a.store.register(&a.me).await.unwrap();
    assert!(!a.store.beat(a.id()).await.unwrap().alive, "that does not revive");
}

/// Each start adds a row, and somebody has to clear up.
pub async fn the_long_dead_are_forgotten_unless_a_lease_names_them(site: &Site) {
    let (a, b, c) = (site.member("a").await, site.member("b").await, site.member("c").await);
    let kept = b.claim(1, &agent(1)).await;
    b.release(&kept).await;
    for dead in [&b, &c] {
        a.bury(dead, Death::Gone).await;
    }
    let long_ago = "SET dead_at = '2024-01-01T00:00:00.000Z' WHERE dead_at IS NOT NULL";
    site.execute(&format!("UPDATE baileys_guard_instance {long_ago}")).await;
    let d = site.member("d").await;
    a.bury(&d, Death::Gone).await;
    let e = site.member("e").await;
    let rows = site.rows("SELECT incarnation FROM baileys_guard_instance").await;
    let mut rows: Vec<_> = rows.into_iter().map(|row| row[0].clone().unwrap()).collect();
    rows.sort();
    let mut expected = [&a, &b, &d, &e].map(|member| member.id().to_owned());
    expected.sort();
    assert_eq!(rows, expected);
    assert!(!c.store.beat(c.id()).await.unwrap().alive);
    e.claim(1, &agent(1)).await;
}

pub async fn of_beat_and_burial_one_wins(site: &Site) {
    let a = site.member("a").await;
    for round in 0..40 {
        let b = site.member(&format!("b{round}")).await;
        // Opens the connections, so that neither has a head start but the one it is given here.
        assert!(b.store.beat(b.id()).await.unwrap().alive);
        let watched = a.beat_of(&b).await;
        let beat = b.store.beat(b.id());
        let bury = a.store.bury(b.id(), watched, Death::Silent);
        let (beat, buried) = if round % 2 == 0 {
            tokio::join!(beat, bury)
        } else {
            let (bury, beat) = tokio::join!(bury, beat);
            (beat, bury)
        };
        assert_ne!(beat.unwrap().alive, buried.unwrap(), "both won or both lost");
        b.store.close().await;
    }
}

pub async fn retiring_frees_everything_at_once(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    a.try_claim(1, &agents(0..50)).await;
    a.store.retire(a.id()).await.unwrap();
    assert!(!a.store.beat(a.id()).await.unwrap().alive);
    assert!(b.store.peers(b.id()).await.unwrap().is_empty());
    let death = "SELECT death FROM baileys_guard_instance WHERE dead_at IS NOT NULL";
    assert_eq!(site.value(death).await.as_deref(), Some("retired"));

    let free = b.store.free().await.unwrap();
    assert_eq!(free.len(), 50);
    assert!(free.iter().all(|agent| agent.instance_id == "instance-a"));
    assert!(free.iter().all(|agent| !agent.dead), "to retire is to release");
    let grants = b.try_claim(1, &agents(0..50)).await.grants;
    assert_eq!(grants.len(), 50);
    assert!(grants.iter().all(|grant| !grant.after_silence), "it has closed its sockets");
    assert!(grants.iter().all(|grant| !grant.takeover), "it gave them back");
}

pub async fn a_closed_store_refuses(site: &Site) {
    let a = site.member("a").await;
    a.store.beat(a.id()).await.unwrap();
    a.store.close().await;
    a.store.close().await;
    let refusals = [
        a.store.beat(a.id()).await.err(),
        a.store.peers(a.id()).await.err(),
        a.store.register(&registration("b")).await.err(),
        a.store.claim(a.id(), 1, &[agent(1)]).await.err(),
        a.store.free().await.err(),
        a.store.migrate().await.err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Some(Error::DatabaseUnavailable { .. })), "{refusal:?}");
    }
}

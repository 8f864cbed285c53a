//! Claims and releases among the living.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baileys_guard::store::{Death, Fence, Free};

use super::{Member, Site, agent, agents, by_agent, registration};

pub async fn a_fresh_agent_is_granted(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    assert!(b.store.owners(&[agent(1)]).await.unwrap().is_empty());
    let grant = a.claim(1, &agent(1)).await;
    assert_eq!(grant.agent_id, agent(1));
    assert!(!grant.takeover && !grant.after_silence);
    assert!(grant.token > 0);
    assert_eq!(a.store.leases(a.id()).await.unwrap(), [(agent(1), grant.token)]);
    assert!(a.store.leases(b.id()).await.unwrap().is_empty());

    let owners = b.store.owners(&agents(0..3)).await.unwrap();
    let [owner] = &owners[..] else { panic!("one owner, not {owners:?}") };
    assert_eq!(owner.agent_id, agent(1));
    assert_eq!(owner.info.instance_id, "instance-a");
    assert_eq!(owner.info.hostname, "host-a");
    assert_eq!(owner.info.pid, 4242);
    assert_eq!(owner.info.token, grant.token);
    assert!(owner.info.heartbeat_age < Duration::from_secs(60));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    assert!((now - owner.info.last_heartbeat_ms).abs() < 60_000);
    assert_eq!(owner.peer.incarnation, a.id());
    assert_eq!(owner.peer.ttl, a.me.ttl);
    assert_eq!(owner.peer.beat, b.beat_of(&a).await);
    assert_eq!(owner.peer.boot_id.as_deref(), Some("boot-a"));
}

pub async fn a_refused_claim_writes_nothing(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    a.claim(1, &agent(1)).await;
    let before = site.truth().await;
    for seq in [0, 1, 2, 1_000] {
        b.claim_in_vain(seq, &agent(1)).await;
    }
    assert_eq!(site.truth().await, before);
}

pub async fn the_dead_are_granted_nothing(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    a.claim(1, &agent(1)).await;
    b.bury(&a, Death::Silent).await;
    let before = site.truth().await;
    let claimed = a.try_claim(2, &agents(0..3)).await;
    assert!(!claimed.alive);
    assert!(claimed.grants.is_empty());
    assert_eq!(site.truth().await, before);
}

pub async fn only_a_newer_sequence_claims_again(site: &Site) {
    let a = site.member("a").await;
    let first = a.claim(5, &agent(1)).await;
    let before = site.truth().await;
    a.claim_in_vain(5, &agent(1)).await;
    a.claim_in_vain(4, &agent(1)).await;
    assert_eq!(site.truth().await, before);
    let again = a.claim(6, &agent(1)).await;
    assert!(again.token > first.token);
    assert!(!again.takeover && !again.after_silence);
    assert_eq!(a.store.leases(a.id()).await.unwrap(), [(agent(1), again.token)]);
}

pub async fn a_late_duplicate_is_refused_after_release(site: &Site) {
    let a = site.member("a").await;
    let first = a.claim(5, &agent(1)).await;
    a.release(&first).await;
    let before = site.truth().await;
    a.claim_in_vain(5, &agent(1)).await;
    a.claim_in_vain(4, &agent(1)).await;
    assert_eq!(site.truth().await, before);
    let again = a.claim(6, &agent(1)).await;
    assert!(again.token > first.token);
}

pub async fn a_sequence_binds_its_own_incarnation_only(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let first = a.claim(500, &agent(1)).await;
    a.release(&first).await;
    let second = b.claim(1, &agent(1)).await;
    assert!(second.token > first.token);
    assert!(!second.takeover, "it was released");
}

pub async fn a_release_needs_incarnation_and_token(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let grant = a.claim(1, &agent(1)).await;
    let right = a.fence(&grant);
    let wrong = [
        Fence { token: right.token + 1, ..right.clone() },
        Fence { token: right.token - 1, ..right.clone() },
        Fence { incarnation: b.id().to_owned(), ..right.clone() },
        Fence { agent_id: agent(2), ..right.clone() },
    ];
    let before = site.truth().await;
    assert!(b.store.release(&wrong, true).await.unwrap().is_empty());
    assert_eq!(site.truth().await, before);
    assert_eq!(a.store.release(std::slice::from_ref(&right), false).await.unwrap(), [agent(1)]);
    assert!(a.store.leases(a.id()).await.unwrap().is_empty());
    assert!(b.store.owners(&[agent(1)]).await.unwrap().is_empty());
    assert!(a.store.release(&[right], false).await.unwrap().is_empty(), "only once");
}

pub async fn a_release_of_an_old_term_touches_nothing(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let old = a.claim(1, &agent(1)).await;
    let new = a.claim(2, &agent(1)).await;
    assert!(a.store.release(&[a.fence(&old)], false).await.unwrap().is_empty());
    assert_eq!(a.store.leases(a.id()).await.unwrap(), [(agent(1), new.token)]);

    a.release(&new).await;
    let theirs = b.claim(1, &agent(1)).await;
    assert!(a.store.release(&[a.fence(&new)], false).await.unwrap().is_empty());
    assert_eq!(b.store.leases(b.id()).await.unwrap(), [(agent(1), theirs.token)]);
}

/// A release that was under way when its term ended arrives while the successor claims.
pub async fn a_release_that_races_a_takeover_touches_nothing(site: &Site) {
    let (a, b, contested) = (site.member("a").await, site.member("b").await, agent(1));
    for round in 1..=100 {
        let a = Member { store: a.store.clone(), me: registration("a") };
        a.store.register(&a.me).await.unwrap();
        let old = a.fence(&a.claim(1, &contested).await);
        b.bury(&a, Death::Silent).await;
        let release = a.store.release(std::slice::from_ref(&old), round % 4 == 0);
        let claim = b.claim(round, &contested);
        let (released, new) = if round % 2 == 0 {
            tokio::join!(release, claim)
        } else {
            let (new, released) = tokio::join!(claim, release);
            (released, new)
        };
        released.unwrap();
        assert_eq!(
            b.store.leases(b.id()).await.unwrap(),
            [(contested.clone(), new.token)],
            "{round}"
        );
        b.release(&new).await;
    }
}

pub async fn many_are_released_at_once(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let grants = a.try_claim(1, &agents(0..20)).await.grants;
    let theirs = b.claim(1, &agent(20)).await;
    let mut fences: Vec<_> = grants.iter().take(10).map(|grant| a.fence(grant)).collect();
    fences.push(a.fence(&theirs));
    let mut released = a.store.release(&fences, false).await.unwrap();
    released.sort();
    assert_eq!(released, agents(0..10));
    assert_eq!(a.store.leases(a.id()).await.unwrap().len(), 10);
    assert_eq!(b.store.leases(b.id()).await.unwrap().len(), 1);
}

pub async fn nothing_is_asked_for_with_an_empty_list(site: &Site) {
    let a = site.member("a").await;
    let before = site.truth().await;
    let claimed = a.try_claim(1, &[]).await;
    assert!(claimed.alive && claimed.grants.is_empty());
    assert!(a.store.owners(&[]).await.unwrap().is_empty());
    assert!(a.store.release(&[], true).await.unwrap().is_empty());
    a.store.show(&a.me, &[], None).await.unwrap();
    assert_eq!(site.truth().await, before);
}

pub async fn an_agent_named_twice_is_granted_once(site: &Site) {
    let a = site.member("a").await;
    let grants = a.try_claim(1, &[agent(1), agent(2), agent(1)]).await.grants;
    assert_eq!(by_agent(&grants).len(), 2);
}

pub async fn a_released_agent_is_free(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let grants = a.try_claim(1, &agents(0..2)).await.grants;
    assert!(a.store.free().await.unwrap().is_empty());
    a.release(&grants[0]).await;
    let freed = |token| Free {
        agent_id: grants[0].agent_id.clone(),
        token,
        dead: false,
        instance_id: "instance-a".to_owned(),
    };
    assert_eq!(b.store.free().await.unwrap(), [freed(grants[0].token)]);
    let again = a.claim(2, &grants[0].agent_id).await;
    assert!(b.store.free().await.unwrap().is_empty());
    a.release(&again).await;
    assert_eq!(b.store.free().await.unwrap(), [freed(again.token)], "freed twice, told apart");
}

pub async fn a_deleted_lease_is_fresh_again(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let first = a.claim(1, &agent(1)).await;
    site.execute("DELETE FROM baileys_guard_lease").await;
    assert!(a.store.leases(a.id()).await.unwrap().is_empty());
    assert!(a.store.release(&[a.fence(&first)], false).await.unwrap().is_empty());
    let second = b.claim(1, &agent(1)).await;
    assert!(second.token > first.token, "the token does not start anew");
    assert!(!second.takeover);
}

//! What becomes of an agent whose owner died.

use std::collections::HashSet;
use std::sync::Arc;

use baileys_guard::store::{Death, Fence, Grant};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{Member, Site, agent, agents, by_agent};

pub async fn from_an_owner_that_fell_silent(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let old = a.claim(9, &agent(1)).await;
    b.claim_in_vain(1, &agent(1)).await;
    b.bury(&a, Death::Silent).await;
    let free = b.store.free().await.unwrap();
    assert_eq!(free.len(), 1);
    assert!(free[0].dead);
    assert_eq!((free[0].token, free[0].instance_id.as_str()), (old.token, "instance-a"));
    assert!(b.store.owners(&[agent(1)]).await.unwrap().is_empty());

    let new = b.claim(1, &agent(1)).await;
    assert!(new.takeover && new.after_silence);
    assert!(new.token > old.token);
    assert_eq!(b.store.owners(&[agent(1)]).await.unwrap()[0].info.instance_id, "instance-b");
    assert!(b.store.free().await.unwrap().is_empty());
}

pub async fn from_an_owner_that_is_gone(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    a.claim(1, &agent(1)).await;
    b.bury(&a, Death::Gone).await;
    let new = b.claim(1, &agent(1)).await;
    assert!(new.takeover && !new.after_silence);
    let next = b.claim(2, &agent(1)).await;
    assert!(!next.takeover, "its own by now");
}

pub async fn of_an_agent_released_before_its_owner_died(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let grant = a.claim(1, &agent(1)).await;
    a.release(&grant).await;
    b.bury(&a, Death::Silent).await;
    assert!(!b.store.free().await.unwrap()[0].dead);
    let new = b.claim(1, &agent(1)).await;
    assert!(!new.takeover && !new.after_silence, "nobody held it");
}

pub async fn from_a_live_owner_by_force(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let (old, other) = (a.claim(1, &agent(1)).await, a.claim(1, &agent(2)).await);
    let stale = Fence { token: old.token - 1, ..a.fence(&old) };
    assert!(!b.store.seize(b.id(), &stale).await.unwrap());
    assert!(!b.store.seize("nobody", &a.fence(&old)).await.unwrap());
    assert!(b.store.seize(b.id(), &a.fence(&old)).await.unwrap());
    assert!(!b.store.seize(b.id(), &a.fence(&old)).await.unwrap(), "it is another term");

    assert!(b.store.free().await.unwrap().is_empty(), "it was never free");
    let new = b.claim(1, &agent(1)).await;
    assert!(new.token > old.token);
    let nothing = a.store.release(&[a.fence(&old)], false).await.unwrap();
    assert!(nothing.is_empty());
    let beat = a.store.beat(a.id()).await.unwrap();
    assert_eq!((beat.alive, beat.held, beat.token_sum), (true, 1, other.token));
}

/// What an incarnation leaves behind is moved to the next one of the same process only where nobody
/// has had it in between.
pub async fn from_ones_own_term_before(site: &Site) {
    let (old, other) = (site.member("a").await, site.member("b").await);
    let [kept, taken, returned, given, forgotten] = [1, 2, 3, 4, 5].map(agent);
    let mut terms = Vec::new();
    for agent in [&kept, &taken, &returned, &given, &forgotten] {
        terms.push(old.claim(1, agent).await);
    }
    old.release(&terms[3]).await;
    other.bury(&old, Death::Silent).await;
    other.claim(1, &taken).await;
    let had = other.claim(1, &returned).await;
    other.release(&had).await;
    site.execute(&format!("DELETE FROM baileys_guard_lease WHERE agent_id = '{forgotten}'")).await;

    let new = site.member("a").await;
    let mut moved = Vec::new();
    for term in &terms {
        if new.store.seize(new.id(), &old.fence(term)).await.unwrap() {
            moved.push(term.agent_id.clone());
        }
    }
    assert_eq!(moved, [kept.as_str()]);
    let leases = new.store.leases(new.id()).await.unwrap();
    assert_eq!(leases.len(), 1);
    assert!(leases[0].0 == kept && leases[0].1 > terms[0].token, "{leases:?}");
    let now = Fence { token: leases[0].1, ..new.fence(&terms[0]) };
    assert!(!new.store.seize(old.id(), &now).await.unwrap(), "the dead get nothing");
    let nothing = new.store.release(&[old.fence(&terms[0])], false).await.unwrap();
    assert!(nothing.is_empty(), "the old term is over");
}

/// A holder that does not know what became of a write takes a newer token, once, if nothing has
/// happened to its lease.
pub async fn from_oneself_under_a_newer_token(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let agent = agent(1);
    let old = a.claim(5, &agent).await;
    let newer = a.store.advance(&a.fence(&old)).await.unwrap().expect("a newer token");
    assert!(newer > old.token);
    let again = a.store.advance(&a.fence(&old)).await.unwrap();
    assert_eq!(again, Some(newer), "a lost answer is found");
    assert!(a.store.release(&[a.fence(&old)], false).await.unwrap().is_empty());
    let late = a.try_claim(5, std::slice::from_ref(&agent)).await;
    assert!(late.grants.is_empty(), "a late copy of the claim changes nothing");
    assert_eq!(a.store.leases(a.id()).await.unwrap(), [(agent.clone(), newer)]);
    a.store.release(&[Fence { token: newer, ..a.fence(&old) }], false).await.unwrap();
    assert_eq!(a.store.advance(&a.fence(&old)).await.unwrap(), None, "it was given back");
    let had = b.claim(1, &agent).await;
    assert_eq!(a.store.advance(&a.fence(&had)).await.unwrap(), None, "another one has it");
    b.release(&had).await;
    let last = a.claim(7, &agent).await;
    b.bury(&a, Death::Silent).await;
    assert_eq!(a.store.advance(&a.fence(&last)).await.unwrap(), None, "the dead get nothing");
    site.execute("DELETE FROM baileys_guard_lease").await;
    assert_eq!(a.store.advance(&a.fence(&last)).await.unwrap(), None, "it is gone");
}

pub async fn in_a_mixed_batch(site: &Site) {
    let (a, b, c) = (site.member("a").await, site.member("b").await, site.member("c").await);
    let [fresh, live, released, orphan, older, same] = [1, 2, 3, 4, 5, 6].map(agent);
    b.claim(1, &live).await;
    let grant = b.claim(1, &released).await;
    b.release(&grant).await;
    c.claim(1, &orphan).await;
    a.bury(&c, Death::Silent).await;
    let before = a.claim(1, &older).await;
    a.claim(7, &same).await;

    let all = [&fresh, &live, &released, &orphan, &older, &same].map(String::clone);
    let grants = a.try_claim(7, &all).await.grants;
    let grants = by_agent(&grants);
    assert_eq!(grants.len(), 4, "{grants:?}");
    let kind =
        |agent: &String| (grants[agent.as_str()].takeover, grants[agent.as_str()].after_silence);
    assert_eq!(kind(&fresh), (false, false));
    assert_eq!(kind(&released), (false, false));
    assert_eq!(kind(&orphan), (true, true));
    assert_eq!(kind(&older), (false, false));
    assert!(grants[older.as_str()].token > before.token);
}

/// Eight processes claim the same agents at one instant.
async fn stampede(site: &Site, agents: &[String]) -> Vec<(Member, Vec<Grant>)> {
    let start = Arc::new(Barrier::new(8));
    let mut claims = JoinSet::new();
    for number in 0..8 {
        let member = site.member(&format!("runner-{number}")).await;
        let (start, agents) = (start.clone(), agents.to_vec());
        claims.spawn(async move {
            member.store.peers(member.id()).await.unwrap();
            start.wait().await;
            let grants = member.try_claim(1, &agents).await.grants;
            (member, grants)
        });
    }
    claims.join_all().await
}

async fn one_winner_each(outcome: &[(Member, Vec<Grant>)], agents: &[String]) {
    let mut won = HashSet::new();
    for (member, grants) in outcome {
        for grant in grants {
            assert!(won.insert(&grant.agent_id), "{} has two winners", grant.agent_id);
        }
        let mut leases = member.store.leases(member.id()).await.unwrap();
        leases.sort();
        let mut granted: Vec<_> =
            grants.iter().map(|grant| (grant.agent_id.clone(), grant.token)).collect();
        granted.sort();
        assert_eq!(leases, granted, "the database says otherwise");
    }
    assert_eq!(won.len(), agents.len(), "agents without a winner");
}

pub async fn a_thousand_fresh_agents_have_one_winner_each(site: &Site) {
    let agents = agents(0..1_000);
    let outcome = stampede(site, &agents).await;
    one_winner_each(&outcome, &agents).await;
}

pub async fn a_thousand_orphans_have_one_winner_each(site: &Site) {
    let agents = agents(0..1_000);
    let (a, b) = (site.member("a").await, site.member("b").await);
    let old = a.try_claim(1, &agents).await.grants;
    let old = by_agent(&old);
    b.bury(&a, Death::Gone).await;
    let outcome = stampede(site, &agents).await;
    one_winner_each(&outcome, &agents).await;
    for grant in outcome.iter().flat_map(|(_, grants)| grants) {
        assert!(grant.takeover);
        assert!(grant.token > old[grant.agent_id.as_str()].token);
    }
}

/// New, released, orphaned and taken ones in one crowd.
pub async fn a_thousand_of_all_kinds_have_one_winner_but_the_living(site: &Site) {
    let all = agents(0..1_000);
    let (fresh, known) = all.split_at(250);
    let (free, live) = known.split_at(500);
    let (a, b, c) = (site.member("a").await, site.member("b").await, site.member("c").await);
    let given = a.try_claim(1, &free[..250]).await.grants;
    let fences: Vec<_> = given.iter().map(|grant| a.fence(grant)).collect();
    assert_eq!(a.store.release(&fences, false).await.unwrap().len(), 250);
    b.try_claim(1, &free[250..]).await;
    c.try_claim(1, live).await;
    a.bury(&b, Death::Gone).await;
    let mut held = c.store.leases(c.id()).await.unwrap();

    let outcome = stampede(site, &all).await;
    one_winner_each(&outcome, &[fresh, free].concat()).await;
    let mut still = c.store.leases(c.id()).await.unwrap();
    held.sort();
    still.sort();
    assert_eq!(still, held, "the living keep what they have");
}

/// A dead owner's releases arrive while its successor claims the same agents.
pub async fn a_release_that_races_a_takeover_frees_nothing_of_the_successors(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let all = agents(0..1_000);
    let old = a.try_claim(1, &all).await.grants;
    b.bury(&a, Death::Silent).await;
    let mut expected = Vec::new();
    for old in old.chunks(20) {
        let fences: Vec<_> = old.iter().map(|grant| a.fence(grant)).collect();
        let wanted: Vec<_> = old.iter().map(|grant| grant.agent_id.clone()).collect();
        let (released, claimed) =
            tokio::join!(a.store.release(&fences, true), b.try_claim(1, &wanted));
        released.unwrap();
        expected.extend(claimed.grants.into_iter().map(|grant| (grant.agent_id, grant.token)));
    }
    expected.sort();
    assert_eq!(expected.len(), all.len(), "agents without a successor");
    let mut leases = b.store.leases(b.id()).await.unwrap();
    leases.sort();
    assert_eq!(leases, expected);
}

pub async fn tokens_only_grow(site: &Site) {
    let mut last = 0;
    let mut owner = site.member("0").await;
    for round in 1..=6_i64 {
        let next = site.member(&round.to_string()).await;
        let grant = owner.claim(round, &agent(1)).await;
        assert!(grant.token > last, "{} after {last}", grant.token);
        last = grant.token;
        match round {
            1 | 4 => owner.release(&grant).await,
            2 | 5 => next.bury(&owner, Death::Silent).await,
            3 => owner.store.retire(owner.id()).await.unwrap(),
            _ => {
                // A clock that once was far ahead leaves tokens that no clock gives.
                last += 1_000_000_000_000;
                let update = format!("UPDATE baileys_guard_lease SET token = {last}");
                site.execute(&update).await;
                continue;
            }
        }
        owner = next;
    }
    assert_eq!(owner.claim(9, &agent(1)).await.token, last + 1);
}

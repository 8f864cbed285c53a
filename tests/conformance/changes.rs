//! The feed of hints: whoever waits is woken long before it would look anyway.

use std::time::Duration;

use baileys_guard::store::{Changes, Death};
use tokio::time::timeout;

use super::{Site, agent, agents, by_agent};

/// Beyond what a loaded machine adds, and below the patience of a feed, which is 15 seconds.
const SOON: Duration = Duration::from_secs(10);

async fn noticed(changes: &mut Box<dyn Changes>) {
    timeout(SOON, changes.changed()).await.expect("a hint");
}

pub async fn a_release_is_noticed(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let grant = a.claim(1, &agent(1)).await;
    let mut mine = a.store.changes().await.unwrap();
    let mut theirs = b.store.changes().await.unwrap();
    a.release(&grant).await;
    noticed(&mut theirs).await;
    noticed(&mut mine).await;

    let grant = b.claim(1, &agent(1)).await;
    b.release(&grant).await;
    noticed(&mut theirs).await;
}

pub async fn a_burial_is_noticed(site: &Site) {
    let (a, b, c) = (site.member("a").await, site.member("b").await, site.member("c").await);
    a.claim(1, &agent(1)).await;
    let mut changes = b.store.changes().await.unwrap();
    c.bury(&a, Death::Silent).await;
    noticed(&mut changes).await;
    assert_eq!(b.store.free().await.unwrap().len(), 1);
}

pub async fn a_retirement_is_noticed(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    a.claim(1, &agent(1)).await;
    let mut changes = b.store.changes().await.unwrap();
    a.store.retire(a.id()).await.unwrap();
    noticed(&mut changes).await;
    assert_eq!(b.store.free().await.unwrap().len(), 1);
}

pub async fn what_happened_between_two_calls_is_noticed(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    let grant = a.claim(1, &agent(1)).await;
    let mut changes = b.store.changes().await.unwrap();
    assert!(timeout(Duration::from_millis(300), changes.changed()).await.is_err(), "too early");
    a.release(&grant).await;
    noticed(&mut changes).await;
}

pub async fn an_exchange_between_two_calls_is_noticed(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    // Claimed in one statement, as they are here, agents have one token.
    let claimed = a.try_claim(1, &agents(1..5)).await;
    let grants = by_agent(&claimed.grants);
    let mut changes = b.store.changes().await.unwrap();
    a.release(grants[agent(1).as_str()]).await;
    noticed(&mut changes).await;
    b.claim(1, &agent(1)).await;
    a.release(grants[agent(2).as_str()]).await;
    noticed(&mut changes).await;
}

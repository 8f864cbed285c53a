//! How often sessions have failed, and what there is to resume.

use std::time::Duration;

use baileys_guard::store::{Death, Moved, Orphans, Reconnect};

use super::{Member, Site, USER, agent, agents};

fn failed(agent_id: String, failures: u32) -> Reconnect {
    Reconnect {
        agent_id,
        tries: failures + 1,
        failures,
        failing: Duration::from_secs(700),
        quarantines: 2,
        wait: Duration::from_secs(240),
        reason: Some("unavailableService".to_owned()),
    }
}

async fn recalled(member: &Member, agent_id: &str) -> Option<Reconnect> {
    let mut found = member.store.recall_reconnects(&[agent_id.to_owned()]).await.unwrap();
    assert!(found.len() <= 1);
    found.pop()
}

/// Tells everything but what is left to wait, which is never more than was recorded.
fn same(left: &Reconnect, right: &Reconnect) {
    assert!(left.wait <= right.wait && left.wait + Duration::from_secs(30) > right.wait);
    assert_eq!(left, &Reconnect { wait: left.wait, ..right.clone() });
}

pub async fn a_successor_goes_on_where_its_predecessor_was(site: &Site) {
    let a = site.member("a").await;
    let b = site.member("b").await;
    let grant = a.claim(1, &agent(1)).await;
    let record = failed(agent(1), 7);
    a.store.record_reconnects(&[(a.fence(&grant), record.clone())]).await.unwrap();
    a.release(&grant).await;
    same(&recalled(&b, &agent(1)).await.unwrap(), &record);
    let grant = b.claim(1, &agent(1)).await;
    let later = Reconnect { wait: Duration::ZERO, reason: None, ..failed(agent(1), 8) };
    b.store.record_reconnects(&[(b.fence(&grant), later.clone())]).await.unwrap();
    assert_eq!(recalled(&a, &agent(1)).await, Some(later));
}

pub async fn a_clean_record_is_no_record(site: &Site) {
    let a = site.member("a").await;
    let grant = a.claim(1, &agent(1)).await;
    assert_eq!(recalled(&a, &agent(1)).await, None);
    a.store.record_reconnects(&[(a.fence(&grant), failed(agent(1), 7))]).await.unwrap();
    let clean = Reconnect { agent_id: agent(1), ..Reconnect::default() };
    a.store.record_reconnects(&[(a.fence(&grant), clean)]).await.unwrap();
    assert_eq!(recalled(&a, &agent(1)).await, None);
    assert_eq!(
        site.value("SELECT CAST(count(*) AS TEXT) FROM baileys_guard_reconnect").await.unwrap(),
        "0"
    );
}

pub async fn only_the_holder_records(site: &Site) {
    let a = site.member("a").await;
    let b = site.member("b").await;
    let old = a.claim(1, &agent(1)).await;
    let others = a.claim(2, &agent(2)).await;
    a.release(&old).await;
    let new = b.claim(1, &agent(1)).await;
    b.store.record_reconnects(&[(b.fence(&new), failed(agent(1), 3))]).await.unwrap();
    // One of two is not held any more: it is left out, and the other is recorded.
    let clean = Reconnect { agent_id: agent(1), ..Reconnect::default() };
    let records = [(a.fence(&old), clean), (a.fence(&others), failed(agent(2), 5))];
    a.store.record_reconnects(&records).await.unwrap();
    assert_eq!(recalled(&a, &agent(1)).await.unwrap().failures, 3);
    assert_eq!(recalled(&a, &agent(2)).await.unwrap().failures, 5);
}

pub async fn many_are_recorded_and_recalled_at_once(site: &Site) {
    let a = site.member("a").await;
    let claimed = a.try_claim(1, &agents(0..300)).await;
    let records: Vec<_> = claimed
        .grants
        .iter()
        .map(|grant| (a.fence(grant), failed(grant.agent_id.clone(), 4)))
        .collect();
    a.store.record_reconnects(&records).await.unwrap();
    assert_eq!(a.store.recall_reconnects(&agents(0..300)).await.unwrap().len(), 300);
    a.store.record_reconnects(&[]).await.unwrap();
    assert!(a.store.recall_reconnects(&[]).await.unwrap().is_empty());
}

/// Agents 0 to 9 have rows that are to be resumed.
async fn ten(site: &Site) -> (Member, Member) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    for number in 0..10 {
        site.execute(&format!(
            "INSERT INTO whatsapp_sessions (id, user_id, agent_id, is_active, status) VALUES \
             ('{}', '{USER}', '{}', true, 'connected')",
            uuid::Uuid::new_v4(),
            agent(number)
        ))
        .await;
    }
    (a, b)
}

async fn orphans(member: &Member, limit: u32) -> Orphans {
    let mut found = member.store.orphans(member.id(), &[], limit).await.unwrap();
    found.agents.sort();
    found
}

pub async fn what_should_run_and_nobody_has_is_an_orphan(site: &Site) {
    let (a, b) = ten(site).await;
    let set = async |number, what: &str| {
        let agent = agent(number);
        let sql = format!("UPDATE whatsapp_sessions SET {what} WHERE agent_id = '{agent}'");
        site.execute(&sql).await;
    };
    set(0, "is_active = false").await;
    set(1, "status = 'conflict'").await;
    set(2, "status = 'error'").await;
    set(3, "status = NULL").await;
    a.claim(1, &agent(4)).await;
    b.claim(1, &agent(5)).await;
    b.claim(2, &agent(6)).await;
    let released = b.claim(3, &agent(7)).await;
    b.release(&released).await;
    let found = orphans(&a, 100).await;
    assert_eq!(found.agents, [2, 3, 7, 8, 9].map(agent));
    assert_eq!((found.orphans, found.should_run, found.mine), (5, 8, 1));
    // Those of a dead instance are orphans, too.
    a.bury(&b, Death::Gone).await;
    let found = orphans(&a, 100).await;
    assert_eq!(found.agents, [2, 3, 5, 6, 7, 8, 9].map(agent));
    assert_eq!((found.orphans, found.should_run, found.mine), (7, 8, 1));
}

pub async fn no_more_orphans_are_named_than_asked_for(site: &Site) {
    let (a, _) = ten(site).await;
    let found = orphans(&a, 3).await;
    assert_eq!((found.agents.len(), found.orphans), (3, 10));
    assert!(orphans(&a, 0).await.agents.is_empty());
    let mut chosen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        chosen.extend(orphans(&a, 1).await.agents);
    }
    assert!(chosen.len() > 1, "always the same one of ten");
}

pub async fn what_is_passed_over_is_no_orphan_until_somebody_has_had_it(site: &Site) {
    let (a, b) = ten(site).await;
    let had = b.claim(1, &agent(0)).await;
    b.release(&had).await;
    // Of 0 the last token is known; 2 was never claimed; of 1 nothing is known.
    let passed = [(agent(0), Some(had.token)), (agent(1), None), (agent(2), Some(0))];
    assert_eq!(seen(&a, &passed).await, ([false, false, false, true], vec![moved(1, 0, false)]));
    let again = async |sequence, number| {
        let grant = b.claim(sequence, &agent(number)).await;
        b.release(&grant).await;
        grant.token
    };
    let [first, second, third] = [again(2, 0).await, again(3, 1).await, again(4, 2).await];
    assert_eq!(
        seen(&a, &passed).await,
        (
            [true, false, true, true],
            vec![moved(0, first, true), moved(1, second, false), moved(2, third, true)]
        )
    );
    let passed = [(agent(0), Some(first)), (agent(1), Some(second)), (agent(2), Some(third))];
    assert_eq!(seen(&a, &passed).await, ([false, false, false, true], vec![]));
}

pub async fn what_somebody_else_has_is_passed_over_no_more(site: &Site) {
    let (a, b) = ten(site).await;
    let theirs = b.claim(1, &agent(0)).await;
    let mine = a.claim(1, &agent(1)).await;
    let passed = [(agent(0), None), (agent(1), None)];
    let told = vec![moved(0, theirs.token, true), moved(1, mine.token, false)];
    assert_eq!(seen(&a, &passed).await, ([false, false, true, true], told));
    // But it is what a dead one has left behind.
    a.bury(&b, Death::Gone).await;
    let told = vec![moved(0, theirs.token, false), moved(1, mine.token, false)];
    assert_eq!(seen(&a, &passed).await, ([false, false, true, true], told));
}

pub async fn what_was_claimed_here_once_more_is_passed_over(site: &Site) {
    let (a, _) = ten(site).await;
    let before = a.claim(1, &agent(0)).await;
    let passed = [(agent(0), Some(before.token))];
    a.release(&before).await;
    // As for a write whose answer was lost, or by the host itself.
    let after = a.claim(2, &agent(0)).await;
    let told = vec![moved(0, after.token, false)];
    assert_eq!(seen(&a, &passed).await, ([false, true, true, true], told.clone()));
    a.release(&after).await;
    assert_eq!(seen(&a, &passed).await, ([false, true, true, true], told));
}

fn moved(number: usize, token: i64, theirs: bool) -> Moved {
    Moved { agent_id: agent(number), token, theirs }
}

/// Which of the first four of ten are orphans, and what has become of those that are passed over.
async fn seen(a: &Member, passed: &[(String, Option<i64>)]) -> ([bool; 4], Vec<Moved>) {
    let mut found = a.store.orphans(a.id(), passed, 100).await.unwrap();
    assert_eq!((found.agents.len(), found.should_run), (found.orphans, 10));
    found.moved.sort_by(|left, right| left.agent_id.cmp(&right.agent_id));
    ([0, 1, 2, 3].map(|number| found.agents.contains(&agent(number))), found.moved)
}

pub async fn the_newest_row_says_whether_a_session_should_run(site: &Site) {
    site.with_host_tables().await;
    site.member("a").await;
    for (number, newest) in [(1, true), (2, false)] {
        site.host_row(&agent(number), 3).await;
        let id = site.host_row(&agent(number), 1).await;
        site.execute(&format!(
            "UPDATE whatsapp_sessions SET is_active = {newest} WHERE id = '{id}'"
        ))
        .await;
    }
    let b = site.member("b").await;
    let found = orphans(&b, 100).await;
    assert_eq!(found.agents, [agent(1)]);
    assert_eq!(found.should_run, 1);
}

pub async fn those_who_resume_know_of_each_other(site: &Site) {
    let (a, b) = ten(site).await;
    let c = site.member("c").await;
    let seen = |found: &Orphans| (found.peers, found.lately_dead);
    assert_eq!(seen(&orphans(&a, 1).await), (0, 0));
    for member in [&a, &b, &c] {
        member.store.join_resumers(member.id()).await.unwrap();
        member.store.join_resumers(member.id()).await.unwrap();
    }
    assert_eq!(seen(&orphans(&a, 1).await), (2, 0));
    a.bury(&b, Death::Silent).await;
    assert_eq!(seen(&orphans(&a, 1).await), (1, 1));
    c.store.leave_resumers(c.id()).await.unwrap();
    assert_eq!(seen(&orphans(&a, 1).await), (0, 1));
    assert_eq!(seen(&orphans(&c, 1).await), (1, 1));
}

//! Writes to the session row under the fence.

use std::sync::Arc;
use std::time::Duration;

use baileys_guard::error::Error;
use baileys_guard::store::{Death, Fence, Session, SessionFilter, SessionUpdate, Written};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Member, Site, agent};

fn status(status: &str) -> SessionUpdate {
    SessionUpdate { status: Some(status.to_owned()), ..SessionUpdate::default() }
}

fn phone(number: &str) -> SessionUpdate {
    SessionUpdate { phone_number: Some(Some(number.to_owned())), ..SessionUpdate::default() }
}

/// A member that holds agent 1, which has a row.
async fn holder(site: &Site) -> (Member, Fence) {
    let a = site.member("a").await;
    let grant = a.claim(1, &agent(1)).await;
    a.show(&[agent(1)]).await;
    let fence = a.fence(&grant);
    (a, fence)
}

async fn session(member: &Member) -> Session {
    let sessions = member.store.sessions(member.id(), SessionFilter::default()).await.unwrap();
    sessions.into_iter().find(|session| session.agent_id == agent(1)).expect("a session")
}

pub async fn every_field_is_written(site: &Site) {
    let (a, fence) = holder(site).await;
    let update = SessionUpdate {
        status: Some("qr_pending".to_owned()),
        phone_number: Some(Some("4915112345678".to_owned())),
        qr_code: Some(Some("2@abc".to_owned())),
        is_active: Some(true),
        last_connected_ms: Some(Some(1_700_000_000_123)),
    };
    assert_eq!(a.store.update_session(&fence, &update).await.unwrap(), Written::Done);
    let row = session(&a).await;
    assert_eq!(row.status.as_deref(), Some("qr_pending"));
    assert_eq!(row.phone_number.as_deref(), Some("4915112345678"));
    assert!(row.is_active);
    assert_eq!(row.last_connected_ms, Some(1_700_000_000_123));
    assert!(row.updated_at_ms.is_some());
    let qr =
        site.rows("SELECT qr_code, CAST(qr_generated_at AS TEXT) FROM whatsapp_sessions").await;
    assert_eq!(qr[0][0].as_deref(), Some("2@abc"));
    assert!(qr[0][1].is_some());

    let nothing = SessionUpdate {
        phone_number: Some(None),
        qr_code: Some(None),
        is_active: Some(false),
        last_connected_ms: Some(None),
        status: None,
    };
    assert_eq!(a.store.update_session(&fence, &nothing).await.unwrap(), Written::Done);
    let row = session(&a).await;
    assert_eq!(row.status.as_deref(), Some("qr_pending"));
    assert_eq!((row.phone_number, row.is_active, row.last_connected_ms), (None, false, None));
    assert_eq!(site.value("SELECT qr_code FROM whatsapp_sessions").await, None);
}

pub async fn what_is_not_named_stays(site: &Site) {
    let (a, fence) = holder(site).await;
    let update = SessionUpdate { last_connected_ms: Some(Some(5_000)), ..phone("49") };
    a.store.update_session(&fence, &update).await.unwrap();
    for update in [SessionUpdate::default(), status("error")] {
        assert_eq!(a.store.update_session(&fence, &update).await.unwrap(), Written::Done);
        let row = session(&a).await;
        assert_eq!(row.phone_number.as_deref(), Some("49"));
        assert_eq!(row.last_connected_ms, Some(5_000));
        assert!(!row.is_active);
    }
    let shown = site.value("SELECT instance_id FROM whatsapp_sessions").await;
    assert_eq!(shown.as_deref(), Some("instance-a"));
}

pub async fn connected_makes_active_unless_told_otherwise(site: &Site) {
    let (a, fence) = holder(site).await;
    a.store.update_session(&fence, &status("connected")).await.unwrap();
    assert!(session(&a).await.is_active);
    a.store.update_session(&fence, &status("disconnected")).await.unwrap();
    assert!(session(&a).await.is_active, "to be resumed");
    let update = SessionUpdate { is_active: Some(false), ..status("connected") };
    a.store.update_session(&fence, &update).await.unwrap();
    assert!(!session(&a).await.is_active);
}

pub async fn only_the_holder_writes(site: &Site) {
    let (a, fence) = holder(site).await;
    let b = site.member("b").await;
    let refused = async |fence: &Fence| {
        let written = a.store.update_session(fence, &status("error")).await.unwrap();
        assert_eq!(written, Written::Refused);
        assert_eq!(session(&a).await.status.as_deref(), Some("disconnected"));
    };
    refused(&Fence { token: fence.token + 1, ..fence.clone() }).await;
    refused(&Fence { token: fence.token - 1, ..fence.clone() }).await;
    refused(&Fence { incarnation: b.id().to_owned(), ..fence.clone() }).await;
    refused(&Fence { agent_id: agent(2), ..fence.clone() }).await;

    let again = a.claim(2, &agent(1)).await;
    refused(&fence).await;
    a.release(&again).await;
    refused(&a.fence(&again)).await;
    let third = a.claim(3, &agent(1)).await;
    b.bury(&a, Death::Silent).await;
    let theirs = b.claim(1, &agent(1)).await;
    refused(&a.fence(&third)).await;
    site.execute("DELETE FROM baileys_guard_lease").await;
    refused(&b.fence(&theirs)).await;
}

pub async fn an_agent_without_a_row_has_nothing_to_write(site: &Site) {
    let a = site.member("a").await;
    let grant = a.claim(1, &agent(1)).await;
    let fence = a.fence(&grant);
    let written = a.store.update_session(&fence, &status("connected")).await.unwrap();
    assert_eq!(written, Written::NoRow);
    a.release(&grant).await;
    let written = a.store.update_session(&fence, &status("connected")).await.unwrap();
    assert_eq!(written, Written::Refused, "the fence comes first");
}

pub async fn only_the_newest_row_is_written(site: &Site) {
    site.with_host_tables().await;
    let a = site.member("a").await;
    let (old, new) = (site.host_row(&agent(1), 9).await, site.host_row(&agent(1), 1).await);
    let other = site.host_row(&agent(2), 0).await;
    let grant = a.claim(1, &agent(1)).await;
    a.store.update_session(&a.fence(&grant), &status("qr_pending")).await.unwrap();
    for (id, expected) in [(old, false), (new, true), (other, false)] {
        let status = format!("SELECT status FROM whatsapp_sessions WHERE id = '{id}'");
        assert_eq!(site.value(&status).await.as_deref() == Some("qr_pending"), expected);
    }
}

pub async fn what_the_table_refuses_is_told(site: &Site) {
    let (a, fence) = holder(site).await;
    let error = a.store.update_session(&fence, &status("asleep")).await.unwrap_err();
    let Error::SessionRowRefused { agent_id, cause } = error else { panic!("{error:?}") };
    assert_eq!(agent_id, agent(1));
    assert!(!cause.is_empty());
    assert_eq!(session(&a).await.status.as_deref(), Some("disconnected"));
    let written = a.store.update_session(&fence, &status("error")).await.unwrap();
    assert_eq!(written, Written::Done, "a refusal spoils nothing");
}

/// A frozen owner thaws in the middle of a takeover. What the successor reads after its claim has
/// returned has to be the last word of the old term.
pub async fn a_frozen_owner_never_writes_after_its_successor(site: &Site) {
    let b = site.member("b").await;
    for round in 0..40 {
        let a = Arc::new(site.member(&format!("a{round}")).await);
        let grant = a.claim(1, &agent(1)).await;
        a.show(&[agent(1)]).await;
        let first = Arc::new(Notify::new());
        let mut writers = JoinSet::new();
        for writer in 0..3 {
            let (a, fence, first) = (a.clone(), a.fence(&grant), first.clone());
            writers.spawn(async move {
                for turn in 0.. {
                    let update = phone(&format!("{round}{writer}{turn}"));
                    match a.store.update_session(&fence, &update).await.unwrap() {
                        Written::Refused => return,
                        written => assert_eq!(written, Written::Done),
                    }
                    first.notify_one();
                }
            });
        }
        first.notified().await;
        b.bury(&a, Death::Silent).await;
        let grant = b.claim(round, &agent(1)).await;
        let last = session(&b).await.phone_number;
        let refused = async {
            while let Some(ended) = writers.join_next().await {
                ended.unwrap()
            }
        };
        timeout(Duration::from_secs(20), refused).await.expect("an old token is still accepted");
        assert_eq!(session(&b).await.phone_number, last, "a write under the old token came later");
        b.release(&grant).await;
        a.store.close().await;
    }
}

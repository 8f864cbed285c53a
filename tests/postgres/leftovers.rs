//! Rows as a host could have left them: what its columns' types permit, and people seldom think of.
//! `fuzz/src/sessions.rs` does the same with SQLite, which permits everything.

use baileys_guard::error::Error;
use baileys_guard::store::{HostColumn, Session, SessionFilter, SessionUpdate, Written};

use crate::conformance::{Member, Site};
use crate::on_a_database;

const SOUND: &str = "sound";
const SOUND_AT_MS: i64 = 1_706_169_600_000;

/// For any column of times.
const TIMES: &[&str] = &[
    "'infinity'",
    "'-infinity'",
    "'4713-01-01 00:00:00 BC'",
    "'0001-01-01 00:00:00'",
    "'1969-12-31 23:59:59.9995'",
    "'294276-12-31 23:59:59.999999'",
    "NULL",
];

/// For `json` and, where that takes it, `jsonb`.
const JSON: &[&str] = &[
    "'null'",
    "'7'",
    "'1e400'",
    "'[]'",
    r#"'"text"'"#,
    r#"'{"creds": null}'"#,
    r#"'{"creds": [1, "\ud83d\ude00"]}'"#,
    r#"'{"creds": {"v": 1}, "creds": {}}'"#,
    "repeat('[', 5000)||repeat(']', 5000)",
    r#"'{"creds":{}, "host":"\u0000"}'"#,
    r#"'"\ud800"'"#,
    "'1e400000'",
];
/// So many of them `jsonb` takes.
const JSONB: usize = 9;

const AGENTS: &[&str] = &["''", "'  '", "repeat('x', 100000)", "E'\\u200b\\n'", "U&'\\FFFD'"];

async fn host(site: &Site, time: &str, json: &str) {
    site.execute(&format!(
        "CREATE TABLE whatsapp_sessions (
           id serial PRIMARY KEY, user_id text, agent_id text, phone_number text, status text,
           is_active boolean, session_data {json}, qr_code text, qr_generated_at {time},
           instance_id text, instance_hostname text, instance_pid integer,
           instance_started_at {time}, last_heartbeat {time}, last_connected {time},
           created_at {time}, updated_at {time});
         INSERT INTO whatsapp_sessions (agent_id, is_active, status, last_connected)
         VALUES ('{SOUND}', true, 'connected', '2024-01-25 08:00:00Z')"
    ))
    .await;
    for (number, at) in TIMES.iter().enumerate() {
        site.execute(&format!(
            "INSERT INTO whatsapp_sessions (agent_id, is_active, qr_generated_at,
               instance_started_at, last_heartbeat, last_connected, created_at, updated_at)
             VALUES ('time-{number}', true, {at}, {at}, {at}, {at}, {at}, {at}),
                    ('many', {number} % 2 = 0, {at}, {at}, {at}, {at}, {at}, {at})"
        ))
        .await;
    }
    let shapes = if json == "json" { JSON } else { &JSON[..JSONB] };
    for (number, shape) in shapes.iter().enumerate() {
        site.execute(&format!(
            "INSERT INTO whatsapp_sessions (agent_id, session_data)
             VALUES ('json-{number}', ({shape})::text::{json})"
        ))
        .await;
    }
    for agent in AGENTS {
        site.execute(&format!(
            "INSERT INTO whatsapp_sessions (agent_id, is_active, status, instance_id, instance_pid)
             VALUES ({agent}, true, 'what?', 'nobody', -2147483648), (NULL, NULL, NULL, NULL, NULL)"
        ))
        .await;
    }
}

async fn listed(a: &Member, active: Option<bool>) -> Vec<Session> {
    let rows = a.store.sessions(a.id(), SessionFilter { active, mine: None }).await.unwrap();
    let sound = rows.iter().find(|row| row.agent_id == SOUND);
    if active != Some(false) {
        assert_eq!(sound.expect("it is listed").last_connected_ms, Some(SOUND_AT_MS));
    }
    rows
}

/// The whole life of a claim on an agent.
async fn live(a: &Member, seq: i64, agent_id: &str) {
    let grant = a.claim(seq, agent_id).await;
    let one = [agent_id.to_owned()];
    a.store.show(&a.me, &one, None).await.unwrap();
    assert!(a.store.refresh_sessions(&a.me).await.unwrap().is_empty());
    let update = SessionUpdate {
        status: Some("connected".to_owned()),
        last_connected_ms: Some(Some(SOUND_AT_MS)),
        ..SessionUpdate::default()
    };
    let written = a.store.update_session(&a.fence(&grant), &update).await.unwrap();
    assert_eq!(written, Written::Done);
    let rows = listed(a, Some(true)).await;
    let mine = rows.iter().find(|row| row.mine).expect("the newest row was written and is listed");
    assert_eq!((mine.agent_id.as_str(), mine.last_connected_ms), (agent_id, Some(SOUND_AT_MS)));
    for column in HostColumn::ALL {
        a.store.session_data_of(column, agent_id).await.unwrap();
    }
    assert_eq!(a.store.release(&[a.fence(&grant)], true).await.unwrap(), one);
}

/// Every row with `session_data` is seen once and can be replaced.
async fn replace_data(a: &Member) -> usize {
    let (mut after, mut seen) = (String::new(), 0);
    loop {
        let rows = a.store.session_data(HostColumn::SessionData, &after, 2).await.unwrap();
        let Some(last) = rows.last() else { return seen };
        after = last.row_id.clone();
        for row in rows {
            assert!(a.store.session_data_swap(&row, &row.json).await.unwrap(), "{}", row.agent_id);
            seen += 1;
        }
    }
}

async fn check(time: &str, json: &str) {
    on_a_database(|site, _| async move {
        host(&site, time, json).await;
        let a = site.member("a").await;
        let duplicates = a.store.diagnose().await.unwrap().duplicates;
        assert_eq!(duplicates, [("many".to_owned(), TIMES.len() as i64)]);
        let rows = listed(&a, None).await;
        let shapes = if json == "json" { JSON.len() } else { JSONB };
        assert_eq!(rows.len(), 1 + TIMES.len() + 1 + shapes + AGENTS.len());
        for row in rows.iter().filter(|row| ["time-0", "time-1"].contains(&&*row.agent_id)) {
            assert_eq!((row.last_connected_ms, row.updated_at_ms), (None, None));
        }
        assert_eq!(replace_data(&a).await, shapes);

        let active = listed(&a, Some(true)).await;
        assert_eq!(active.len() + listed(&a, Some(false)).await.len(), rows.len());
        let orphans = a.store.orphans(a.id(), &[], 1000).await.unwrap();
        assert_eq!(orphans.agents.len(), active.len());
        let mut lived = 0;
        for agent_id in &orphans.agents {
            match a.store.canonical_agent(agent_id).await {
                Ok(id) => {
                    assert_eq!(&id, agent_id);
                    if id != SOUND && id.len() < 1000 {
                        lived += 1;
                        live(&a, lived, &id).await;
                    }
                }
                Err(error) => assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}"),
            }
        }
        let left = a.store.orphans(a.id(), &[], 1000).await.unwrap();
        assert_eq!(left.orphans as i64, orphans.orphans as i64 - lived);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_without_a_zone_and_jsonb() {
    check("timestamp", "jsonb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_with_a_zone_and_json() {
    check("timestamptz", "json").await;
}

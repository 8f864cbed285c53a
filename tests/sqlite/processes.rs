//! Several real processes on one file. The test binary starts itself again for that.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::conformance::{agent, agents, registration};
use crate::{on_a_file, store_at};

/// Tells the process that it is one of those, and which.
const ROLE: &str = "BAILEYS_GUARD_TEST_ROLE";
const FILE: &str = "BAILEYS_GUARD_TEST_FILE";

fn start(role: &str, file: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::another_process", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "the other half of the tests below, which start it"]
async fn another_process() {
    let file = std::env::var(FILE).expect("started by a test of this file");
    let store = store_at(file, Duration::from_secs(30));
    store.migrate().await.unwrap();
    let me = registration("child");
    store.register(&me).await.unwrap();
    if std::env::var(ROLE).unwrap() == "all" {
        let claimed = store.claim(&me.incarnation, 1, &agents(0..1_000)).await.unwrap();
        for grant in claimed.grants {
            println!("granted {} {}", grant.agent_id, grant.token);
        }
        return;
    }
    for number in 0.. {
        let claimed = store.claim(&me.incarnation, 1, &[agent(number)]).await.unwrap();
        println!("granted {} {}", claimed.grants[0].agent_id, claimed.grants[0].token);
    }
}

fn granted(line: &str) -> Option<(String, String)> {
    let (agent, token) = line.strip_prefix("granted ")?.split_once(' ')?;
    Some((agent.to_owned(), token.to_owned()))
}

#[tokio::test]
async fn four_processes_claim_a_thousand_agents() {
    on_a_file(|site, path| async move {
        let children: Vec<_> = (0..4).map(|_| start("all", &path)).collect();
        let mut won = HashSet::new();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            for line in String::from_utf8(output.stdout).unwrap().lines() {
                if let Some((agent, _)) = granted(line) {
                    assert!(won.insert(agent), "{line}: a second winner");
                }
            }
        }
        assert_eq!(won.len(), 1_000);
        let rows = site.rows("SELECT agent_id FROM baileys_guard_lease WHERE held = 1").await;
        assert_eq!(rows.len(), 1_000);
    })
    .await;
}

#[tokio::test]
async fn what_was_granted_survives_a_killed_process() {
    on_a_file(|site, path| async move {
        let mut child = start("one by one", &path);
        let mut told = BTreeMap::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            told.extend(granted(&line.unwrap()));
            if told.len() == 30 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(told.len() >= 30);
        let rows = site.rows("SELECT agent_id, CAST(token AS TEXT) FROM baileys_guard_lease").await;
        let kept: BTreeMap<_, _> = rows
            .into_iter()
            .map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap()))
            .collect();
        for (agent, token) in &told {
            assert_eq!(kept.get(agent), Some(token), "an answer that was lost");
        }
        let a = site.member("a").await;
        a.claim_in_vain(1, &agent(0)).await;
    })
    .await;
}

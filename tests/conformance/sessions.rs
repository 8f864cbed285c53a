//! What the host's table shows of the owners.

use baileys_guard::error::Error;
use baileys_guard::store::{Death, Session, SessionFilter};

use super::{Member, Site, USER, agent, agents, truth_value};

/// Owner as one row shows it.
async fn shown(site: &Site, row: &str) -> Option<String> {
    let columns = "instance_id, instance_hostname, CAST(instance_pid AS TEXT), \
                   CAST(instance_started_at AS TEXT), CAST(last_heartbeat AS TEXT)";
    let rows = site.rows(&format!("SELECT {columns} FROM whatsapp_sessions WHERE {row}")).await;
    assert_eq!(rows.len(), 1, "{row}: {rows:?}");
    let [instance, hostname, pid, started, heartbeat] = &rows[0][..] else { unreachable!() };
    if let Some(name) = instance.as_deref().and_then(|id| id.strip_prefix("instance-")) {
        assert_eq!(hostname.as_deref(), Some(format!("host-{name}").as_str()));
        assert_eq!(pid.as_deref(), Some("4242"));
        assert!(started.is_some() && heartbeat.is_some());
    } else {
        assert_eq!((hostname, pid, started), (&None, &None, &None), "cleared as a whole");
    }
    instance.clone()
}

async fn shown_of(site: &Site, agent_id: &str) -> Option<String> {
    shown(site, &format!("agent_id = '{agent_id}'")).await
}

async fn listed(member: &Member, active: Option<bool>, mine: Option<bool>) -> Vec<Session> {
    let filter = SessionFilter { active, mine };
    member.store.sessions(member.id(), filter).await.unwrap()
}

pub async fn a_first_show_inserts_a_row(site: &Site) {
    let a = site.member("a").await;
    a.claim(1, &agent(1)).await;
    a.store.show(&a.me, &[agent(1)], Some(USER)).await.unwrap();
    assert_eq!(shown_of(site, &agent(1)).await.as_deref(), Some("instance-a"));
    let [row] = &listed(&a, None, None).await[..] else { panic!("one row") };
    assert_eq!(row.user_id.as_deref(), Some(USER));
    assert!(!row.is_active, "nothing to resume before it was connected once");
    assert_eq!(row.status.as_deref(), Some("disconnected"));
    a.store.show(&a.me, &[agent(1)], None).await.unwrap();
    assert_eq!(listed(&a, None, None).await.len(), 1);

    a.claim(1, &agent(2)).await;
    a.store.show(&a.me, &[agent(2)], None).await.unwrap();
    assert_eq!(listed(&a, None, None).await[1].user_id, None, "our own table wants no user");
}

pub async fn a_show_changes_the_newest_row_only(site: &Site) {
    site.with_host_tables().await;
    let a = site.member("a").await;
    let ids = [site.host_row(&agent(1), 9).await, site.host_row(&agent(1), 1).await];
    let middle = site.host_row(&agent(1), 5).await;
    let host = "SELECT CAST(id AS TEXT), CAST(user_id AS TEXT), CAST(agent_id AS TEXT), \
                phone_number, CAST(is_active AS TEXT), CAST(created_at AS TEXT), \
                CAST(updated_at AS TEXT) FROM whatsapp_sessions ORDER BY 1";
    let before = site.rows(host).await;
    a.claim(1, &agent(1)).await;
    a.store.show(&a.me, &[agent(1)], None).await.unwrap();
    assert_eq!(site.rows(host).await, before, "the host's own fields stay");
    assert_eq!(shown(site, &format!("id = '{}'", ids[0])).await, None);
    assert_eq!(shown(site, &format!("id = '{middle}'")).await, None);
    assert_eq!(shown(site, &format!("id = '{}'", ids[1])).await.as_deref(), Some("instance-a"));
}

pub async fn a_show_of_many(site: &Site) {
    site.with_host_tables().await;
    let a = site.member("a").await;
    for number in 0..10 {
        site.host_row(&agent(number), 3).await;
    }
    a.try_claim(1, &agents(0..20)).await;
    a.store.show(&a.me, &agents(5..15), Some(USER)).await.unwrap();
    let rows = site
        .rows("SELECT CAST(agent_id AS TEXT) FROM whatsapp_sessions WHERE instance_id = 'instance-a' ORDER BY 1")
        .await;
    let rows: Vec<_> = rows.into_iter().map(|row| row[0].clone().unwrap()).collect();
    assert_eq!(rows, agents(5..15));
    let count = site.value("SELECT CAST(count(*) AS TEXT) FROM whatsapp_sessions").await;
    assert_eq!(count.as_deref(), Some("15"));
}

pub async fn a_user_is_required_where_the_host_says_so(site: &Site) {
    site.with_host_tables().await;
    let a = site.member("a").await;
    let grant = a.claim(1, &agent(1)).await;
    let error = a.store.show(&a.me, &[agent(1)], None).await.unwrap_err();
    let Error::UserIdRequired { agent_id } = error else { panic!("{error:?}") };
    assert_eq!(agent_id, agent(1));
    assert!(site.rows("SELECT CAST(id AS TEXT) FROM whatsapp_sessions").await.is_empty());
    let leases = a.store.leases(a.id()).await.unwrap();
    assert_eq!(leases, [(agent(1), grant.token)], "showing decides nothing");
    a.store.show(&a.me, &[agent(1)], Some(USER)).await.unwrap();
    assert_eq!(shown_of(site, &agent(1)).await.as_deref(), Some("instance-a"));
}

pub async fn a_row_that_the_host_refuses_is_told(site: &Site) {
    site.with_host_tables().await;
    let a = site.member("a").await;
    a.claim(1, &agent(1)).await;
    let stranger = "00000000-0000-4000-9000-00000000dead";
    let error = a.store.show(&a.me, &[agent(1)], Some(stranger)).await.unwrap_err();
    let Error::SessionRowRefused { agent_id, cause } = error else { panic!("{error:?}") };
    assert_eq!(agent_id, agent(1));
    assert!(!cause.is_empty());
    assert!(site.rows("SELECT CAST(id AS TEXT) FROM whatsapp_sessions").await.is_empty());
    a.store.show(&a.me, &[agent(1)], Some(USER)).await.unwrap();
}

pub async fn a_superseded_owner_is_not_shown(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    a.claim(1, &agent(1)).await;
    a.show(&[agent(1)]).await;
    b.bury(&a, Death::Silent).await;
    b.claim(1, &agent(1)).await;
    b.show(&[agent(1)]).await;
    a.store.refresh_sessions(&a.me).await.unwrap();
    a.show(&[agent(1)]).await; // frozen since its claim was granted
    a.store.retire(a.id()).await.unwrap();
    assert_eq!(shown_of(site, &agent(1)).await.as_deref(), Some("instance-b"));

    site.execute("DELETE FROM whatsapp_sessions").await;
    a.show(&[agent(1)]).await;
    assert!(site.rows("SELECT CAST(id AS TEXT) FROM whatsapp_sessions").await.is_empty());
}

pub async fn a_refresh_shows_again_and_finds_agents_without_a_row(site: &Site) {
    site.with_host_tables().await;
    let (a, b) = (site.member("a").await, site.member("b").await);
    for number in 0..4 {
        site.host_row(&agent(number), 3).await;
    }
    a.try_claim(1, &agents(0..3)).await;
    b.claim(1, &agent(3)).await;
    a.show(&agents(0..3)).await;
    b.show(&[agent(3)]).await;
    site.execute("UPDATE whatsapp_sessions SET last_heartbeat = '2024-01-01T00:00:00.000Z'").await;
    site.execute(&format!(
        "UPDATE whatsapp_sessions SET instance_id = NULL, instance_hostname = NULL WHERE agent_id = '{}'",
        agent(1)
    ))
    .await;
    site.execute(&format!("DELETE FROM whatsapp_sessions WHERE agent_id = '{}'", agent(2))).await;

    assert_eq!(a.store.refresh_sessions(&a.me).await.unwrap(), [agent(2)]);
    let old = site
        .rows("SELECT CAST(agent_id AS TEXT) FROM whatsapp_sessions WHERE last_heartbeat < '2024-02-01T00:00:00.000Z'")
        .await;
    assert_eq!(old, [vec![Some(agent(3))]], "only its own rows");
    for number in 0..2 {
        assert_eq!(shown_of(site, &agent(number)).await.as_deref(), Some("instance-a"));
    }
    let held = b.store.refresh_sessions(&b.me).await.unwrap();
    assert!(held.is_empty());
}

pub async fn a_release_clears_the_row(site: &Site) {
    site.with_host_tables().await;
    let (a, b) = (site.member("a").await, site.member("b").await);
    site.host_row(&agent(1), 1).await;
    site.host_row(&agent(2), 1).await;
    let grant = a.claim(1, &agent(1)).await;
    b.claim(1, &agent(2)).await;
    a.show(&[agent(1)]).await;
    b.show(&[agent(2)]).await;
    a.release(&grant).await;
    assert_eq!(shown_of(site, &agent(1)).await, None);
    assert_eq!(shown_of(site, &agent(2)).await.as_deref(), Some("instance-b"));
    assert_eq!(listed(&a, Some(true), None).await.len(), 2, "both should still run");
}

pub async fn a_deactivating_release_ends_the_session(site: &Site) {
    site.with_host_tables().await;
    let a = site.member("a").await;
    site.host_row(&agent(1), 1).await;
    site.host_row(&agent(2), 1).await;
    let grants = a.try_claim(1, &agents(1..3)).await.grants;
    a.show(&agents(1..3)).await;
    site.execute("UPDATE whatsapp_sessions SET status = 'connected'").await;
    let late = [a.fence(&grants[0])];
    assert_eq!(a.store.release(&late, true).await.unwrap(), [agent(1)]);
    let state = async |agent_id: String| {
        let state = "SELECT CAST(is_active AS TEXT), status FROM whatsapp_sessions WHERE agent_id";
        let row = site.rows(&format!("{state} = '{agent_id}'")).await.remove(0);
        (truth_value(row[0].clone()), row[1].clone().unwrap())
    };
    assert_eq!(state(agent(1)).await, (false, "disconnected".to_owned()));
    assert_eq!(state(agent(2)).await, (true, "connected".to_owned()));
    assert_eq!(shown_of(site, &agent(1)).await, None);

    site.execute("UPDATE whatsapp_sessions SET is_active = true, status = 'connected'").await;
    assert!(a.store.release(&late, true).await.unwrap().is_empty());
    assert_eq!(state(agent(1)).await, (true, "connected".to_owned()), "a late release is nothing");
}

pub async fn retiring_clears_the_rows(site: &Site) {
    let (a, b) = (site.member("a").await, site.member("b").await);
    a.try_claim(1, &agents(1..4)).await;
    a.show(&agents(1..4)).await;
    b.claim(1, &agent(4)).await;
    b.show(&[agent(4)]).await;
    site.execute("UPDATE whatsapp_sessions SET is_active = true").await;
    a.store.retire(a.id()).await.unwrap();
    for number in 1..4 {
        assert_eq!(shown_of(site, &agent(number)).await, None);
    }
    assert_eq!(shown_of(site, &agent(4)).await.as_deref(), Some("instance-b"));
    assert_eq!(listed(&b, Some(true), None).await.len(), 4, "all are to be resumed");
}

pub async fn all_sessions_are_listed_once(site: &Site) {
    site.with_host_tables().await;
    let a = site.member("a").await;
    site.host_row(&agent(1), 9).await;
    let newest = site.host_row(&agent(1), 1).await;
    site.host_row(&agent(1), 5).await;
    site.host_row(&agent(2), 2).await;
    let nobody = site.host_row(&agent(3), 2).await;
    let forget = format!("UPDATE whatsapp_sessions SET agent_id = NULL WHERE id = '{nobody}'");
    site.execute(&forget).await;
    let grant = a.claim(1, &agent(1)).await;

    let rows = listed(&a, None, None).await;
    let ids: Vec<_> = rows.iter().map(|row| row.agent_id.clone()).collect();
    assert_eq!(ids, agents(1..3));
    assert_eq!(rows[0].phone_number.as_deref(), Some(&newest[24..]));
    assert_eq!(rows[0].user_id.as_deref(), Some(USER));
    assert!(rows[0].is_active && rows[0].mine);
    assert_eq!(rows[0].last_connected_ms, None);
    let owner = rows[0].owner.as_ref().expect("an owner");
    assert_eq!((owner.instance_id.as_str(), owner.token), ("instance-a", grant.token));
    assert!(rows[1].owner.is_none() && !rows[1].mine);
}

pub async fn sessions_are_filtered(site: &Site) {
    site.with_host_tables().await;
    let (a, b, c) = (site.member("a").await, site.member("b").await, site.member("c").await);
    for number in 0..6 {
        site.host_row(&agent(number), 2).await;
    }
    let inactive = format!("agent_id IN ('{}', '{}')", agent(1), agent(3));
    site.execute(&format!("UPDATE whatsapp_sessions SET is_active = false WHERE {inactive}")).await;
    a.try_claim(1, &agents(0..2)).await;
    b.try_claim(1, &agents(2..4)).await;
    c.claim(1, &agent(4)).await;
    a.bury(&c, Death::Gone).await;

    let numbers = async |active, mine| {
        let rows = listed(&a, active, mine).await;
        rows.into_iter().map(|row| row.agent_id).collect::<Vec<_>>()
    };
    let expect = |numbers: &[usize]| numbers.iter().map(|&n| agent(n)).collect::<Vec<_>>();
    assert_eq!(numbers(None, None).await, expect(&[0, 1, 2, 3, 4, 5]));
    assert_eq!(numbers(Some(true), None).await, expect(&[0, 2, 4, 5]));
    assert_eq!(numbers(Some(false), None).await, expect(&[1, 3]));
    assert_eq!(numbers(None, Some(true)).await, expect(&[0, 1]));
    assert_eq!(numbers(None, Some(false)).await, expect(&[2, 3, 4, 5]), "the unowned too");
    assert_eq!(numbers(Some(true), Some(true)).await, expect(&[0]));
    assert_eq!(numbers(Some(false), Some(false)).await, expect(&[3]));
    let rows = listed(&a, None, None).await;
    assert!(rows[4].owner.is_none(), "its owner is dead");
    assert_eq!(rows[2].owner.as_ref().unwrap().instance_id, "instance-b");
    assert!(!rows[2].mine);
}

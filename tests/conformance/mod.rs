//! What every store has to do, as one suite: each sentence of `store::Store` is a case.
//!
//! A keeper's test file gives a function that makes a fresh database and calls
//! `conformance_suite!`, which expands to one test for each case. The cases reach a database as
//! its users do: through stores, and through the plain SQL of a host.

pub mod changes;
pub mod claims;
pub mod fences;
pub mod instances;
pub mod limits;
pub mod reconnects;
pub mod schema;
pub mod sessions;
pub mod takeovers;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baileys_guard::store::{
    Claimed, DatabaseUrl, Death, Fence, Grant, Registration, Store, StoreOptions, open,
};
use futures_util::FutureExt;

/// A user that the host's tables know.
pub const USER: &str = "00000000-0000-4000-9000-000000000001";

/// One row as text.
pub type Row = Vec<Option<String>>;

/// A fresh database that one test has to itself.
#[async_trait]
pub trait Database: Send + Sync {
    /// Where stores find it.
    fn url(&self) -> DatabaseUrl;
    /// Runs statements as a host or a person would.
    async fn execute(&self, sql: &str);
    /// Runs a query whose columns are all text.
    async fn rows(&self, sql: &str) -> Vec<Row>;
    /// A host's tables before any migration: `users` with the row `USER`, and
    /// `whatsapp_sessions` with `user_id` NOT NULL and no unique `agent_id`.
    fn host_tables(&self) -> &'static str;
    /// What the migration 008 of many hosts adds to that.
    fn hosts_own_008(&self) -> &'static str;
    /// Columns and indexes of `whatsapp_sessions`, as the database describes them.
    async fn shape(&self) -> Vec<Row>;
    /// Removes it.
    async fn remove(&self);
}

/// A database and the stores on it.
pub struct Site(Box<dyn Database>);

impl Site {
    /// Runs one case and removes the database, whatever becomes of the case.
    pub async fn run<F, Fut>(database: impl Database + 'static, case: F)
    where
        F: FnOnce(Arc<Site>) -> Fut,
        Fut: Future<Output = ()>,
    {
        let site = Arc::new(Self(Box::new(database)));
        let outcome = AssertUnwindSafe(case(site.clone())).catch_unwind().await;
        site.0.remove().await;
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }

    /// Another store, as another process would open it.
    pub fn store(&self) -> Arc<dyn Store> {
        let call_timeout = Duration::from_secs(30);
        open(StoreOptions { url: self.0.url(), max_connections: 4, call_timeout }).unwrap()
    }

    /// Another store on the migrated database, with an incarnation that lives.
    pub async fn member(&self, name: &str) -> Member {
        let store = self.store();
        store.migrate().await.unwrap();
        let me = registration(name);
        store.register(&me).await.unwrap();
        Member { store, me }
    }

    pub async fn execute(&self, sql: &str) {
        self.0.execute(sql).await;
    }

    pub async fn rows(&self, sql: &str) -> Vec<Row> {
        self.0.rows(sql).await
    }

    /// The one value that the query gives.
    pub async fn value(&self, sql: &str) -> Option<String> {
        let rows = self.rows(sql).await;
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows[0][0].clone()
    }

    /// A database as a host brings it.
    pub async fn with_host_tables(&self) {
        self.execute(self.0.host_tables()).await;
    }

    /// A database as a host brings it that has migrated already.
    pub async fn with_hosts_own_008(&self) {
        self.with_host_tables().await;
        self.execute(self.0.hosts_own_008()).await;
    }

    pub async fn shape(&self) -> Vec<Row> {
        self.0.shape().await
    }

    /// A row of the host's; `age` in days decides which one is newest. Returns its id.
    pub async fn host_row(&self, agent_id: &str, age: u32) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let day = 28 - age;
        let phone = &id[24..];
        self.execute(&format!(
            "INSERT INTO whatsapp_sessions (id, user_id, agent_id, phone_number, is_active, \
             created_at) VALUES ('{id}', '{USER}', '{agent_id}', '{phone}', true, \
             '2024-01-{day:02}T10:00:00.000Z')"
        ))
        .await;
        id
    }

    /// Everything that decides who owns what, to compare before and after.
    pub async fn truth(&self) -> Vec<Row> {
        let mut rows = self
            .rows(
                "SELECT agent_id, incarnation, CAST(held AS TEXT), CAST(token AS TEXT), \
                 CAST(seq AS TEXT), CAST(claimed_at AS TEXT) FROM baileys_guard_lease ORDER BY 1",
            )
            .await;
        rows.extend(
            self.rows(
                "SELECT incarnation, CAST(beat AS TEXT), CAST(beat_at AS TEXT), \
                 CAST(dead_at AS TEXT), death FROM baileys_guard_instance ORDER BY 1",
            )
            .await,
        );
        rows
    }
}

/// One process: a store and its incarnation.
pub struct Member {
    pub store: Arc<dyn Store>,
    pub me: Registration,
}

impl Member {
    pub fn id(&self) -> &str {
        &self.me.incarnation
    }

    pub async fn try_claim(&self, seq: i64, agents: &[String]) -> Claimed {
        self.store.claim(self.id(), seq, agents).await.unwrap()
    }

    /// Claims one agent that has to be free.
    pub async fn claim(&self, seq: i64, agent_id: &str) -> Grant {
        let claimed = self.try_claim(seq, &[agent_id.to_owned()]).await;
        assert!(claimed.alive);
        assert_eq!(claimed.grants.len(), 1, "{agent_id} is not free");
        claimed.grants[0].clone()
    }

    /// Claims one agent that may not be had.
    pub async fn claim_in_vain(&self, seq: i64, agent_id: &str) {
        let claimed = self.try_claim(seq, &[agent_id.to_owned()]).await;
        assert!(claimed.alive);
        assert!(claimed.grants.is_empty(), "{:?}", claimed.grants);
    }

    pub fn fence(&self, grant: &Grant) -> Fence {
        Fence {
            incarnation: self.me.incarnation.clone(),
            agent_id: grant.agent_id.clone(),
            token: grant.token,
        }
    }

    pub async fn release(&self, grant: &Grant) {
        let released = self.store.release(&[self.fence(grant)], false).await.unwrap();
        assert_eq!(released, std::slice::from_ref(&grant.agent_id));
    }

    /// Shows its agents, with a user for those without a row.
    pub async fn show(&self, agents: &[String]) {
        self.store.show(&self.me, agents, Some(USER)).await.unwrap();
    }

    /// Buries another member as its watcher would.
    pub async fn bury(&self, other: &Member, how: Death) {
        let beat = self.beat_of(other).await;
        assert!(self.store.bury(other.id(), beat, how).await.unwrap());
    }

    /// The counter of another member.
    pub async fn beat_of(&self, other: &Member) -> i64 {
        let peers = self.store.peers(self.id()).await.unwrap();
        peers.iter().find(|peer| peer.incarnation == other.id()).expect("a live peer").beat
    }
}

/// An incarnation with a name of its own.
pub fn registration(name: &str) -> Registration {
    Registration {
        incarnation: uuid::Uuid::new_v4().to_string(),
        instance_id: format!("instance-{name}"),
        hostname: format!("host-{name}"),
        pid: 4242,
        ttl: Duration::from_millis(60_500),
        boot_id: Some(format!("boot-{name}")),
        lock_dir: None,
    }
}

/// An agent id that every kind of column can hold.
pub fn agent(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

pub fn agents(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(agent).collect()
}

/// Grants by agent, each of which may be there only once.
pub fn by_agent(grants: &[Grant]) -> BTreeMap<&str, &Grant> {
    let map: BTreeMap<_, _> = grants.iter().map(|g| (g.agent_id.as_str(), g)).collect();
    assert_eq!(map.len(), grants.len(), "an agent was granted twice");
    map
}

/// A boolean as either database writes it.
pub fn truth_value(text: Option<String>) -> bool {
    matches!(text.as_deref(), Some("true" | "1" | "t"))
}

/// One test for each case, on the databases that `$fresh().await` makes.
#[macro_export]
macro_rules! conformance_suite {
    ($fresh:path) => {
        $crate::conformance_suite! { @rooms $fresh;
            instances {
                a_beat_counts_up_and_shows_the_others
                looking_at_the_others_is_no_beat
                an_unknown_incarnation_is_not_alive
                a_beat_counts_what_is_held
                a_burial_needs_the_count_that_was_watched
                the_dead_stay_dead
                registering_twice_is_registering_once
                the_long_dead_are_forgotten_unless_a_lease_names_them
                of_beat_and_burial_one_wins
                retiring_frees_everything_at_once
                a_closed_store_refuses
            }
            claims {
                a_fresh_agent_is_granted
                a_refused_claim_writes_nothing
                the_dead_are_granted_nothing
                only_a_newer_sequence_claims_again
                a_late_duplicate_is_refused_after_release
                a_sequence_binds_its_own_incarnation_only
                a_release_needs_incarnation_and_token
                a_release_of_an_old_term_touches_nothing
                a_release_that_races_a_takeover_touches_nothing
                many_are_released_at_once
                nothing_is_asked_for_with_an_empty_list
                an_agent_named_twice_is_granted_once
                a_released_agent_is_free
                a_deleted_lease_is_fresh_again
            }
            takeovers {
                from_an_owner_that_fell_silent
                from_an_owner_that_is_gone
                of_an_agent_released_before_its_owner_died
                in_a_mixed_batch
                from_a_live_owner_by_force
                from_ones_own_term_before
                from_oneself_under_a_newer_token
                a_thousand_fresh_agents_have_one_winner_each
                a_thousand_orphans_have_one_winner_each
                a_thousand_of_all_kinds_have_one_winner_but_the_living
                a_release_that_races_a_takeover_frees_nothing_of_the_successors
                tokens_only_grow
            }
            fences {
                every_field_is_written
                what_is_not_named_stays
                connected_makes_active_unless_told_otherwise
                only_the_holder_writes
                an_agent_without_a_row_has_nothing_to_write
                only_the_newest_row_is_written
                what_the_table_refuses_is_told
                a_frozen_owner_never_writes_after_its_successor
            }
            sessions {
                a_first_show_inserts_a_row
                a_show_changes_the_newest_row_only
                a_show_of_many
                a_user_is_required_where_the_host_says_so
                a_row_that_the_host_refuses_is_told
                a_superseded_owner_is_not_shown
                a_refresh_shows_again_and_finds_agents_without_a_row
                a_release_clears_the_row
                a_deactivating_release_ends_the_session
                retiring_clears_the_rows
                all_sessions_are_listed_once
                sessions_are_filtered
            }
            reconnects {
                a_successor_goes_on_where_its_predecessor_was
                a_clean_record_is_no_record
                only_the_holder_records
                many_are_recorded_and_recalled_at_once
                what_should_run_and_nobody_has_is_an_orphan
                no_more_orphans_are_named_than_asked_for
                what_is_passed_over_is_no_orphan_until_somebody_has_had_it
                what_somebody_else_has_is_passed_over_no_more
                what_was_claimed_here_once_more_is_passed_over
                the_newest_row_says_whether_a_session_should_run
                those_who_resume_know_of_each_other
            }
            schema {
                nothing_works_before_migration
                an_empty_database_gets_the_table
                a_ping_takes_a_connection_and_gives_it_back
                migrating_twice_changes_nothing
                several_migrate_at_once
                a_diagnosis_tells_and_changes_nothing
                a_host_keeps_its_rows
                a_host_that_has_migrated_itself_is_accepted
                a_rollback_restores_the_hosts_table
                a_rollback_leaves_the_hosts_own_columns
                a_table_of_ours_that_is_used_survives_a_rollback
                a_rollback_of_nothing_does_nothing
            }
            limits {
                a_fixed_window_decides_as_in_memory
                a_sliding_window_decides_as_in_memory
                gcra_decides_as_in_memory
                a_limit_of_zero_lets_nothing_pass
                hits_from_everywhere_on_one_key_are_counted_one_by_one
                calls_with_many_keys_in_any_order_never_stop_each_other
                keys_do_not_meet
                what_says_nothing_any_more_is_swept
            }
            changes {
                a_release_is_noticed
                a_burial_is_noticed
                a_retirement_is_noticed
                what_happened_between_two_calls_is_noticed
                an_exchange_between_two_calls_is_noticed
            }
        }
    };
    (@rooms $fresh:path; $($room:ident { $($case:ident)+ })+) => {
        $(mod $room {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    use $crate::conformance::{self, Site};
                    Site::run($fresh().await, |site| async move {
                        conformance::$room::$case(&site).await;
                    })
                    .await;
                }
            )+
        })+
    };
}

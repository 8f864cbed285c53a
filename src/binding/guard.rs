//! A guard as JavaScript holds it: ownership and the database behind it.

use std::sync::Arc;
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::{BigInt, Function, spawn, within_runtime_if_available};
use napi_derive::napi;
use tokio::sync::mpsc;

use super::claim::NativeClaim;
use super::event::{NativeEvent, forward};
use super::outcome::{Outcome, OwnerObject, Pending, pending};
use crate::clock::BootClock;
use crate::error::Result;
use crate::ownership::neighbours::Place;
use crate::ownership::{HeartbeatSettings, Ownership, Settings};
use crate::store::{self, DatabaseUrl, SessionFilter, Store, StoreOptions};

/// How long a call to the database may take before it counts as unanswered.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Options of a guard, already checked by `lib/options.js`.
#[napi(object)]
pub struct NativeOptions {
    /// `sqlite:…` or `postgres://…`.
    pub database_url: String,
    /// Public name of this instance.
    pub instance_id: String,
    /// Host name to show.
    pub hostname: String,
    /// Process id to show.
    pub pid: i32,
    /// Time to live of a lease.
    pub lease_ttl_ms: f64,
    /// `onStoreLost: 'keep'`.
    pub keep_when_store_lost: bool,
    /// Connections of the pool.
    pub max_connections: u32,
}

/// The answer to a batch claim.
#[napi(object, object_from_js = false)]
pub struct ClaimManyAnswer {
    /// What this instance holds now.
    pub claims: Vec<NativeClaim>,
    /// What others hold.
    pub in_use: Vec<InUseObject>,
}

/// An agent with a live owner elsewhere.
#[napi(object, object_from_js = false)]
pub struct InUseObject {
    /// The agent.
    pub agent_id: String,
    /// Who has it.
    pub owner: OwnerObject,
}

/// One row of `listSessions`; times in Unix milliseconds.
#[napi(object, object_from_js = false)]
pub struct SessionObject {
    /// The agent.
    pub agent_id: String,
    /// The host's user.
    pub user_id: Option<String>,
    /// Digits.
    pub phone_number: Option<String>,
    /// The host's state.
    pub status: Option<String>,
    /// Whether the session should run.
    pub is_active: bool,
    /// When it was last connected.
    pub last_connected: Option<f64>,
    /// When the row last changed.
    pub updated_at: Option<f64>,
    /// The live owner.
    pub owner: Option<OwnerObject>,
    /// The live owner is this guard.
    pub mine: bool,
}

/// What `migrate` did.
#[napi(object, object_from_js = false)]
pub struct MigratedObject {
    /// Names of the files that had not been applied before.
    pub applied: Vec<String>,
    /// Agents with more than one session row.
    pub duplicates: Vec<DuplicateObject>,
}

/// An agent with more than one session row.
#[napi(object, object_from_js = false)]
pub struct DuplicateObject {
    /// The agent.
    pub agent_id: String,
    /// How many rows it has.
    pub rows: i64,
}

/// Counters of ownership; they only grow, but for `beatFailuresInARow` and the last beat's figures.
#[napi(object, object_from_js = false)]
#[allow(missing_docs)] // the names say it
pub struct OwnershipStats {
    pub beats: f64,
    pub beat_failures: f64,
    pub beat_failures_in_a_row: f64,
    pub claims_granted: f64,
    pub takeovers: f64,
    pub burials: f64,
    pub releases: f64,
    pub row_writes: f64,
    pub row_writes_refused: f64,
    pub last_beat_age_ms: Option<f64>,
    pub last_round_trip_ms: f64,
}

/// One guard.
#[napi]
#[derive(Clone)]
pub struct NativeGuard {
    ownership: Arc<Ownership>,
}

impl NativeGuard {
    /// What it owns, and how.
    pub(super) fn ownership(&self) -> &Arc<Ownership> {
        &self.ownership
    }

    /// The database behind it.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.ownership.store()
    }
}

#[napi]
impl NativeGuard {
    /// A guard that tells `onEvent` what happens. Touches no database.
    #[napi(
        catch_unwind,
        ts_args_type = "options: NativeOptions, onEvent: (event: NativeEvent) => void",
        ts_return_type = "NativeGuard | Error"
    )]
    pub fn create(
        options: NativeOptions,
        on_event: Function<'_, NativeEvent, ()>,
    ) -> napi::Result<Outcome<NativeGuard>> {
        let tell = on_event.build_threadsafe_function::<NativeEvent>().weak::<true>().build()?;
        let (events, received) = mpsc::unbounded_channel();
        let open = || -> Result<Self> {
            let store = store::open(StoreOptions {
                url: DatabaseUrl::parse(&options.database_url)?,
                max_connections: options.max_connections,
                call_timeout: CALL_TIMEOUT,
            })?;
            let settings = Settings {
                instance_id: options.instance_id,
                hostname: options.hostname,
                pid: options.pid,
                ttl: millis(options.lease_ttl_ms),
                keep_when_store_lost: options.keep_when_store_lost,
                fresh_id: || uuid::Uuid::new_v4().to_string(),
            };
            let ownership =
                Ownership::new(store, Arc::new(BootClock), settings, Place::here(), events);
            Ok(Self { ownership: Arc::new(ownership) })
        };
        let guard = within_runtime_if_available(open);
        if guard.is_ok() {
            spawn(forward(received, tell));
        }
        Ok(guard.into())
    }

    /// Applies what the database lacks.
    #[napi(catch_unwind, ts_return_type = "Promise<MigratedObject | Error>")]
    pub fn migrate<'env>(&self, env: &'env Env) -> Pending<'env, MigratedObject> {
        let this = self.clone();
        pending(env, async move {
            let migrated = this.store().migrate().await;
            migrated
                .map(|migrated| MigratedObject {
                    applied: migrated.applied,
                    duplicates: migrated
                        .duplicates
                        .into_iter()
                        .map(|(agent_id, rows)| DuplicateObject { agent_id, rows })
                        .collect(),
                })
                .into()
        })
    }

    /// Undoes what `migrate` added.
    #[napi(catch_unwind, ts_return_type = "Promise<string[] | Error>")]
    pub fn rollback<'env>(&self, env: &'env Env) -> Pending<'env, Vec<String>> {
        let this = self.clone();
        pending(env, async move { this.store().rollback().await.into() })
    }

    /// Claims one agent, waiting up to `waitMs` for a live owner to go.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeClaim | Error>")]
    pub fn claim<'env>(
        &self,
        env: &'env Env,
        agent_id: String,
        user_id: Option<String>,
        wait_ms: f64,
    ) -> Pending<'env, NativeClaim> {
        let this = self.clone();
        pending(env, async move {
            let claim = this.ownership.claim(&agent_id, user_id.as_deref(), millis(wait_ms)).await;
            claim.map(|claim| NativeClaim::new(claim, this.ownership.clone())).into()
        })
    }

    /// Claims many agents in one statement.
    #[napi(catch_unwind, ts_return_type = "Promise<ClaimManyAnswer | Error>")]
    pub fn claim_many<'env>(
        &self,
        env: &'env Env,
        agent_ids: Vec<String>,
        user_id: Option<String>,
    ) -> Pending<'env, ClaimManyAnswer> {
        let this = self.clone();
        pending(env, async move {
            let answer = this.ownership.claim_many(&agent_ids, user_id.as_deref()).await;
            answer
                .map(|answer| ClaimManyAnswer {
                    claims: answer
                        .claims
                        .into_iter()
                        .map(|claim| NativeClaim::new(claim, this.ownership.clone()))
                        .collect(),
                    in_use: answer
                        .in_use
                        .into_iter()
                        .map(|in_use| InUseObject {
                            agent_id: in_use.agent_id,
                            owner: (&in_use.owner).into(),
                        })
                        .collect(),
                })
                .into()
        })
    }

    /// Starts renewing.
    #[napi(catch_unwind, ts_return_type = "void | Error")]
    pub fn start_heartbeat(&self, interval_ms: f64, max_stall_ms: f64) -> Outcome<()> {
        let settings =
            HeartbeatSettings { interval: millis(interval_ms), max_stall: millis(max_stall_ms) };
        within_runtime_if_available(|| self.ownership.start_heartbeat(settings)).into()
    }

    /// Stops renewing.
    #[napi(catch_unwind)]
    pub fn stop_heartbeat(&self) {
        self.ownership.stop_heartbeat();
    }

    /// The event loop answers a `ping` event.
    #[napi(catch_unwind)]
    pub fn pong(&self) {
        self.ownership.pong();
    }

    /// Counters.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> OwnershipStats {
        use std::sync::atomic::Ordering::Relaxed;
        let stats = self.ownership.stats();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed) as f64;
        OwnershipStats {
            beats: count(&stats.beats),
            beat_failures: count(&stats.beat_failures),
            beat_failures_in_a_row: count(&stats.beat_failures_in_a_row),
            claims_granted: count(&stats.claims_granted),
            takeovers: count(&stats.takeovers),
            burials: count(&stats.burials),
            releases: count(&stats.releases),
            row_writes: count(&stats.session_row.writes),
            row_writes_refused: count(&stats.session_row.refused),
            last_beat_age_ms: self.ownership.last_beat_age().map(|age| age.as_millis() as f64),
            last_round_trip_ms: count(&stats.last_round_trip_micros) / 1000.0,
        }
    }

    /// Serial number of the claim on an agent, by the name the database gives it, while held.
    #[napi(catch_unwind)]
    pub fn held(&self, agent_id: String) -> Option<f64> {
        self.ownership.held(&agent_id).map(|claim| claim.serial as f64)
    }

    /// The live owner of an agent.
    #[napi(catch_unwind, ts_return_type = "Promise<OwnerObject | undefined | Error>")]
    pub fn owner<'env>(
        &self,
        env: &'env Env,
        agent_id: String,
    ) -> Pending<'env, Option<OwnerObject>> {
        let this = self.clone();
        pending(env, async move {
            let owner = this.ownership.owner(&agent_id).await;
            owner.map(|owner| owner.as_ref().map(OwnerObject::from)).into()
        })
    }

    /// The session rows with their owners.
    #[napi(catch_unwind, ts_return_type = "Promise<SessionObject[] | Error>")]
    pub fn sessions<'env>(
        &self,
        env: &'env Env,
        active: Option<bool>,
        mine: Option<bool>,
    ) -> Pending<'env, Vec<SessionObject>> {
        let this = self.clone();
        pending(env, async move {
            let sessions = this.ownership.sessions(SessionFilter { active, mine }).await;
            sessions
                .map(|sessions| {
                    sessions
                        .into_iter()
                        .map(|session| SessionObject {
                            agent_id: session.agent_id,
                            user_id: session.user_id,
                            phone_number: session.phone_number,
                            status: session.status,
                            is_active: session.is_active,
                            last_connected: session.last_connected_ms.map(|ms| ms as f64),
                            updated_at: session.updated_at_ms.map(|ms| ms as f64),
                            owner: session.owner.as_ref().map(OwnerObject::from),
                            mine: session.mine,
                        })
                        .collect()
                })
                .into()
        })
    }

    /// Starts telling `freed` events; resolves when everything from now on will be told.
    #[napi(catch_unwind, ts_return_type = "Promise<void | Error>")]
    pub fn watch_freed<'env>(&self, env: &'env Env) -> Pending<'env, ()> {
        let this = self.clone();
        pending(env, async move { this.ownership.watch_freed().await.into() })
    }

    /// Gives everything back and closes; false when the database could not be told in time.
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn shutdown<'env>(&self, env: &'env Env, timeout_ms: f64) -> Pending<'env, bool> {
        let this = self.clone();
        pending(env, async move { Outcome(Ok(this.ownership.shutdown(millis(timeout_ms)).await)) })
    }
}

/// A fencing token as a bigint.
pub fn token(token: i64) -> BigInt {
    BigInt::from(token)
}

pub(super) fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(Duration::MAX)
}

//! What an operator asks of a guard, by the command line tool.

use napi::Env;
use napi_derive::napi;

use super::claim::NativeClaim;
use super::guard::{DuplicateObject, NativeGuard};
use super::outcome::{Pending, pending};
use crate::store::Diagnosis;

/// The facts that `doctor` judges.
#[napi(object, object_from_js = false)]
pub struct DiagnosisObject {
    /// Product and version.
    pub server: String,
    /// Time for one question and its answer.
    pub round_trip_ms: f64,
    /// Every migration of this version, in order.
    pub migrations: Vec<MigrationObject>,
    /// Migrations that the database has from another version.
    pub unknown_migrations: Vec<String>,
    /// Agents with more than one session row.
    pub duplicates: Vec<DuplicateObject>,
    /// SQLite only.
    pub journal_mode: Option<String>,
    /// A server only.
    pub network: Option<NetworkObject>,
}

/// A migration file.
#[napi(object, object_from_js = false)]
pub struct MigrationObject {
    /// Its name.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// Facts about a server; see `NetworkFacts`.
#[napi(object, object_from_js = false)]
#[allow(missing_docs)] // the same fields
pub struct NetworkObject {
    pub clock_ahead_ms: f64,
    pub pooled: bool,
    pub read_only: bool,
    pub encrypted: Option<bool>,
    pub verified: bool,
    pub local: bool,
    pub exposed: Vec<ExposedObject>,
}

/// A table that a role of Supabase's REST API may reach.
#[napi(object, object_from_js = false)]
pub struct ExposedObject {
    /// The table.
    pub table: String,
    /// The role.
    pub role: String,
}

/// An agent that was taken from its owner.
#[napi(object, object_from_js = false)]
pub struct SeizedObject {
    /// The claim on it.
    pub claim: NativeClaim,
    /// When its former owner is sure to have stopped.
    pub settles_after_ms: f64,
}

#[napi]
impl NativeGuard {
    /// What the database tells of itself; changes nothing.
    #[napi(catch_unwind, ts_return_type = "Promise<DiagnosisObject | Error>")]
    pub fn diagnose<'env>(&self, env: &'env Env) -> Pending<'env, DiagnosisObject> {
        let store = self.store().clone();
        pending(env, async move { store.diagnose().await.map(DiagnosisObject::from).into() })
    }

    /// Takes an agent, whoever owns it.
    #[napi(catch_unwind, ts_return_type = "Promise<SeizedObject | Error>")]
    pub fn seize<'env>(&self, env: &'env Env, agent_id: String) -> Pending<'env, SeizedObject> {
        let ownership = self.ownership().clone();
        pending(env, async move {
            let seized = ownership.seize(&agent_id).await;
            seized
                .map(|seized| SeizedObject {
                    claim: NativeClaim::new(seized.claim, ownership.clone()),
                    settles_after_ms: seized.settles_after.as_secs_f64() * 1000.0,
                })
                .into()
        })
    }
}

impl From<Diagnosis> for DiagnosisObject {
    fn from(found: Diagnosis) -> Self {
        Self {
            server: found.server,
            round_trip_ms: found.round_trip.as_secs_f64() * 1000.0,
            migrations: found
                .migrations
                .into_iter()
                .map(|(name, applied)| MigrationObject { name, applied })
                .collect(),
            unknown_migrations: found.unknown_migrations,
            duplicates: found
                .duplicates
                .into_iter()
                .map(|(agent_id, rows)| DuplicateObject { agent_id, rows })
                .collect(),
            journal_mode: found.journal_mode,
            network: found.network.map(|facts| NetworkObject {
                clock_ahead_ms: facts.clock_ahead_ms as f64,
                pooled: facts.pooled,
                read_only: facts.read_only,
                encrypted: facts.encrypted,
                verified: facts.verified,
                local: facts.local,
                exposed: facts
                    .exposed
                    .into_iter()
                    .map(|found| ExposedObject { table: found.table, role: found.role })
                    .collect(),
            }),
        }
    }
}

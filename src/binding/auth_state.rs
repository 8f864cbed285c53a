//! Auth states as JavaScript uses them: values in, values out, one crossing a call.

use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::{Buffer, Function, Int32Array, Uint8Array};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;
use zeroize::Zeroizing;

use super::claim::NativeClaim;
use super::credentials::Ring;
use super::guard::NativeGuard;
use super::outcome::{Outcome, Pending, pending};
use crate::auth_state::{AuthStates, Change, Item, Rotated};
use crate::credentials::Content;
use crate::credentials::value::Accept;
use crate::error::{Error, Result};
use crate::ownership::Claim;

/// A stored value, opened.
#[napi(object, object_from_js = false)]
pub struct AuthItem {
    /// Type.
    pub kind: String,
    /// Id within the type.
    pub id: String,
    /// 0 raw bytes, 1 JSON with Buffers, 2 text.
    pub content: u8,
    /// The bytes.
    pub bytes: Buffer,
}

/// Changes in one piece: entry `n` has `kinds[n]`, `ids[n]`, `contents[n]` and the next
/// `lengths[n]` bytes; a length of −1 deletes.
#[napi(object, object_to_js = false)]
pub struct AuthChanges {
    /// Types.
    pub kinds: Vec<String>,
    /// Ids.
    pub ids: Vec<String>,
    /// What the bytes are.
    pub contents: Uint8Array,
    /// How many there are.
    pub lengths: Int32Array,
    /// All bytes, one value after the other.
    pub bytes: Uint8Array,
}

/// How far a rotation has come, and what came of it.
#[napi(object, object_from_js = false)]
pub struct RotationReport {
    /// Values looked at in this pass.
    pub examined: f64,
    /// Values brought under the current key.
    pub rotated: f64,
    /// What is still not.
    pub remaining: RemainingObject,
    /// The first rows that do not open.
    pub failed: Vec<FailedObject>,
}

/// What is not under the current key.
#[napi(object, object_from_js = false)]
pub struct RemainingObject {
    /// Stored without encryption.
    pub plain: f64,
    /// `{ encrypted, iv, authTag }`.
    pub legacy: f64,
    /// Sealed under a previous key.
    pub previous_key: f64,
    /// Does not open at all.
    pub unreadable: f64,
}

/// A row that does not open.
#[napi(object, object_from_js = false)]
pub struct FailedObject {
    /// The agent.
    pub agent_id: String,
    /// Type; the column for a row of the host's.
    #[napi(js_name = "type")]
    pub kind: String,
    /// Id within the type, or the row's key.
    pub id: String,
    /// Code of the error.
    pub code: &'static str,
    /// Its message.
    pub message: String,
}

/// Counters of all auth states; they only grow.
#[napi(object, object_from_js = false)]
pub struct AuthStatsObject {
    /// Calls that read.
    pub reads: f64,
    /// Calls that wrote, or tried to.
    pub writes: f64,
    /// Those of them that the fence refused.
    pub refused: f64,
}

/// The auth states of one guard under one key ring.
#[napi]
pub struct NativeAuthStates {
    states: Arc<AuthStates>,
}

/// The auth state of one claim.
#[napi]
#[derive(Clone)]
pub struct NativeAuthState {
    states: Arc<AuthStates>,
    claim: Arc<Claim>,
}

#[napi]
impl NativeAuthStates {
    /// The states of this guard's agents, sealed by `ring`.
    #[napi(factory, catch_unwind)]
    pub fn of(
        guard: &NativeGuard,
        #[napi(ts_arg_type = "object")] ring: &Ring,
        accept_plaintext: bool,
        accept_legacy: bool,
    ) -> Self {
        let accept = Accept { plaintext: accept_plaintext, legacy: accept_legacy };
        let states = AuthStates::new(guard.ownership().clone(), Arc::clone(ring), accept);
        Self { states: Arc::new(states) }
    }

    /// Counters.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> AuthStatsObject {
        use std::sync::atomic::Ordering::Relaxed;
        let stats = self.states.stats();
        AuthStatsObject {
            reads: stats.reads.load(Relaxed) as f64,
            writes: stats.written.writes.load(Relaxed) as f64,
            refused: stats.written.refused.load(Relaxed) as f64,
        }
    }

    /// The state of one claim.
    #[napi(catch_unwind)]
    pub fn open(&self, claim: &NativeClaim) -> NativeAuthState {
        NativeAuthState { states: self.states.clone(), claim: claim.claim.clone() }
    }

    /// Brings everything stored under the current key; tells `onProgress` after each batch.
    #[napi(
        ts_args_type = "batch: number, dryRun: boolean, onProgress: (report: RotationReport) => void",
        ts_return_type = "Promise<RotationReport | Error>"
    )]
    pub fn rotate<'env>(
        &self,
        env: &'env napi::Env,
        batch: u32,
        dry_run: bool,
        on_progress: Function<'_, RotationReport, ()>,
    ) -> napi::Result<napi::bindgen_prelude::PromiseRaw<'env, Outcome<RotationReport>>> {
        let tell =
            on_progress.build_threadsafe_function::<RotationReport>().weak::<true>().build()?;
        let states = self.states.clone();
        env.spawn_future(async move {
            let rotation = states.rotation(i64::from(batch), dry_run);
            let report = rotation.run(|report| {
                tell.call(report.into(), ThreadsafeFunctionCallMode::NonBlocking);
            });
            Ok(Outcome(report.await.map(|report| (&report).into())))
        })
    }
}

#[napi]
impl NativeAuthState {
    /// The values of one type that exist among these ids.
    #[napi(catch_unwind, ts_return_type = "Promise<AuthItem[] | Error>")]
    pub fn get<'env>(
        &self,
        env: &'env Env,
        kind: String,
        ids: Vec<String>,
    ) -> Pending<'env, Vec<AuthItem>> {
        let this = self.clone();
        pending(env, async move { items(this.states.get(&this.claim, &kind, &ids).await) })
    }

    /// Stores all changes or none.
    #[napi(catch_unwind, ts_return_type = "Promise<void | Error>")]
    pub fn set<'env>(&self, env: &'env Env, changes: AuthChanges) -> Pending<'env, ()> {
        let this = self.clone();
        pending(env, async move {
            let stored = async { this.states.set(&this.claim, unpack(changes)?).await };
            stored.await.into()
        })
    }

    /// Deletes the whole state.
    #[napi(catch_unwind, ts_return_type = "Promise<void | Error>")]
    pub fn clear<'env>(&self, env: &'env Env) -> Pending<'env, ()> {
        let this = self.clone();
        pending(env, async move { this.states.clear(&this.claim).await.into() })
    }

    /// One page of all values, from after (type, id) on; empty at the end.
    #[napi(catch_unwind, ts_return_type = "Promise<AuthItem[] | Error>")]
    pub fn list<'env>(
        &self,
        env: &'env Env,
        after_kind: String,
        after_id: String,
    ) -> Pending<'env, Vec<AuthItem>> {
        let this = self.clone();
        pending(
            env,
            async move { items(this.states.list(&this.claim, &after_kind, &after_id).await) },
        )
    }

    /// The host's `session_data` as JSON text.
    #[napi(catch_unwind, ts_return_type = "Promise<string | undefined | Error>")]
    pub fn session_data<'env>(&self, env: &'env Env) -> Pending<'env, Option<String>> {
        let this = self.clone();
        pending(env, async move { this.states.session_data(&this.claim).await.into() })
    }
}

fn items(items: Result<Vec<Item>>) -> Outcome<Vec<AuthItem>> {
    let items = items.map(|items| {
        items
            .into_iter()
            .map(|mut item| AuthItem {
                kind: item.kind,
                id: item.id,
                content: item.content as u8,
                bytes: std::mem::take(&mut *item.bytes).into(),
            })
            .collect()
    });
    items.into()
}

fn unpack(changes: AuthChanges) -> Result<Vec<Change>> {
    let AuthChanges { kinds, ids, contents, lengths, bytes } = changes;
    let broken = || Error::Internal("changes of an auth state do not fit together".into());
    let mut rest: &[u8] = &bytes;
    let mut unpacked = Vec::with_capacity(kinds.len());
    for (n, (kind, id)) in kinds.into_iter().zip(ids).enumerate() {
        let length = *lengths.get(n).ok_or_else(broken)?;
        let Ok(length) = usize::try_from(length) else {
            unpacked.push(Change::Delete(kind, id));
            continue;
        };
        let (value, after) = rest.split_at_checked(length).ok_or_else(broken)?;
        rest = after;
        let content = contents.get(n).copied().and_then(Content::from_code).ok_or_else(broken)?;
        let bytes = Zeroizing::new(value.to_vec());
        unpacked.push(Change::Put(Item { kind, id, content, bytes }));
    }
    Ok(unpacked)
}

impl From<&Rotated> for RotationReport {
    fn from(rotated: &Rotated) -> Self {
        let remaining = rotated.remaining;
        Self {
            examined: rotated.examined as f64,
            rotated: rotated.rotated as f64,
            remaining: RemainingObject {
                plain: remaining.plain as f64,
                legacy: remaining.legacy as f64,
                previous_key: remaining.previous_key as f64,
                unreadable: remaining.unreadable as f64,
            },
            failed: rotated
                .failed
                .iter()
                .map(|failed| FailedObject {
                    agent_id: failed.key.agent_id.clone(),
                    kind: failed.key.kind.clone(),
                    id: failed.key.id.clone(),
                    code: failed.error.code(),
                    message: failed.error.to_string(),
                })
                .collect(),
        }
    }
}

//! Rate limits in the database of a guard.

use std::sync::Arc;
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::{Float64Array, Uint8Array};
use napi_derive::napi;

use super::guard::NativeGuard;
use super::outcome::{Pending, pending};
use crate::error::{Error, Result};
use crate::rate_limit::time::after;
use crate::rate_limit::{Kind, Rule};
use crate::store::{Limit, LimitId, Store, Verdict};

/// What a limiter allows, already checked by `lib/rate-limit`.
#[napi(object, object_to_js = false)]
pub struct LimitRule {
    /// The limiter's name.
    pub name: String,
    /// `fixed-window`, `sliding-window` or `gcra`.
    pub algorithm: String,
    /// Length of the window.
    pub window_ms: f64,
    /// Points in a window.
    pub limit: u32,
    /// Points at once under GCRA.
    pub burst: u32,
    /// How long a key stays out once it was refused.
    pub block_ms: f64,
}

/// A decision, in spans of time from its own moment on.
#[napi(object, object_from_js = false)]
pub struct LimitAnswer {
    /// Whether the hit passes.
    pub allowed: bool,
    /// Points taken, and refusals since the last admission.
    pub used: f64,
    /// Points that would pass now.
    pub remaining: u32,
    /// Until `remaining` grows; for a refused hit, until it would pass.
    pub reset_in_ms: f64,
    /// How long to wait.
    pub retry_after_ms: f64,
    /// When the hit was decided, to give it back.
    pub hit_at: f64,
}

impl From<Verdict> for LimitAnswer {
    fn from(Verdict { decision, now }: Verdict) -> Self {
        Self {
            allowed: decision.allowed,
            used: decision.used as f64,
            remaining: decision.remaining,
            reset_in_ms: decision.reset_at.saturating_sub(now) as f64,
            retry_after_ms: decision.retry_after as f64,
            hit_at: now as f64,
        }
    }
}

fn limit(rule: LimitRule, waits: bool) -> Result<Limit> {
    let kind = Kind::named(&rule.algorithm)
        .ok_or_else(|| Error::option("algorithm", "is not one of those known"))?;
    let (window, block) = (after(0, rule.window_ms), after(0, rule.block_ms));
    let LimitRule { name, limit, burst, .. } = rule;
    Ok(Limit { limiter: name, kind, rule: Rule { limit, window, burst, block, waits } })
}

fn id(bytes: &Uint8Array) -> Result<LimitId> {
    LimitId::try_from(&bytes[..]).map_err(|_| Error::argument("id", "has to be 16 bytes"))
}

fn ids(bytes: &Uint8Array) -> Result<Vec<LimitId>> {
    let (ids, rest) = bytes.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(Error::argument("keys", "has to be 16 bytes for each"));
    }
    Ok(ids.to_vec())
}

fn numbers(verdicts: Vec<Verdict>) -> Vec<f64> {
    let number = |answer: LimitAnswer| {
        let LimitAnswer { allowed, used, remaining, reset_in_ms, retry_after_ms, hit_at } = answer;
        let allowed = f64::from(u8::from(allowed));
        [allowed, used, f64::from(remaining), reset_in_ms, retry_after_ms, hit_at]
    };
    verdicts.into_iter().map(LimitAnswer::from).flat_map(number).collect()
}

/// How long requests wait for a database server.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits for an answer, but not as long as a call that must be made would: a request that is
/// only counted had better fail, or be counted in memory. A local file is never away.
async fn in_time<T>(
    store: &Arc<dyn Store>,
    action: &str,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    if store.one_machine() {
        return call.await;
    }
    tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| {
        Err(Error::DatabaseUnavailable {
            action: action.to_owned(),
            cause: format!("no answer within {} s", PATIENCE.as_secs()),
        })
    })
}

#[napi]
impl NativeGuard {
    /// Decides about hits of one limit, one after the other, and counts them. `keys` has 16 bytes
    /// for each; the answer six numbers for each, in the order of `LimitAnswer`.
    #[napi(catch_unwind, ts_return_type = "Promise<Float64Array | Error>")]
    pub fn take_points<'env>(
        &self,
        env: &'env Env,
        keys: Uint8Array,
        rule: LimitRule,
        points: u32,
        waits: bool,
    ) -> Pending<'env, Float64Array> {
        let this = self.clone();
        pending(env, async move {
            let take = async {
                let (keys, limit) = (ids(&keys)?, limit(rule, waits)?);
                let call = this.store().take_points(&keys, &limit, points, None);
                in_time(this.store(), "counting hits", call).await
            };
            take.await.map(|verdicts| Float64Array::new(numbers(verdicts))).into()
        })
    }

    /// What a hit of one point would get.
    #[napi(catch_unwind, ts_return_type = "Promise<LimitAnswer | Error>")]
    pub fn peek_points<'env>(
        &self,
        env: &'env Env,
        id: Uint8Array,
        rule: LimitRule,
    ) -> Pending<'env, LimitAnswer> {
        let this = self.clone();
        pending(env, async move {
            let peek = async {
                let (id, limit) = (self::id(&id)?, limit(rule, false)?);
                let call = this.store().peek_points(&id, &limit, None);
                in_time(this.store(), "looking at a rate limit", call).await
            };
            peek.await.map(LimitAnswer::from).into()
        })
    }

    /// Gives points back of a hit that was admitted at `hitAt`.
    #[napi(catch_unwind, ts_return_type = "Promise<void | Error>")]
    pub fn refund_points<'env>(
        &self,
        env: &'env Env,
        id: Uint8Array,
        rule: LimitRule,
        points: u32,
        hit_at: f64,
    ) -> Pending<'env, ()> {
        let this = self.clone();
        pending(env, async move {
            let refund = async {
                let (id, limit) = (self::id(&id)?, limit(rule, false)?);
                let call = this.store().refund_points(&id, &limit, points, hit_at as i64, None);
                in_time(this.store(), "giving a hit back", call).await
            };
            refund.await.into()
        })
    }

    /// Forgets a key.
    #[napi(catch_unwind, ts_return_type = "Promise<void | Error>")]
    pub fn reset_points<'env>(&self, env: &'env Env, id: Uint8Array) -> Pending<'env, ()> {
        let this = self.clone();
        pending(env, async move {
            let reset = async { this.store().reset_points(&self::id(&id)?).await };
            reset.await.into()
        })
    }
}

//! Rate limits in the database of a guard.

use napi::Env;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use super::guard::NativeGuard;
use super::outcome::{Pending, pending};
use crate::error::{Error, Result};
use crate::rate_limit::time::after;
use crate::rate_limit::{Kind, Rule};
use crate::store::{Limit, LimitId, Verdict};

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

#[napi]
impl NativeGuard {
    /// Decides about a hit and counts it.
    #[napi(catch_unwind, ts_return_type = "Promise<LimitAnswer | Error>")]
    pub fn take_points<'env>(
        &self,
        env: &'env Env,
        id: Uint8Array,
        rule: LimitRule,
        points: u32,
        waits: bool,
    ) -> Pending<'env, LimitAnswer> {
        let this = self.clone();
        pending(env, async move {
            let take = async {
                let (id, limit) = (self::id(&id)?, limit(rule, waits)?);
                this.hits.take(id, limit, points).await
            };
            take.await.map(LimitAnswer::from).into()
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
                this.store().peek_points(&id, &limit, None).await
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
                this.store().refund_points(&id, &limit, points, hit_at as i64, None).await
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

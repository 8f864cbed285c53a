//! A claim as JavaScript holds it.

use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::{BigInt, Either, Null};
use napi_derive::napi;

use super::outcome::{Pending, pending};
use crate::ownership::{Claim, Ownership};
use crate::store::SessionUpdate;

/// Fields of `claim.update`; `null` clears a column, `undefined` leaves it alone.
#[napi(object)]
pub struct SessionFields {
    /// One of the host's states.
    pub status: Option<String>,
    /// Digits.
    pub phone_number: Option<Either<String, Null>>,
    /// The QR string.
    pub qr_code: Option<Either<String, Null>>,
    /// Whether the session should run.
    pub is_active: Option<bool>,
    /// Unix milliseconds.
    pub last_connected: Option<Either<f64, Null>>,
}

/// One agent held under one fencing token.
#[napi]
#[derive(Clone)]
pub struct NativeClaim {
    pub(super) claim: Arc<Claim>,
    ownership: Arc<Ownership>,
}

impl NativeClaim {
    pub(super) fn new(claim: Arc<Claim>, ownership: Arc<Ownership>) -> Self {
        Self { claim, ownership }
    }
}

#[napi]
impl NativeClaim {
    /// Tells two claims of one agent apart.
    #[napi(getter)]
    pub fn serial(&self) -> f64 {
        self.claim.serial as f64
    }

    /// The agent, in the form the database gives it back.
    #[napi(getter)]
    pub fn agent_id(&self) -> &str {
        &self.claim.agent_id
    }

    /// Another instance held the agent until it died.
    #[napi(getter)]
    pub fn takeover(&self) -> bool {
        self.claim.takeover
    }

    /// The fencing token now.
    #[napi(getter)]
    pub fn token(&self) -> BigInt {
        super::guard::token(self.claim.token())
    }

    /// Why it ended, or nothing while it is held, by the clock and not by what was last told.
    #[napi(catch_unwind)]
    pub fn ended(&self) -> Option<&'static str> {
        self.ownership.holds(&self.claim);
        self.claim.ended().map(|reason| reason.as_str())
    }

    /// Writes the session row under the fence.
    #[napi(catch_unwind, ts_return_type = "Promise<void | Error>")]
    pub fn update<'env>(&self, env: &'env Env, fields: SessionFields) -> Pending<'env, ()> {
        let this = self.clone();
        pending(env, async move {
            let update = SessionUpdate {
                status: fields.status,
                phone_number: fields.phone_number.map(nullable),
                qr_code: fields.qr_code.map(nullable),
                is_active: fields.is_active,
                last_connected_ms: fields.last_connected.map(|at| nullable(at).map(|ms| ms as i64)),
            };
            this.ownership.update(&this.claim, &update).await.into()
        })
    }

    /// Gives the agent back.
    #[napi(catch_unwind, ts_return_type = "Promise<void | Error>")]
    pub fn release<'env>(&self, env: &'env Env, deactivate: bool) -> Pending<'env, ()> {
        let this = self.clone();
        pending(env, async move { this.ownership.release(&this.claim, deactivate).await.into() })
    }
}

fn nullable<T>(value: Either<T, Null>) -> Option<T> {
    match value {
        Either::A(value) => Some(value),
        Either::B(_) => None,
    }
}

//! How an error crosses to JavaScript with its code and its fields.
//!
//! A rejected native promise has no stack and only napi's own codes, so a native call resolves
//! to either its value or an `Error` object; `lib/errors.js` turns the latter into a
//! `GuardError` of JavaScript's own making and throws it.

use napi::bindgen_prelude::{Object, ToNapiValue};
use napi::{Env, sys};

use crate::error::{Error, OwnerInfo, Result};

/// A value or an error, as JavaScript gets it.
pub struct Outcome<T>(pub Result<T>);

impl<T> From<Result<T>> for Outcome<T> {
    fn from(result: Result<T>) -> Self {
        Self(result)
    }
}

impl<T: ToNapiValue> ToNapiValue for Outcome<T> {
    // The one place where the trait itself is unsafe to implement: N-API hands over raw handles.
    #[allow(unsafe_code)]
    unsafe fn to_napi_value(env: sys::napi_env, outcome: Self) -> napi::Result<sys::napi_value> {
        match outcome.0 {
            Ok(value) => unsafe { T::to_napi_value(env, value) },
            Err(error) => unsafe {
                Object::to_napi_value(env, error_object(&Env::from_raw(env), &error)?)
            },
        }
    }
}

/// The error as a native `Error` with its code and, where it has them, its fields.
pub fn error_object<'env>(env: &'env Env, error: &Error) -> napi::Result<Object<'env>> {
    let mut object = env.create_error(napi::Error::from_reason(error.to_string()))?;
    object.set("code", error.code())?;
    match error {
        Error::AgentInUse { agent_id, owner, retry_after } => {
            object.set("agentId", agent_id)?;
            object.set("retryAfterMs", retry_after.as_millis() as f64)?;
            object.set("owner", owner_object(env, owner)?)?;
        }
        Error::ClaimLost { agent_id, reason, .. } => {
            object.set("agentId", agent_id)?;
            object.set("reason", reason.as_str())?;
        }
        Error::UserIdRequired { agent_id }
        | Error::SessionRowRefused { agent_id, .. }
        | Error::SessionRowMissing { agent_id } => object.set("agentId", agent_id)?,
        Error::InvalidOption { name, .. } => object.set("option", *name)?,
        Error::InvalidArgument { name, .. } => object.set("argument", *name)?,
        _ => {}
    }
    Ok(object)
}

/// An owner as users see it; `lib/` makes a `Date` of `lastHeartbeat`.
pub fn owner_object<'env>(env: &'env Env, owner: &OwnerInfo) -> napi::Result<Object<'env>> {
    let mut object = Object::new(env)?;
    object.set("instanceId", &owner.instance_id)?;
    object.set("hostname", &owner.hostname)?;
    object.set("pid", owner.pid)?;
    object.set("lastHeartbeat", owner.last_heartbeat_ms as f64)?;
    object.set("heartbeatAgeMs", owner.heartbeat_age.as_millis() as f64)?;
    Ok(object)
}

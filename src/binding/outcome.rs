//! How an error crosses to JavaScript with its code and its fields.
//!
//! A rejected native promise has no stack and only napi's own codes, so a native call resolves
//! to either its value or an `Error` object; `lib/errors.js` turns the latter into a
//! `GuardError` of JavaScript's own making and throws it.

use napi::bindgen_prelude::{BigInt, Object, PromiseRaw, ToNapiValue};
use napi::{Env, sys};
use napi_derive::napi;

use crate::error::{Error, OwnerInfo, Result, StoredItem};

/// A value or an error, as JavaScript gets it.
pub struct Outcome<T>(pub Result<T>);

impl<T> From<Result<T>> for Outcome<T> {
    fn from(result: Result<T>) -> Self {
        Self(result)
    }
}

/// A promise of an outcome.
pub type Pending<'env, T> = napi::Result<PromiseRaw<'env, Outcome<T>>>;

/// The promise of a call that takes time.
///
/// `work` owns all that it uses. In an `async fn` of a class `self` is borrowed from JavaScript,
/// and when a worker or the process ends, that frees it while the call is still under way.
pub fn pending<'env, T, F>(env: &'env Env, work: F) -> Pending<'env, T>
where
    T: ToNapiValue + Send + 'static,
    F: Future<Output = Outcome<T>> + Send + 'static,
{
    env.spawn_future(async move { Ok(work.await) })
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
            object.set("owner", OwnerObject::from(owner.as_ref()))?;
        }
        Error::ClaimLost { agent_id, reason } => {
            object.set("agentId", agent_id)?;
            object.set("reason", reason.as_str())?;
        }
        Error::UserIdRequired { agent_id }
        | Error::SessionRowRefused { agent_id, .. }
        | Error::SessionRowMissing { agent_id } => object.set("agentId", agent_id)?,
        Error::UnknownKey { item, key_id, .. } => {
            set_item(&mut object, item)?;
            object.set("keyId", key_id)?;
        }
        Error::DecryptFailed { item }
        | Error::PlaintextRefused { item }
        | Error::LegacyRefused { item }
        | Error::MalformedEnvelope { item: Some(item), .. } => set_item(&mut object, item)?,
        Error::InvalidOption { name, .. } => object.set("option", *name)?,
        Error::InvalidArgument { name, .. } => object.set("argument", *name)?,
        _ => {}
    }
    Ok(object)
}

fn set_item(object: &mut Object, item: &StoredItem) -> napi::Result<()> {
    object.set("agentId", &item.agent_id)?;
    object.set("type", &item.kind)?;
    object.set("id", &item.id)
}

/// An owner as users see it; `lib/` makes a `Date` of `lastHeartbeat`.
#[napi(object, object_from_js = false)]
pub struct OwnerObject {
    /// Public name of the owning instance.
    pub instance_id: String,
    /// Host name it reported.
    pub hostname: String,
    /// Process id on that host.
    pub pid: i32,
    /// Unix milliseconds of its last beat.
    pub last_heartbeat: f64,
    /// Age of that beat.
    pub heartbeat_age_ms: f64,
    /// Fencing token of its term.
    pub fencing_token: BigInt,
}

impl From<&OwnerInfo> for OwnerObject {
    fn from(owner: &OwnerInfo) -> Self {
        Self {
            instance_id: owner.instance_id.clone(),
            hostname: owner.hostname.clone(),
            pid: owner.pid,
            last_heartbeat: owner.last_heartbeat_ms as f64,
            heartbeat_age_ms: owner.heartbeat_age.as_millis() as f64,
            fencing_token: BigInt::from(owner.token),
        }
    }
}

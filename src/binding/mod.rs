//! The N-API edge: converts, calls a domain module, converts back. It decides nothing.
//!
//! The only place that names napi. One file a capability.

// Test builds register nothing with Node, so nobody calls what is exported to it.
#![cfg_attr(test, allow(dead_code))]

mod auth_state;
mod claim;
pub mod credentials;
mod database_limits;
mod event;
mod fast_call;
mod guard;
mod memory_limits;
mod metrics;
mod operator;
mod outcome;
pub mod reconnect;
mod reconnect_objects;

use napi_derive::napi;

/// Starts the two native threads that every guard of this process shares.
///
/// One thread a core, tokio's default, would be wasteful in a server that runs several workers;
/// one alone would let a slow DNS look-up stand in the heartbeat's way.
#[napi_derive::module_init]
fn start_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("baileys-guard")
        .enable_all()
        .build();
    if let Ok(runtime) = runtime {
        napi::bindgen_prelude::create_custom_tokio_runtime(runtime);
    }
}

/// Version of the native binary, compared with package.json when it is loaded.
#[napi]
pub fn native_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

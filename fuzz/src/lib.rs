//! The library's own sources of `credentials`, without its databases and its binding: those would
//! make a fuzzed build take ten minutes and find nothing here.

#![allow(dead_code, missing_docs)]

pub mod checks;
#[path = "../../src/credentials/mod.rs"]
pub mod credentials;
#[path = "../../src/error.rs"]
pub mod error;
#[cfg(feature = "sessions")]
pub mod sessions;

use credentials::{KeyRing, OsEntropy};

/// A ring with a current and a previous key.
pub fn ring() -> KeyRing {
    KeyRing::new(
        Some("00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
        &["f0e1d2c3b4a5968778695a4b3c2d1e0fffeeddccbbaa99887766554433221100"],
        OsEntropy,
    )
    .expect("the keys are good")
}

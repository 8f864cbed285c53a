//! Values from a JSON column, in any form.

#![no_main]

use std::sync::LazyLock;

use baileys_guard_fuzz::credentials::KeyRing;
use baileys_guard_fuzz::{checks, ring};
use libfuzzer_sys::fuzz_target;

static RING: LazyLock<KeyRing> = LazyLock::new(ring);

fuzz_target!(|data: &[u8]| checks::legacy(&RING, data));

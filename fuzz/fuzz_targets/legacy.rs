//! Values from a JSON column in any form: recognised, read as the form of before, and their byte
//! strings restored.

#![no_main]

use std::sync::LazyLock;

use baileys_guard_fuzz::credentials::value::{self, Accept};
use baileys_guard_fuzz::credentials::{Context, KeyRing, Legacy, restore_bytes};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static RING: LazyLock<KeyRing> = LazyLock::new(baileys_guard_fuzz::ring);
const ACCEPT: Accept = Accept { plaintext: true, legacy: true };

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };

    // The three parts on lines of their own.
    let mut parts = text.splitn(3, '\n');
    if let (Some(encrypted), Some(iv), Some(tag)) = (parts.next(), parts.next(), parts.next()) {
        if let Ok(legacy) = Legacy::parse(encrypted, iv, tag) {
            let context = Context::credentials("agent-1");
            assert!(RING.open_legacy(&legacy, &context).is_err(), "nobody encrypted this");
        }
    }

    let parsed = serde_json::from_str::<Value>(text);
    match restore_bytes(text) {
        Ok(restored) => {
            let again = restore_bytes(&restored).expect("what was written is JSON");
            assert_eq!(*again, *restored, "restoring twice changes something");
        }
        // The parser refuses what the scanner takes (depth, halves of surrogate pairs, numbers
        // beyond all measure), never the other way round.
        Err(problem) => assert!(parsed.is_err(), "{problem}"),
    }

    let Ok(mut stored) = parsed else { return };
    for slot in value::credential_slots(&mut stored) {
        let context = Context::credentials("agent-1");
        let Ok(opened) = value::open(&RING, slot, &context, ACCEPT) else { continue };
        let resealed = value::reseal(&RING, slot, &context, ACCEPT).expect("it opened before");
        let (Some(opened), Some(resealed)) = (opened, resealed) else { continue };
        let strict = Accept { plaintext: false, legacy: false };
        let again = value::open(&RING, &resealed, &context, strict).unwrap().unwrap();
        assert_eq!((again.content, &again.plain), (opened.content, &opened.plain));
    }
});

//! What must hold for whatever a database gives us. Used by the fuzzing targets and, on their seeds,
//! by the tests of the library.

use serde_json::Value;

use crate::credentials::value::{self, Accept};
use crate::credentials::{Content, Context, Header, KeyRing, Legacy, Seal, restore_bytes};

const CONTEXT: Context = Context { agent_id: "agent-1", kind: "session", id: "1.0" };
const ACCEPT: Accept = Accept { plaintext: true, legacy: true };

/// Bytes from a database, read as an envelope.
///
/// Random bytes never get past the commitment, so the input is used three ways: as it stands; as
/// changes to a real envelope, which must not open unless they change nothing; and as a value to
/// be sealed, which must open again.
pub fn envelope(ring: &KeyRing, data: &[u8]) {
    let _ = Header::parse(data);
    assert!(ring.open(data, &CONTEXT).is_err(), "nobody sealed this");
    assert!(ring.reseal(data, &CONTEXT).is_err() || !ring.needs_reencryption(data).unwrap());

    let Some((&flags, rest)) = data.split_first() else { return };
    let generation = (flags & 1 != 0).then_some(u64::from(flags));
    let content = Content::from_code(flags >> 1 & 3).unwrap_or(Content::Bytes);
    let seal = Seal { content, generation };
    let sealed = ring.seal(seal, rest, &CONTEXT).unwrap();
    assert_eq!(sealed.len(), seal.sealed_len(rest.len()));
    let opened = ring.open(&sealed, &CONTEXT).unwrap();
    assert_eq!((opened.content, opened.generation), (content, generation));
    assert_eq!(&opened.plain[..], rest);

    // Pairs of position and value, written over the envelope; an odd byte cuts it there.
    let mut changed = sealed.clone();
    for pair in rest.chunks(2) {
        match *pair {
            [at, value] => {
                let at = usize::from(at) % changed.len();
                changed[at] = value;
            }
            [at] => changed.truncate(usize::from(at).max(1)),
            _ => {}
        }
        if changed.is_empty() {
            return;
        }
    }
    let mut out = vec![0xee; changed.len()];
    match ring.open_into(&changed, &CONTEXT, &mut out) {
        Ok(_) => assert_eq!(changed, sealed, "a changed envelope opened"),
        Err(_) => assert!(out.iter().all(|&byte| byte == 0xee), "partial plaintext"),
    }
}

/// Values from a JSON column in any form: recognised, read as the form of before, and their byte
/// strings restored.
pub fn legacy(ring: &KeyRing, data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };

    // The three parts on lines of their own.
    let mut parts = text.splitn(3, '\n');
    if let (Some(encrypted), Some(iv), Some(tag)) = (parts.next(), parts.next(), parts.next())
        && let Ok(legacy) = Legacy::parse(encrypted, iv, tag)
    {
        let context = Context::credentials("agent-1");
        assert!(ring.open_legacy(&legacy, &context).is_err(), "nobody encrypted this");
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
        let Ok(opened) = value::open(ring, slot, &context, ACCEPT) else { continue };
        let resealed = value::reseal(ring, slot, &context, ACCEPT).expect("it opened before");
        let (Some(opened), Some(resealed)) = (opened, resealed) else { continue };
        let strict = Accept { plaintext: false, legacy: false };
        let again = value::open(ring, &resealed, &context, strict).unwrap().unwrap();
        assert_eq!((again.content, &again.plain), (opened.content, &opened.plain));
    }
}

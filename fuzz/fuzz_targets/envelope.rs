//! Bytes from a database, read as an envelope.
//!
//! Random bytes never get past the commitment, so the input is used three ways: as it stands; as
//! changes to a real envelope, which must not open unless they change nothing; and as a value to
//! be sealed, which must open again.

#![no_main]

use std::sync::LazyLock;

use baileys_guard_fuzz::credentials::{Content, Context, Header, KeyRing, Seal};
use libfuzzer_sys::fuzz_target;

static RING: LazyLock<KeyRing> = LazyLock::new(baileys_guard_fuzz::ring);
const CONTEXT: Context = Context { agent_id: "agent-1", kind: "session", id: "1.0" };

fuzz_target!(|data: &[u8]| {
    let _ = Header::parse(data);
    assert!(RING.open(data, &CONTEXT).is_err(), "nobody sealed this");
    assert!(RING.reseal(data, &CONTEXT).is_err() || !RING.needs_reencryption(data).unwrap());

    let Some((&flags, rest)) = data.split_first() else { return };
    let generation = (flags & 1 != 0).then_some(u64::from(flags));
    let content = Content::from_code(flags >> 1 & 3).unwrap_or(Content::Bytes);
    let seal = Seal { content, generation };
    let sealed = RING.seal(seal, rest, &CONTEXT).unwrap();
    assert_eq!(sealed.len(), seal.sealed_len(rest.len()));
    let opened = RING.open(&sealed, &CONTEXT).unwrap();
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
    match RING.open_into(&changed, &CONTEXT, &mut out) {
        Ok(_) => assert_eq!(changed, sealed, "a changed envelope opened"),
        Err(_) => assert!(out.iter().all(|&byte| byte == 0xee), "partial plaintext"),
    }
});

//! Keys appear nowhere, and are gone when their ring is.

use super::*;
use crate::credentials::value::{self, Accept};

#[test]
fn debug_output_of_nothing_shows_a_key_or_a_credential() {
    let ring = ring(KEY_A, &[KEY_B]);
    let context = Context::credentials("agent-1");
    let sealed = ring.seal(Content::Bytes, b"geheim", &context).unwrap();
    let opened = ring.open(&sealed, &context).unwrap();
    let stored = serde_json::json!({ "encrypted": "ab", "iv": "00".repeat(16), "authTag": "cd" });
    let accept = Accept { plaintext: true, legacy: true };
    let error = value::open(&ring, &stored, &context, accept).unwrap_err();
    let shown = format!("{ring:?} {ring:#?} {opened:?} {error:?} {error}");
    assert!(shown.contains(&ring.current_id().unwrap().to_string()), "key ids may be shown");
    for secret in [&KEY_A[..8], &KEY_B[..8], "geheim", "[103, 101, 104"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// Looks at the process's memory from outside, as a core dump would; all of it but this thread's
/// stack, which is used and overwritten all the time.
#[cfg(target_os = "linux")]
#[test]
fn a_dropped_ring_leaves_no_key_on_the_heap() {
    use zeroize::Zeroizing;

    // Random, so that neither the binary nor another test holds it.
    let mut master = Zeroizing::new([0; 32]);
    getrandom::fill(master.as_mut_slice()).unwrap();
    let text = Zeroizing::new(hex::encode(master.as_slice()));
    let ring = Box::new(ring(&text, &[]));
    let context = Context::credentials("agent-1");
    let sealed = ring.seal(Content::Bytes, b"x", &context).unwrap();
    ring.open(&sealed, &context).unwrap();

    let mut agent_key = Zeroizing::new([0; 32]);
    crate::credentials::master_key::MasterKey::parse(&text)
        .unwrap()
        .expand(&[b"agent\0\0\0\0\x07agent-1"], agent_key.as_mut_slice());
    // Freeing a block overwrites its first bytes anyway: the second half of a key is looked for.
    let needles = [&master, &agent_key].map(|key| &key[16..]);

    let before = needles.map(count_on_heap);
    assert!(before.iter().all(|&count| count > 0), "the search finds keys in use: {before:?}");
    drop(ring);
    assert_eq!(needles.map(count_on_heap), [0, 0]);
}

#[cfg(target_os = "linux")]
fn count_on_heap(needle: &[u8]) -> u64 {
    use std::io::{Read, Seek, SeekFrom};
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = std::fs::File::open("/proc/self/mem").unwrap();
    let on_this_stack = std::ptr::from_ref(&maps).addr() as u64;
    let mut count = 0;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, access) = (fields.next().unwrap(), fields.next().unwrap());
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        if !access.starts_with("rw") || (start..end).contains(&on_this_stack) {
            continue;
        }
        memory.seek(SeekFrom::Start(start)).unwrap();
        let mut rest = (end - start) as usize;
        // On the stack, so that what was read is not found again; it overlaps by a key's length.
        let mut window = [0; 64 * 1024];
        let mut kept = 0;
        while rest > 0 {
            let length = rest.min(window.len() - kept);
            if memory.read_exact(&mut window[kept..kept + length]).is_err() {
                break; // another thread unmapped it
            }
            let filled = kept + length;
            count += window[..filled].windows(needle.len()).filter(|w| *w == needle).count() as u64;
            kept = filled.min(needle.len() - 1);
            window.copy_within(filled - kept..filled, 0);
            rest -= length;
        }
    }
    count
}

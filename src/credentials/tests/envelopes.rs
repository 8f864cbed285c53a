//! What is sealed opens, and nothing else does.

use super::*;
use crate::credentials::cipher::LARGE;
use crate::credentials::{HEADER_LEN, Header, MAX_OVERHEAD, OVERHEAD, Seal, TAG_LEN};

const CONTEXT: Context = Context { agent_id: "agent-1", kind: "session", id: "4915.0" };

fn sizes() -> impl Iterator<Item = usize> {
    (0..260).chain([1000, LARGE - 1, LARGE, 65_537])
}

#[test]
fn every_size_and_every_way_round_trips() {
    let ring = ring(KEY_A, &[]);
    for (size, generation) in sizes().flat_map(|size| [(size, None), (size, Some(u64::MAX - 7))]) {
        let plain: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
        let seal = Seal { content: Content::Bytes, generation };
        let mut sealed = ring.seal(seal, &plain, &CONTEXT).unwrap();
        assert_eq!(sealed.len(), seal.sealed_len(size));

        let opened = ring.open(&sealed, &CONTEXT).unwrap();
        assert_eq!((&opened.plain[..], opened.generation), (&plain[..], generation));

        let mut out = vec![0xee; size + 3];
        let (content, length) = ring.open_into(&sealed, &CONTEXT, &mut out).unwrap();
        assert_eq!((content, length), (Content::Bytes, size));
        assert_eq!((&out[..size], &out[size..]), (&plain[..], &[0xee; 3][..]));

        let (content, range) = ring.open_in_place(&mut sealed, &CONTEXT).unwrap();
        assert_eq!((content, &sealed[range]), (Content::Bytes, &plain[..]));
    }
}

#[test]
fn buffers_of_a_wrong_length_are_refused_without_a_panic() {
    let ring = ring(KEY_A, &[]);
    let sealed = ring.seal(Content::Bytes, b"12345", &CONTEXT).unwrap();
    for length in [0, 10, OVERHEAD + 4, OVERHEAD + 6] {
        let mut out = vec![0; length];
        let result = ring.seal_into(Content::Bytes, b"12345", &CONTEXT, &mut out);
        assert_eq!(code(result), "ERR_INTERNAL");
    }
    assert_eq!(code(ring.open_into(&sealed, &CONTEXT, &mut [0; 4])), "ERR_INTERNAL");
    let mut short = [0; OVERHEAD - 1];
    let one = [(Seal::from(Content::Bytes), "", "", &mut short[..])];
    assert_eq!(code(ring.seal_many("a", one.into_iter())), "ERR_INTERNAL");
}

#[test]
fn an_envelope_has_the_documented_bytes() {
    let ring = KeyRing::new(Some(KEY_A), &[] as &[&str], Counting(5.into())).unwrap();
    let sealed = ring.seal(Content::Json, b"{}", &Context::credentials("agent-ü")).unwrap();
    let header = concat!(
        "57410101", // WA, version 1, suite 1
        "01000000", // JSON, no flags
        "52c5476645d1c70f",
        "ad12d4e92548c5b42f806254967f586f",
        "000000000000000500000000",
    );
    assert_eq!(hex::encode(&sealed[..HEADER_LEN]), header);
    // The rest was computed with node:crypto from docs/envelope.md.
    assert_eq!(hex::encode(&sealed[HEADER_LEN..]), "8990418202d5ec7ea62ebb947c6b510ad097");

    let seal = Seal { content: Content::Text, generation: Some(0x0102_0304_0506_0708) };
    let sealed = ring.seal(seal, b"x", &CONTEXT).unwrap();
    assert_eq!(hex::encode(&sealed[4..8]), "02010000");
    assert_eq!(hex::encode(&sealed[HEADER_LEN..HEADER_LEN + 8]), "0102030405060708");
    assert_eq!(Header::parse(&sealed).unwrap().generation, Some(0x0102_0304_0506_0708));
}

#[test]
fn every_flipped_bit_is_refused() {
    let ring = ring(KEY_A, &[KEY_B]);
    for generation in [None, Some(3)] {
        let seal = Seal { content: Content::Json, generation };
        let sealed = ring.seal(seal, b"{\"secret\":1}", &CONTEXT).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut out = vec![0xee; sealed.len()];
            let refused = code(ring.open_into(&flipped, &CONTEXT, &mut out));
            let expected: &[_] = match bit / 8 {
                0..4 | 6..8 => &["ERR_MALFORMED_ENVELOPE"],
                // To another content or to no generation it is still a header that makes sense.
                4 | 5 => &["ERR_MALFORMED_ENVELOPE", "ERR_DECRYPT_FAILED"],
                8..16 => &["ERR_UNKNOWN_KEY"],
                _ => &["ERR_DECRYPT_FAILED"],
            };
            assert!(expected.contains(&refused), "bit {bit}: {refused}");
            assert!(out.iter().all(|&byte| byte == 0xee), "partial plaintext at bit {bit}");
            let untouched = flipped.clone();
            assert_eq!(code(ring.open_in_place(&mut flipped, &CONTEXT)), refused);
            assert_eq!(flipped, untouched);
        }
    }
}

/// Large values are decrypted while they are authenticated: what fails must leave nothing.
#[test]
fn a_flipped_bit_in_a_large_value_leaves_no_plaintext() {
    let ring = ring(KEY_A, &[]);
    let plain = vec![7; LARGE];
    let sealed = ring.seal(Content::Bytes, &plain, &CONTEXT).unwrap();
    for byte in (HEADER_LEN..sealed.len()).step_by(61).chain([sealed.len() - 1]) {
        let mut flipped = sealed.clone();
        flipped[byte] ^= 1;
        let mut out = vec![0xee; plain.len()];
        let refused = ring.open_into(&flipped, &CONTEXT, &mut out);
        assert_eq!(code(refused), "ERR_DECRYPT_FAILED", "byte {byte}");
        assert!(out.iter().all(|&byte| byte == 0), "partial plaintext at byte {byte}");
        assert_eq!(code(ring.open_in_place(&mut flipped, &CONTEXT)), "ERR_DECRYPT_FAILED");
        let body = &flipped[HEADER_LEN..HEADER_LEN + plain.len()];
        assert!(body.iter().all(|&byte| byte == 0), "partial plaintext at byte {byte}");
    }
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    let ring = ring(KEY_A, &[]);
    for generation in [None, Some(3)] {
        let seal = Seal { content: Content::Bytes, generation };
        let sealed = ring.seal(seal, &[7; 100], &CONTEXT).unwrap();
        let least = if generation.is_some() { MAX_OVERHEAD } else { OVERHEAD };
        for length in 0..sealed.len() {
            let expected =
                if length < least { "ERR_MALFORMED_ENVELOPE" } else { "ERR_DECRYPT_FAILED" };
            assert_eq!(code(ring.open(&sealed[..length], &CONTEXT)), expected, "{length} bytes");
        }
        for more in [1, 15, 16, 17, 1000] {
            let longer = [&sealed[..], &vec![0; more]].concat();
            assert_eq!(code(ring.open(&longer, &CONTEXT)), "ERR_DECRYPT_FAILED");
        }
        // Cut at the front of the ciphertext instead of at the end.
        let header = sealed.len() - 100 - TAG_LEN;
        let shifted = [&sealed[..header], &sealed[header + 1..]].concat();
        assert_eq!(code(ring.open(&shifted, &CONTEXT)), "ERR_DECRYPT_FAILED");
    }
}

#[test]
fn another_agent_type_or_id_does_not_open() {
    let ring = ring(KEY_A, &[]);
    let sealed = ring.seal(Content::Bytes, b"secret", &CONTEXT).unwrap();
    let mut messages = Vec::new();
    for other in [
        Context { agent_id: "agent-2", ..CONTEXT },
        Context { agent_id: "AGENT-1", ..CONTEXT },
        Context { kind: "sender-key", ..CONTEXT },
        Context { kind: "", ..CONTEXT },
        Context { id: "4915.1", ..CONTEXT },
        Context { id: "", ..CONTEXT },
        // The same characters in other places.
        Context { agent_id: "agent-1s", kind: "ession", ..CONTEXT },
        Context { kind: "session4", id: "915.0", ..CONTEXT },
        Context { kind: "4915.0", id: "session", ..CONTEXT },
    ] {
        let error = ring.open(&sealed, &other).unwrap_err();
        assert_eq!(error.code(), "ERR_DECRYPT_FAILED", "{other:?}");
        messages.push(error.to_string().rsplit_once(": the stored").unwrap().1.to_owned());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "one message for every reason");
}

#[test]
fn many_are_sealed_at_once_each_with_a_nonce_of_its_own() {
    let ring = ring(KEY_A, &[]);
    let names: Vec<String> = (0..300).map(|i| i.to_string()).collect();
    let mut buffers: Vec<Vec<u8>> = (0..300).map(|i| vec![i as u8; OVERHEAD + i]).collect();
    let items = names
        .iter()
        .zip(&mut buffers)
        .map(|(id, buffer)| (Seal::from(Content::Bytes), "pre-key", id.as_str(), &mut buffer[..]));
    ring.seal_many("agent-1", items.collect::<Vec<_>>().into_iter()).unwrap();
    let mut nonces = std::collections::HashSet::new();
    for (i, (id, buffer)) in names.iter().zip(&buffers).enumerate() {
        let context = Context { agent_id: "agent-1", kind: "pre-key", id };
        let opened = ring.open(buffer, &context).unwrap();
        assert_eq!(opened.plain[..], vec![i as u8; i][..]);
        assert!(nonces.insert(buffer[32..44].to_vec()));
    }
}

#[test]
fn a_million_seals_in_four_threads_repeat_no_nonce() {
    let ring = ring(KEY_A, &[]);
    let nonces: Vec<[u8; 12]> = std::thread::scope(|scope| {
        let seal_many = || {
            let mut out = [0; OVERHEAD];
            let mut nonces = Vec::with_capacity(250_000);
            for _ in 0..250_000 {
                ring.seal_into(Content::Bytes, &[], &CONTEXT, &mut out).unwrap();
                nonces.push(out[32..44].try_into().unwrap());
            }
            nonces
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(seal_many)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut sorted = nonces;
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 1_000_000);
}

#[test]
fn resealing_changes_the_key_and_nothing_else() {
    let old = ring(KEY_B, &[]);
    let new = ring(KEY_A, &[KEY_B]);
    let seal = Seal { content: Content::Text, generation: Some(9) };
    let sealed = old.seal(seal, b"text", &CONTEXT).unwrap();
    assert!(new.needs_reencryption(&sealed).unwrap());
    let resealed = new.reseal(&sealed, &CONTEXT).unwrap().expect("it was under the old key");
    assert!(!new.needs_reencryption(&resealed).unwrap());
    let opened = ring(KEY_A, &[]).open(&resealed, &CONTEXT).unwrap();
    assert_eq!((opened.content, opened.generation), (Content::Text, Some(9)));
    assert_eq!(&opened.plain[..], b"text");
    assert_eq!(new.reseal(&resealed, &CONTEXT).unwrap(), None);
    // Resealing is no way to move a value to another agent, or to make a broken one good.
    let other = Context { agent_id: "agent-2", ..CONTEXT };
    assert_eq!(code(new.reseal(&sealed, &other)), "ERR_DECRYPT_FAILED");
    let error = new.reseal(&sealed[..10], &CONTEXT).unwrap_err();
    assert_eq!(error.code(), "ERR_MALFORMED_ENVELOPE");
    assert!(error.to_string().starts_with("agent agent-1, session 4915.0: "), "{error}");
}

//! Keys as users write them, and what the ring does with them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::*;
use crate::credentials::agent_cache::AgentCache;
use crate::credentials::agent_key::AgentKey;
use crate::credentials::master_key::MasterKey;

const SECRET: [u8; 32] = *b"correct horse battery staple, ok";

fn problem(text: &str) -> String {
    match KeyRing::new(Some(text), &[] as &[&str], OsEntropy) {
        Ok(_) => panic!("the key was accepted"),
        Err(error) => {
            assert_eq!(error.code(), "ERR_INVALID_OPTION");
            error.to_string()
        }
    }
}

#[test]
fn hex_and_base64_of_the_same_bytes_are_the_same_key() {
    let id = |text: &str| ring(text, &[]).current_id().unwrap();
    let hex = hex::encode(SECRET);
    for other in [hex.to_uppercase(), STANDARD.encode(SECRET), format!("  {hex}\n")] {
        assert_eq!(id(&hex), id(&other));
    }
    assert_ne!(id(&hex), id(KEY_A));
}

#[test]
fn a_key_in_base64_may_begin_as_hexadecimal_numbers_are_written() {
    for (first, start) in [([0xd3, 0x1f], "0x"), ([0xd1, 0x7f], "0X")] {
        let key = [&first[..], &SECRET[2..]].concat();
        let text = STANDARD.encode(&key);
        assert!(text.starts_with(start), "{text}");
        assert_eq!(ring(&text, &[]).current_id(), ring(&hex::encode(key), &[]).current_id());
    }
}

#[test]
fn a_key_that_cannot_be_used_is_refused_with_its_length_and_without_its_value() {
    let hex = hex::encode(SECRET);
    let base64 = STANDARD.encode(SECRET);
    let cases = [
        (hex[..62].to_owned(), "got 62 characters"),
        (format!("{hex}00"), "got 66 characters"),
        (base64[..43].to_owned(), "got 43 characters"),
        (format!("{}zz", &hex[..62]), "64 characters, not all of them hexadecimal"),
        (format!("{}*=", &base64[..42]), "44 characters, but they are not valid base64"),
        (format!("{}r=", &base64[..42]), "not valid base64"), // bits beyond the last byte
        (STANDARD.encode(&SECRET[..31]), "31 bytes"),
        (STANDARD.encode([&SECRET[..], b"k"].concat()), "33 bytes"),
        (URL_SAFE.encode([0xfb; 32]), "not valid base64"),
        (format!("\"{hex}\""), "quotes around it (66 characters"),
        (format!("'{base64}'"), "quotes"),
        (format!("0x{hex}"), "0x (66 characters"),
        ("0".repeat(64), "32 equal bytes"),
        ("ab".repeat(32), "32 equal bytes"),
        (STANDARD.encode([7; 32]), "32 equal bytes"),
        (String::new(), "is empty"),
        ("  ".to_owned(), "is empty"),
        ("ключ".to_owned(), "got 4 characters"),
    ];
    for (text, expected) in cases {
        let message = problem(&text);
        assert!(message.contains(expected), "{message}");
        assert!(message.starts_with("option encryptionKey: "), "{message}");
        let trimmed = text.trim_matches(['"', '\'', ' ']);
        for window in trimmed.as_bytes().windows(8) {
            let part = String::from_utf8_lossy(window);
            assert!(!message.contains(&*part), "{message} shows part of the key");
        }
    }
}

#[test]
fn a_bad_previous_key_is_named_by_its_place() {
    let error = KeyRing::new(Some(KEY_A), &[KEY_B, "short"], OsEntropy).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("option previousEncryptionKeys: key 2 of 2 "), "{message}");
    assert!(message.contains("got 5 characters") && !message.contains("short"), "{message}");
}

#[test]
fn a_key_given_twice_counts_once() {
    let ring = ring(KEY_A, &[KEY_B, &KEY_A.to_uppercase(), KEY_B]);
    assert_eq!(ring.previous_ids().count(), 1);
    assert_ne!(ring.previous_ids().next(), ring.current_id());
}

#[test]
fn derivation_is_what_the_format_says() {
    // Computed with node:crypto's hkdfSync from the formulas in docs/envelope.md.
    let master = MasterKey::parse(KEY_A).unwrap();
    assert_eq!(master.id().to_string(), "52c5476645d1c70f");
    let key = AgentKey::derive(&master, "agent-ü");
    assert_eq!(hex::encode(key.commitment), "ad12d4e92548c5b42f806254967f586f");
    assert_ne!(key.commitment, AgentKey::derive(&master, "agent-u").commitment);
}

#[test]
fn a_key_is_needed_to_seal_and_to_open() {
    let context = Context::credentials("agent-1");
    let none = reading_ring(&[]);
    let sealed = ring(KEY_A, &[]).seal(Content::Bytes, b"x", &context).unwrap();
    assert_eq!(code(none.seal(Content::Bytes, b"x", &context)), "ERR_KEY_MISSING");
    assert_eq!(code(none.open(&sealed, &context)), "ERR_KEY_MISSING");
    let reader = reading_ring(&[KEY_A]);
    assert_eq!(&reader.open(&sealed, &context).unwrap().plain[..], b"x");
    assert_eq!(code(reader.seal(Content::Bytes, b"x", &context)), "ERR_KEY_MISSING");
    assert!(reader.needs_reencryption(&sealed).unwrap());
}

#[test]
fn an_unknown_key_is_named() {
    let context = Context { agent_id: "agent-1", kind: "session", id: "123.0" };
    let other = ring(KEY_B, &[]);
    let sealed = other.seal(Content::Bytes, b"x", &context).unwrap();
    let error = ring(KEY_A, &[]).open(&sealed, &context).unwrap_err();
    assert_eq!(error.code(), "ERR_UNKNOWN_KEY");
    let message = error.to_string();
    assert!(message.contains(&other.current_id().unwrap().to_string()), "{message}");
    assert!(message.starts_with("agent agent-1, session 123.0: "), "{message}");
}

#[test]
fn the_cache_stays_within_its_bounds_and_keeps_what_is_used() {
    let master = MasterKey::parse(KEY_A).unwrap();
    let mut cache = AgentCache::new(16);
    let mut derived = 0;
    for number in 0..1000 {
        for agent in ["busy".to_owned(), format!("agent-{number}")] {
            let key = cache.get_or_derive(&agent, || {
                derived += 1;
                AgentKey::derive(&master, &agent)
            });
            assert_eq!(key.commitment, AgentKey::derive(&master, &agent).commitment);
            assert!(cache.len() <= 16, "{} entries", cache.len());
        }
    }
    assert_eq!(derived, 1001, "the busy one is derived once");
}

#[test]
fn counters_count() {
    let ring = ring(KEY_A, &[]);
    let context = Context::credentials("a");
    let mut sealed = ring.seal(Content::Bytes, b"x", &context).unwrap();
    ring.open(&sealed, &context).unwrap();
    sealed[50] ^= 1;
    ring.open(&sealed, &context).unwrap_err();
    let stats = ring.stats();
    assert_eq!((stats.sealed, stats.opened, stats.refused), (1, 1, 1));
}

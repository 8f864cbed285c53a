//! The fuzzing targets on their seeds and on changes of them, without a fuzzer: a short form that needs
//! no nightly toolchain. And URLs as people mistype them.

#![allow(missing_docs)]

#[path = "../fuzz/src/checks.rs"]
mod checks;

use std::fs;
use std::time::Duration;

use baileys_guard::credentials;
use baileys_guard::credentials::{KeyRing, OsEntropy};
use baileys_guard::store::{DatabaseUrl, StoreOptions, open};

const CHANGES: usize = 4;

/// xorshift64*: the same changes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    /// Flips, cuts, doubles or puts in a few bytes.
    fn change(&mut self, data: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(data.len() + 1);
            match self.below(4) {
                0 if at < data.len() => data[at] ^= 1 << self.below(8),
                1 => data.truncate(at),
                2 => data.extend_from_within(at..),
                _ => data.insert(at, self.below(256) as u8),
            }
        }
        data.truncate(8192);
    }
}

fn ring() -> KeyRing {
    let current = "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let previous = "f0e1d2c3b4a5968778695a4b3c2d1e0fffeeddccbbaa99887766554433221100";
    KeyRing::new(Some(current), &[previous], OsEntropy).unwrap()
}

fn on_seeds(target: &str, check: impl Fn(&KeyRing, &[u8])) {
    let ring = ring();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let seed = fs::read(file).unwrap();
        check(&ring, &seed);
        for _ in 0..CHANGES {
            let mut data = seed.clone();
            random.change(&mut data);
            check(&ring, &data);
        }
    }
}

#[test]
fn envelopes() {
    on_seeds("envelope", checks::envelope);
}

#[test]
fn values_of_json_columns() {
    on_seeds("legacy", checks::legacy);
}

#[tokio::test]
async fn urls_are_refused_or_taken_and_never_shown() {
    let mut random = Random(7);
    for seed in [
        "postgres://user:hush-hush@db.example:5432/app?sslmode=require&options=-csearch_path%3Dapp",
        "postgresql://user:hush-hush@[::1]/app?application_name=x&pgbouncer=true",
        "sqlite://data/guard.db?mode=rwc",
        "file:guard.db",
    ] {
        for _ in 0..2000 {
            let mut bytes = seed.as_bytes().to_vec();
            random.change(&mut bytes);
            let text = String::from_utf8_lossy(&bytes);
            let opened = DatabaseUrl::parse(&text).and_then(|url| {
                open(StoreOptions { url, max_connections: 1, call_timeout: Duration::from_secs(1) })
            });
            if let Err(error) = opened {
                assert_eq!(error.code(), "ERR_INVALID_OPTION", "{error}");
                assert!(!error.to_string().contains("hush-hush@"), "{error}");
            }
        }
    }
}

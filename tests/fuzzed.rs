//! The fuzzing targets on their seeds and on changes of them, without a fuzzer: a short form that needs
//! no nightly toolchain. And URLs as people mistype them.

#![allow(missing_docs)]

#[path = "../fuzz/src/checks.rs"]
mod checks;
#[path = "../fuzz/src/sessions.rs"]
mod sessions;

use std::fs;
use std::time::Duration;

use baileys_guard::credentials;
use baileys_guard::credentials::{KeyRing, OsEntropy};
use baileys_guard::store::{DatabaseUrl, StoreOptions, open};

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

/// Calls `check` with every seed of the target and with so many changes of each.
fn on_seeds(target: &str, changes: usize, mut check: impl FnMut(&[u8])) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let seed = fs::read(file).unwrap();
        check(&seed);
        for _ in 0..changes {
            let mut data = seed.clone();
            random.change(&mut data);
            check(&data);
        }
    }
}

#[test]
fn envelopes() {
    let ring = ring();
    on_seeds("envelope", 4, |data| checks::envelope(&ring, data));
}

#[test]
fn values_of_json_columns() {
    let ring = ring();
    on_seeds("legacy", 4, |data| checks::legacy(&ring, data));
}

#[test]
fn rows_as_a_host_could_have_left_them() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = std::env::temp_dir().join(format!("baileys-guard-{}", uuid::Uuid::new_v4()));
    fs::create_dir(&folder).unwrap();
    let mut hosts = runtime.block_on(sessions::Host::all(&folder));
    on_seeds("sessions", 1, |data| {
        for host in &mut hosts {
            runtime.block_on(host.check(data));
        }
    });
    drop(hosts);
    fs::remove_dir_all(folder).unwrap();
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

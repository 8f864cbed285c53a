mod envelopes;
mod json;
mod keys;
mod secrecy;
mod values;
mod vectors;

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Content, Context, Entropy, KeyRing, OsEntropy};
use crate::error::{Error, Result};

pub const KEY_A: &str = "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0";
pub const KEY_B: &str = "f0e1d2c3b4a5968778695a4b3c2d1e0fffeeddccbbaa99887766554433221100";

pub fn ring(current: &str, previous: &[&str]) -> KeyRing {
    KeyRing::new(Some(current), previous, OsEntropy).expect("the test's keys are good")
}

/// A ring that opens and does not seal.
pub fn reading_ring(previous: &[&str]) -> KeyRing {
    KeyRing::new(None, previous, OsEntropy).expect("the test's keys are good")
}

pub fn code<T>(result: Result<T>) -> &'static str {
    match result {
        Ok(_) => "it worked",
        Err(error) => error.code(),
    }
}

/// Nonces that count, for envelopes with known bytes.
#[derive(Default)]
pub struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        for chunk in bytes.chunks_mut(12) {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            chunk.fill(0);
            chunk[..8].copy_from_slice(&number.to_be_bytes());
        }
        Ok(())
    }
}

/// A machine without randomness.
struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, _: &mut [u8]) -> Result<()> {
        Err(Error::Internal("no randomness".into()))
    }
}

#[test]
fn without_randomness_nothing_is_sealed() {
    let ring = KeyRing::new(Some(KEY_A), &[] as &[&str], NoEntropy).unwrap();
    let sealed = ring.seal(Content::Bytes, b"secret", &Context::credentials("agent"));
    assert_eq!(code(sealed), "ERR_INTERNAL");
}

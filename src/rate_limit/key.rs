//! Keys as fingerprints of fixed size.
//!
//! A key may be any JavaScript string: empty, 100,000 units long, with lone surrogates. A table
//! that kept the text would let an attacker choose how much memory a key takes. It keeps 96 bits
//! of a keyed hash (SipHash-1-3, finished twice, as its 128-bit form is): among ten million keys
//! two share a fingerprint with a probability of 10⁻¹⁵, and without the secret nobody can look
//! for such a pair.

use std::hash::{BuildHasher, Hasher, RandomState};

/// What a table knows of a key.
pub type Fingerprint = [u32; 3];

/// Turns keys into fingerprints; the same key gives the same one for as long as this lives.
#[derive(Debug, Clone)]
pub struct Fingerprints {
    secret: RandomState,
}

impl Fingerprints {
    /// Fingerprints under this secret.
    pub fn new(secret: RandomState) -> Self {
        Self { secret }
    }

    /// The fingerprint of a key: UTF-16 as JavaScript has it, and `kind`, which keeps the string
    /// `'1'` apart from the number 1.
    pub fn of(&self, kind: u32, units: &[u16]) -> Fingerprint {
        let mut hasher = self.secret.build_hasher();
        // Four units a write: a hasher is quicker with whole words.
        let (words, rest) = units.as_chunks::<4>();
        for &[a, b, c, d] in words {
            let (low, high) =
                (u32::from(a) | u32::from(b) << 16, u32::from(c) | u32::from(d) << 16);
            hasher.write_u64(u64::from(low) | u64::from(high) << 32);
        }
        // The length makes "a" and "a\0" differ, the kind what is text and what is not.
        let tail = rest.iter().fold(0u64, |tail, &unit| tail << 16 | u64::from(unit));
        hasher.write_u64(tail);
        hasher.write_u64((units.len() as u64) << 8 | u64::from(kind & 0xff));
        let first = hasher.finish();
        hasher.write_u64(0xee);
        let second = hasher.finish();
        [first as u32, (first >> 32) as u32, second as u32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_difference_in_a_key_shows() {
        let fingerprints = Fingerprints::new(RandomState::new());
        let utf16 = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        let mut keys: Vec<(u32, Vec<u16>)> =
            ["", "1", "a", "a\0", "\0a", "aaaa", "aaaa\0", "undefined"]
                .iter()
                .map(|text| (0, utf16(text)))
                .collect();
        keys.push((1, utf16("1")));
        keys.push((2, vec![]));
        keys.push((0, vec![0xd800]));
        keys.push((0, vec![0xd801]));
        keys.push((0, vec![0xdc00; 100_000]));
        keys.push((0, vec![0xdc00; 100_001]));
        let seen: HashSet<Fingerprint> =
            keys.iter().map(|(kind, units)| fingerprints.of(*kind, units)).collect();
        assert_eq!(seen.len(), keys.len());
        assert_eq!(fingerprints.of(0, &utf16("key")), fingerprints.of(0, &utf16("key")));
    }
}

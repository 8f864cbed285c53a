//! The envelope's layout: what stands at which offset, and what is refused at first sight.
//!
//! No key is needed here. `docs/envelope.md` has the same as a table.

use std::fmt;

/// Length of the header without a generation.
pub const HEADER_LEN: usize = 44;
const GENERATION_LEN: usize = 8;
/// Length of the authentication tag at the end.
pub const TAG_LEN: usize = 16;
/// What an envelope without a generation adds to its content.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
/// What an envelope adds at most.
pub const MAX_OVERHEAD: usize = OVERHEAD + GENERATION_LEN;
/// The shortest envelope: no content, no generation.
pub const MIN_LEN: usize = OVERHEAD;

pub(super) const COMMITMENT_LEN: usize = 16;
pub(super) const NONCE_LEN: usize = 12;

const MAGIC: [u8; 2] = *b"WA";
const VERSION: u8 = 1;
const SUITE: u8 = 1; // HKDF-SHA256, AES-256-GCM; 2 is reserved for XAES-256-GCM
const HAS_GENERATION: u8 = 1;

/// What the plaintext is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Raw bytes.
    Bytes = 0,
    /// JSON, with byte strings as `{"type":"Buffer","data":"<base64>"}`.
    Json = 1,
    /// A UTF-8 string.
    Text = 2,
}

impl Content {
    /// The content with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Bytes, Self::Json, Self::Text].into_iter().find(|&content| content as u8 == code)
    }
}

/// Names a master key without revealing it; may be logged.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; KeyId::LEN]);

impl KeyId {
    /// Its length in bytes.
    pub const LEN: usize = 8;
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The part of an envelope that can be read without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the plaintext is.
    pub content: Content,
    /// The master key it is sealed under.
    pub key_id: KeyId,
    pub(super) commitment: [u8; COMMITMENT_LEN],
    pub(super) nonce: [u8; NONCE_LEN],
    /// A counter of the writer's, bound to the content.
    pub generation: Option<u64>,
}

impl Header {
    /// How long it is in bytes.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + if self.generation.is_some() { GENERATION_LEN } else { 0 }
    }

    /// Writes it to a slice of exactly its length.
    pub(super) fn write(&self, out: &mut [u8]) {
        let (fixed, generation) = out.split_at_mut(HEADER_LEN);
        fixed[0..2].copy_from_slice(&MAGIC);
        fixed[2] = VERSION;
        fixed[3] = SUITE;
        fixed[4] = self.content as u8;
        fixed[5] = if self.generation.is_some() { HAS_GENERATION } else { 0 };
        fixed[6..8].fill(0);
        fixed[8..16].copy_from_slice(&self.key_id.0);
        fixed[16..32].copy_from_slice(&self.commitment);
        fixed[32..44].copy_from_slice(&self.nonce);
        if let Some(number) = self.generation {
            generation.copy_from_slice(&number.to_be_bytes());
        }
    }

    /// Reads the header of an envelope, or says why the bytes are none.
    ///
    /// Every bit that this version gives no meaning must be zero: what it does not know it does
    /// not guess.
    pub fn parse(envelope: &[u8]) -> Result<Self, String> {
        if envelope.len() < MIN_LEN {
            return Err(format!(
                "{} bytes are too few, an envelope has at least {MIN_LEN}",
                envelope.len()
            ));
        }
        let array = |at: usize| -> [u8; 8] { envelope[at..at + 8].try_into().expect("8 bytes") };
        if envelope[0..2] != MAGIC {
            return Err("it does not begin with the letters WA".into());
        }
        if envelope[2] != VERSION {
            return Err(format!("version {} is unknown", envelope[2]));
        }
        if envelope[3] != SUITE {
            return Err(format!("cipher suite {} is unknown", envelope[3]));
        }
        let content = Content::from_code(envelope[4])
            .ok_or_else(|| format!("content type {} is unknown", envelope[4]))?;
        if envelope[5] & !HAS_GENERATION != 0 || envelope[6..8] != [0, 0] {
            return Err("it has flags that are unknown".into());
        }
        let has_generation = envelope[5] & HAS_GENERATION != 0;
        if has_generation && envelope.len() < MAX_OVERHEAD {
            return Err(format!(
                "{} bytes are too few, an envelope with a generation has at least {MAX_OVERHEAD}",
                envelope.len()
            ));
        }
        Ok(Self {
            content,
            key_id: KeyId(array(8)),
            commitment: envelope[16..32].try_into().expect("16 bytes"),
            nonce: envelope[32..44].try_into().expect("12 bytes"),
            generation: has_generation.then(|| u64::from_be_bytes(array(HEADER_LEN))),
        })
    }
}

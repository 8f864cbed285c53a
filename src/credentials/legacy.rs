//! The form of before: `{ encrypted, iv, authTag }`, as an audit report once recommended it.
//!
//! AES-256-GCM over `JSON.stringify(creds)`, the key used directly, a random IV of 16 bytes, all
//! in hexadecimal. It binds no agent and names no key. It is read where allowed and never written.

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U16;
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, KeyInit};
use zeroize::Zeroizing;

const IV_LEN: usize = 16;
const TAG_LEN: usize = 16;

/// The cipher of that form: 128-bit IV, 128-bit tag.
pub(super) type LegacyCipher = AesGcm<Aes256, U16>;

/// Its three parts, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy {
    encrypted: Vec<u8>,
    iv: [u8; IV_LEN],
    auth_tag: [u8; TAG_LEN],
}

impl Legacy {
    /// Reads the parts, or says which one is wrong.
    ///
    /// Strict where Node is not: `Buffer.from(text, 'hex')` stops silently at the first character
    /// that is no digit, and Node accepts tags of 4 bytes, which can be guessed.
    pub fn parse(encrypted: &str, iv: &str, auth_tag: &str) -> Result<Self, String> {
        Ok(Self {
            encrypted: hex::decode(encrypted)
                .map_err(|_| "encrypted is not hexadecimal".to_owned())?,
            iv: fixed("iv", iv)?,
            auth_tag: fixed("authTag", auth_tag)?,
        })
    }

    /// The plaintext, if this key opens it.
    pub(super) fn open(&self, key: &[u8; 32]) -> Option<Zeroizing<Vec<u8>>> {
        let cipher = LegacyCipher::new(key.into());
        let mut plain = Zeroizing::new(self.encrypted.clone());
        cipher
            .decrypt_inout_detached(
                (&self.iv).into(),
                b"",
                plain.as_mut_slice().into(),
                (&self.auth_tag).into(),
            )
            .ok()?;
        Some(plain)
    }
}

fn fixed<const N: usize>(name: &str, text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        let count = text.chars().count();
        return Err(format!("{name} has {count} characters instead of {}", 2 * N));
    }
    hex::decode_to_slice(text, &mut bytes).map_err(|_| format!("{name} is not hexadecimal"))?;
    Ok(bytes)
}

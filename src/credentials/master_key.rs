//! The master key: how users write it, and what is derived from it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::envelope::KeyId;

/// Salt of the extraction; it names the format, so that one master key used elsewhere too gives
/// unrelated keys there.
const SALT: &[u8] = b"wa-creds/v1";

const KEY_LEN: usize = 32;
const HEX_LEN: usize = 2 * KEY_LEN;
const BASE64_LEN: usize = KEY_LEN.div_ceil(3) * 4;

/// 32 secret bytes and the key that HKDF extracts from them. Neither copied nor printed; boxed, so
/// that moving it leaves no copy behind.
pub(super) struct MasterKey(Box<Secrets>);

#[derive(Zeroize, ZeroizeOnDrop)]
struct Secrets {
    master: [u8; KEY_LEN],
    prk: [u8; KEY_LEN],
}

impl MasterKey {
    /// Reads 64 hexadecimal or 44 base64 characters, or says what is wrong with them.
    ///
    /// The message has the length that was found and never the characters.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let mut key = Self(Box::new(Secrets { master: [0; KEY_LEN], prk: [0; KEY_LEN] }));
        let master = &mut key.0.master;
        let count = text.chars().count();
        if text.is_empty() {
            return Err("is empty".into());
        } else if text.starts_with(['"', '\'', '`']) || text.ends_with(['"', '\'', '`']) {
            return Err(format!("has quotes around it ({count} characters with them)"));
        } else if text.len() != BASE64_LEN && (text.starts_with("0x") || text.starts_with("0X")) {
            // One in two thousand random keys begins like that in base64.
            return Err(format!("begins with 0x ({count} characters with it); leave that out"));
        } else if text.len() == HEX_LEN {
            hex::decode_to_slice(text, master)
                .map_err(|_| format!("has {HEX_LEN} characters, not all of them hexadecimal"))?;
        } else if text.len() == BASE64_LEN {
            // Decoded lengths of 31 and 33 bytes have 44 characters too.
            let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| {
                format!("has {BASE64_LEN} characters, but they are not valid base64")
            })?);
            if bytes.len() != KEY_LEN {
                return Err(format!("holds {} bytes in base64 instead of {KEY_LEN}", bytes.len()));
            }
            master.copy_from_slice(&bytes);
        } else {
            return Err(format!(
                "must be {KEY_LEN} bytes as {HEX_LEN} hex or {BASE64_LEN} base64 characters, got {count} characters"
            ));
        }
        if master.iter().all(|&byte| byte == master[0]) {
            return Err(format!("holds {KEY_LEN} equal bytes, which is no random key"));
        }
        key.extract();
        Ok(key)
    }

    fn extract(&mut self) {
        let (mut prk, _) = Hkdf::<Sha256>::extract(Some(SALT), &self.0.master);
        self.0.prk.copy_from_slice(&prk);
        prk.as_mut_slice().zeroize();
    }

    /// HKDF-Expand of the extracted key over the concatenation of `info`.
    pub(super) fn expand(&self, info: &[&[u8]], out: &mut [u8]) {
        Hkdf::<Sha256>::from_prk(&self.0.prk)
            .expect("a pseudorandom key of 32 bytes is long enough for SHA-256")
            .expand_multi_info(info, out)
            .expect("48 bytes are within HKDF's limit");
    }

    /// The public name of this key. Derived, so that nobody can mistype it.
    pub(super) fn id(&self) -> KeyId {
        let mut id = [0; KeyId::LEN];
        self.expand(&[b"key-id"], &mut id);
        KeyId(id)
    }

    /// The bytes as configured, which the format of before used directly.
    pub(super) fn raw(&self) -> &[u8; KEY_LEN] {
        &self.0.master
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.0.master.ct_eq(&other.0.master).into()
    }
}

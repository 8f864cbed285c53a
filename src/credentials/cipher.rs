//! AES-256-GCM with 96-bit nonce and 128-bit tag: one cipher from two crates.
//!
//! aes-gcm hashes 64 bytes at a time, through a function that its compiler must not inline, since
//! the program has to run on processors without these instructions. At 200 bytes that is nothing,
//! at 64 KB it is two thirds of the time. ring has it all in assembly, and takes a third as long.

use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::{U12, U16, U32};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadCore, AeadInOut, Error, Key, KeySizeUser, TagPosition};
use aes_gcm::{Aes256Gcm, KeyInit};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::ZeroizeOnDrop;

/// Values of this length and more are large. Sessions, pre-keys and `creds` are smaller.
pub(super) const LARGE: usize = 4096;

/// The cipher of envelopes.
pub(super) struct Cipher {
    small: Aes256Gcm, // overwritten on drop by its feature `zeroize`
    large: Large,
}

const fn assert_zeroize_on_drop<T: ZeroizeOnDrop>() {}
const _: () = assert_zeroize_on_drop::<Aes256Gcm>();
const _: () = assert_zeroize_on_drop::<Large>();

/// ring's, boxed so that moving it leaves no copy behind.
pub(super) struct Large(Box<LessSafeKey>);

fn expand(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes"))
}

impl Drop for Large {
    /// ring does not overwrite its keys: one that is no secret takes the place of this.
    fn drop(&mut self) {
        *self.0 = expand(&[0; 32]);
        std::hint::black_box(&mut self.0); // or the compiler leaves out what nobody reads
    }
}

impl ZeroizeOnDrop for Large {}

impl KeySizeUser for Large {
    type KeySize = U32;
}

impl KeyInit for Large {
    fn new(key: &Key<Self>) -> Self {
        Self(Box::new(expand(&key.0)))
    }
}

impl AeadCore for Large {
    type NonceSize = U12;
    type TagSize = U16;
    const TAG_POSITION: TagPosition = TagPosition::Postfix;
}

impl AeadInOut for Large {
    fn encrypt_inout_detached(
        &self,
        nonce: &Array<u8, U12>,
        aad: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
    ) -> Result<Array<u8, U16>, Error> {
        let (nonce, buffer) =
            (Nonce::assume_unique_for_key(nonce.0), buffer.into_out_with_copied_in());
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), buffer);
        tag.map_err(|_| Error)?.as_ref().try_into().map_err(|_| Error)
    }

    /// Decrypts while it hashes; where the tag is wrong, the output is zeros.
    fn decrypt_inout_detached(
        &self,
        nonce: &Array<u8, U12>,
        aad: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
        tag: &Array<u8, U16>,
    ) -> Result<(), Error> {
        let (nonce, buffer) =
            (Nonce::assume_unique_for_key(nonce.0), buffer.into_out_with_copied_in());
        let opened =
            self.0.open_in_place_separate_tag(nonce, Aad::from(aad), tag.0.into(), buffer, 0..);
        if opened.is_ok() {
            return Ok(());
        }
        buffer.fill(0);
        Err(Error)
    }
}

impl KeySizeUser for Cipher {
    type KeySize = U32;
}

impl KeyInit for Cipher {
    fn new(key: &Key<Self>) -> Self {
        Self { small: Aes256Gcm::new(key), large: Large::new(key) }
    }
}

impl AeadCore for Cipher {
    type NonceSize = U12;
    type TagSize = U16;
    const TAG_POSITION: TagPosition = TagPosition::Postfix;
}

impl AeadInOut for Cipher {
    fn encrypt_inout_detached(
        &self,
        nonce: &Array<u8, U12>,
        aad: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
    ) -> Result<Array<u8, U16>, Error> {
        if buffer.len() < LARGE {
            self.small.encrypt_inout_detached(nonce, aad, buffer)
        } else {
            self.large.encrypt_inout_detached(nonce, aad, buffer)
        }
    }

    fn decrypt_inout_detached(
        &self,
        nonce: &Array<u8, U12>,
        aad: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
        tag: &Array<u8, U16>,
    ) -> Result<(), Error> {
        if buffer.len() < LARGE {
            self.small.decrypt_inout_detached(nonce, aad, buffer, tag)
        } else {
            self.large.decrypt_inout_detached(nonce, aad, buffer, tag)
        }
    }
}

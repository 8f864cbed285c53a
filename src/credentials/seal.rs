//! Sealing and opening.
//!
//! Each exists from one buffer to another, within one buffer (for many values in one go), and
//! with a buffer of its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::agent_key::AgentKey;
use super::envelope::{Content, Header, NONCE_LEN, OVERHEAD, TAG_LEN};
use super::{Context, KeyRing};
use crate::error::{Error, Result};

/// What to write about a value into its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// What the plaintext is.
    pub content: Content,
    /// A counter of the writer's, if it keeps one.
    pub generation: Option<u64>,
}

impl From<Content> for Seal {
    fn from(content: Content) -> Self {
        Self { content, generation: None }
    }
}

/// What was in an envelope.
#[derive(Clone)]
pub struct Opened {
    /// What the plaintext is.
    pub content: Content,
    /// The generation it was sealed with.
    pub generation: Option<u64>,
    /// The plaintext, overwritten when dropped.
    pub plain: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { content, generation, plain } = self;
        write!(f, "Opened({content:?}, generation {generation:?}, {} bytes)", plain.len())
    }
}

impl Seal {
    /// Length of an envelope of that many bytes.
    pub fn sealed_len(&self, plain_len: usize) -> usize {
        OVERHEAD + plain_len + if self.generation.is_some() { 8 } else { 0 }
    }
}

impl KeyRing {
    /// Seals into a new buffer.
    pub fn seal(&self, seal: impl Into<Seal>, plain: &[u8], context: &Context) -> Result<Vec<u8>> {
        let seal = seal.into();
        let mut envelope = vec![0; seal.sealed_len(plain.len())];
        self.seal_into(seal, plain, context, &mut envelope)?;
        Ok(envelope)
    }

    /// Seals into a buffer of exactly [`Seal::sealed_len`] bytes.
    pub fn seal_into(
        &self,
        seal: impl Into<Seal>,
        plain: &[u8],
        context: &Context,
        envelope: &mut [u8],
    ) -> Result<()> {
        let seal = seal.into();
        if envelope.len() != seal.sealed_len(plain.len()) {
            return Err(Error::Internal("a buffer to seal into has another length".into()));
        }
        let (key_id, key) = self.sealing_key(context)?;
        let mut nonce = [0; NONCE_LEN];
        self.entropy.fill(&mut nonce)?;
        let header = new_header(seal, key_id, &key, nonce);
        write_sealed(&key, &header, context, Some(plain), envelope)?;
        self.counters.sealed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Seals many values of one agent within one buffer, where each stands already with room for
    /// header and tag around it. Asks for random bytes once.
    pub fn seal_many<'a>(
        &self,
        agent_id: &str,
        items: impl ExactSizeIterator<Item = (Seal, &'a str, &'a str, &'a mut [u8])>,
    ) -> Result<()> {
        let count = items.len();
        let (key_id, key) = self.sealing_key(&Context { agent_id, kind: "", id: "" })?;
        let mut nonces = vec![0; count * NONCE_LEN];
        self.entropy.fill(&mut nonces)?;
        let (nonces, _) = nonces.as_chunks::<NONCE_LEN>();
        for ((seal, kind, id, envelope), nonce) in items.zip(nonces) {
            if envelope.len() < seal.sealed_len(0) {
                return Err(Error::Internal("a buffer to seal within is too short".into()));
            }
            let header = new_header(seal, key_id, &key, *nonce);
            write_sealed(&key, &header, &Context { agent_id, kind, id }, None, envelope)?;
        }
        self.counters.sealed.fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Opens into a new buffer.
    pub fn open(&self, envelope: &[u8], context: &Context) -> Result<Opened> {
        let sealed = self.recognise(envelope, context)?;
        let mut plain = Zeroizing::new(vec![0; sealed.plain_len(envelope)]);
        self.finish(&sealed, envelope, context, &mut plain)?;
        let Header { content, generation, .. } = sealed.header;
        Ok(Opened { content, generation, plain })
    }

    /// Opens into the beginning of a buffer; returns what the plaintext is and its length.
    pub fn open_into(
        &self,
        envelope: &[u8],
        context: &Context,
        out: &mut [u8],
    ) -> Result<(Content, usize)> {
        let sealed = self.recognise(envelope, context)?;
        let length = sealed.plain_len(envelope);
        let out = out
            .get_mut(..length)
            .ok_or_else(|| Error::Internal("a buffer to open into is too short".into()))?;
        self.finish(&sealed, envelope, context, out)?;
        Ok((sealed.header.content, length))
    }

    /// Opens within the envelope's own buffer; returns what the plaintext is and where in the
    /// buffer it stands. On failure the buffer is as it was, or of what did not open remain zeros.
    pub fn open_in_place(
        &self,
        envelope: &mut [u8],
        context: &Context,
    ) -> Result<(Content, std::ops::Range<usize>)> {
        let sealed = self.recognise(envelope, context)?;
        let start = sealed.header.encoded_len();
        let range = start..start + sealed.plain_len(envelope);
        let (head, rest) = envelope.split_at_mut(start);
        let (body, tag) = rest.split_at_mut(range.len());
        sealed
            .decrypt(head, context, body.into(), tag)
            .map_err(|_| self.refused(context.decrypt_failed()))?;
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        Ok((sealed.header.content, range))
    }

    /// The same content under the current key with a fresh nonce, or `None` when it is under that
    /// key already. What was bound to it stays bound.
    pub fn reseal(&self, envelope: &[u8], context: &Context) -> Result<Option<Vec<u8>>> {
        if !self.needs_reencryption(envelope).map_err(|error| with_item(error, context))? {
            return Ok(None);
        }
        let Opened { content, generation, plain } = self.open(envelope, context)?;
        self.seal(Seal { content, generation }, &plain, context).map(Some)
    }

    /// Reads the header, finds the key and compares its commitment: everything before decryption.
    fn recognise(&self, envelope: &[u8], context: &Context) -> Result<Sealed> {
        let header =
            Header::parse(envelope).map_err(|problem| self.refused(context.malformed(problem)))?;
        let key = self.opening_key(header.key_id, context)?;
        if !bool::from(key.commitment.ct_eq(&header.commitment)) {
            return Err(self.refused(context.decrypt_failed()));
        }
        Ok(Sealed { header, key })
    }

    fn finish(
        &self,
        sealed: &Sealed,
        envelope: &[u8],
        context: &Context,
        out: &mut [u8],
    ) -> Result<()> {
        let (head, rest) = envelope.split_at(sealed.header.encoded_len());
        let (body, tag) = rest.split_at(rest.len() - TAG_LEN);
        let buffer = InOutBuf::new(body, out)
            .map_err(|_| Error::Internal("a buffer to open into has another length".into()))?;
        sealed
            .decrypt(head, context, buffer, tag)
            .map_err(|_| self.refused(context.decrypt_failed()))?;
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// An envelope whose header has been read and whose key is known.
struct Sealed {
    header: Header,
    key: Arc<AgentKey>,
}

impl Sealed {
    fn plain_len(&self, envelope: &[u8]) -> usize {
        envelope.len() - self.header.encoded_len() - TAG_LEN
    }

    /// Of what was changed nothing is left in the buffer.
    fn decrypt(
        &self,
        head: &[u8],
        context: &Context,
        buffer: InOutBuf<'_, '_, u8>,
        tag: &[u8],
    ) -> Result<(), aes_gcm::Error> {
        let tag = tag.try_into().map_err(|_| aes_gcm::Error)?;
        let nonce = &self.header.nonce;
        let aad = AssociatedData::new(head, context);
        self.key.cipher.decrypt_inout_detached(nonce.into(), aad.as_slice(), buffer, tag)
    }
}

fn new_header(
    Seal { content, generation }: Seal,
    key_id: super::KeyId,
    key: &AgentKey,
    nonce: [u8; NONCE_LEN],
) -> Header {
    Header { content, key_id, commitment: key.commitment, nonce, generation }
}

/// Writes header, ciphertext and tag; the plaintext is given, or stands in its place already.
fn write_sealed(
    key: &AgentKey,
    header: &Header,
    context: &Context,
    plain: Option<&[u8]>,
    envelope: &mut [u8],
) -> Result<()> {
    let (head, rest) = envelope.split_at_mut(header.encoded_len());
    let (body, tag) = rest.split_at_mut(rest.len() - TAG_LEN);
    header.write(head);
    let aad = AssociatedData::new(head, context);
    let buffer = match plain {
        Some(plain) => InOutBuf::new(plain, body)
            .map_err(|_| Error::Internal("a buffer to seal into has another length".into()))?,
        None => body.into(),
    };
    let sealed = key
        .cipher
        .encrypt_inout_detached((&header.nonce).into(), aad.as_slice(), buffer)
        .map_err(|_| Error::argument("value", "is longer than AES-GCM allows"))?;
    tag.copy_from_slice(&sealed);
    Ok(())
}

/// The header as it stands, then agent, type and id, each after its length. The lengths keep
/// ("ab", "c") and ("a", "bc") apart.
///
/// Names are short: nearly always this needs no allocation, which would cost as much as a tenth
/// of sealing a small value.
struct AssociatedData {
    inline: [u8; 256],
    length: usize,
    spilled: Vec<u8>, // all of it, where it did not fit
}

impl AssociatedData {
    fn new(header: &[u8], context: &Context) -> Self {
        let mut data = Self { inline: [0; 256], length: 0, spilled: Vec::new() };
        data.push(header);
        for part in [context.agent_id, context.kind, context.id] {
            data.push(&(part.len() as u32).to_be_bytes());
            data.push(part.as_bytes());
        }
        data
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if self.spilled.is_empty() && end <= self.inline.len() {
            self.inline[self.length..end].copy_from_slice(bytes);
        } else {
            if self.spilled.is_empty() {
                self.spilled.extend_from_slice(&self.inline[..self.length]);
            }
            self.spilled.extend_from_slice(bytes);
        }
        self.length = end;
    }

    fn as_slice(&self) -> &[u8] {
        if self.spilled.is_empty() { &self.inline[..self.length] } else { &self.spilled }
    }
}

fn with_item(error: Error, context: &Context) -> Error {
    match error {
        Error::MalformedEnvelope { item: None, problem } => context.malformed(problem),
        other => other,
    }
}

//! What stands in the value column: an envelope, or a plain record of a guard without a key.
//!
//! A plain record is `WP`, version 1, the content's code, and the bytes. It has a mark of its own
//! so that a damaged envelope is never taken for a plain value.

use zeroize::Zeroizing;

use crate::credentials::value::Accept;
use crate::credentials::{Content, Context, KeyRing};
use crate::error::{Error, Result, StoredItem};

const PLAIN: [u8; 3] = *b"WP\x01";
const PLAIN_HEADER: usize = PLAIN.len() + 1;

/// The bytes to store: sealed where there is a key.
pub(super) fn seal(
    ring: &KeyRing,
    content: Content,
    bytes: &[u8],
    context: &Context,
) -> Result<Vec<u8>> {
    if ring.current_id().is_some() {
        return ring.seal(content, bytes, context);
    }
    let mut record = Vec::with_capacity(PLAIN_HEADER + bytes.len());
    record.extend_from_slice(&PLAIN);
    record.push(content as u8);
    record.extend_from_slice(bytes);
    Ok(record)
}

/// What was stored.
pub(super) fn open(
    ring: &KeyRing,
    stored: &[u8],
    context: &Context,
    accept: Accept,
) -> Result<(Content, Zeroizing<Vec<u8>>)> {
    match plain(stored, context)? {
        None => ring.open(stored, context).map(|opened| (opened.content, opened.plain)),
        Some(_) if !accept.plaintext => Err(Error::PlaintextRefused { item: item(context) }),
        Some((content, bytes)) => Ok((content, Zeroizing::new(bytes.to_vec()))),
    }
}

/// The same under the current key, or `None` when it is under it already.
pub(super) fn reseal(ring: &KeyRing, stored: &[u8], context: &Context) -> Result<Option<Vec<u8>>> {
    match plain(stored, context)? {
        None => ring.reseal(stored, context),
        Some((content, bytes)) => ring.seal(content, bytes, context).map(Some),
    }
}

/// Whether it is a plain record.
pub(super) fn is_plain(stored: &[u8]) -> bool {
    stored.starts_with(&PLAIN)
}

fn plain<'a>(stored: &'a [u8], context: &Context) -> Result<Option<(Content, &'a [u8])>> {
    if !is_plain(stored) {
        return Ok(None);
    }
    let content = stored.get(PLAIN.len()).copied().and_then(Content::from_code);
    match content {
        Some(content) => Ok(Some((content, &stored[PLAIN_HEADER..]))),
        None => Err(Error::MalformedEnvelope {
            item: Some(item(context)),
            problem: "a plain record of unknown content".into(),
        }),
    }
}

fn item(context: &Context) -> Box<StoredItem> {
    Box::new(StoredItem {
        agent_id: context.agent_id.into(),
        kind: context.kind.into(),
        id: context.id.into(),
    })
}

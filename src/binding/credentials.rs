//! Credentials at the edge.
//!
//! Free functions over an opaque key ring: a method of a class costs more than the encryption of a
//! small value. Bytes are borrowed and results written into buffers that JavaScript allocated,
//! and many values cross at once, for the same reason; for single ones see [`super::fast_call`].

use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::{BigInt, BufferSlice, External, Object};
use napi_derive::napi;
use zeroize::Zeroizing;

use super::fast_call::{FastCall, Utf8Room, object_of};
use super::outcome::Outcome;
use crate::credentials::{
    Content, Context, Header, KeyRing, Legacy, OsEntropy, Seal, restore_bytes, value,
};
use crate::error::{Error, Result};

/// Keys as JavaScript holds them: it can neither read nor print them.
pub type Ring = External<Arc<KeyRing>>;

/// Names of the keys of a ring.
#[napi(object, object_from_js = false)]
pub struct KeyIds {
    /// Of the key that seals.
    pub current: Option<String>,
    /// Of those that only open.
    pub previous: Vec<String>,
}

/// What an envelope's header says.
#[napi(object, object_from_js = false)]
pub struct HeaderObject {
    /// What the plaintext is: 0 bytes, 1 JSON, 2 text.
    pub content: u32,
    /// Name of the key it is under.
    pub key_id: String,
    /// The writer's counter.
    pub generation: Option<BigInt>,
}

/// Counters of a ring.
#[napi(object, object_from_js = false)]
pub struct KeyRingStatsObject {
    /// Values sealed.
    pub sealed: f64,
    /// Values opened.
    pub opened: f64,
    /// Values that did not open.
    pub refused: f64,
}

/// A ring of keys as users write them.
#[napi(catch_unwind, ts_return_type = "object | Error")]
pub fn create_key_ring(current: Option<String>, previous: Vec<String>) -> Outcome<Ring> {
    let current = current.map(Zeroizing::new);
    let previous: Vec<_> = previous.into_iter().map(Zeroizing::new).collect();
    let ring = KeyRing::new(current.as_ref().map(|text| text.as_str()), &previous, OsEntropy);
    ring.map(|ring| External::new(Arc::new(ring))).into()
}

/// Names of the ring's keys.
#[napi(catch_unwind)]
pub fn key_ids(#[napi(ts_arg_type = "object")] ring: &Ring) -> KeyIds {
    KeyIds {
        current: ring.current_id().map(|id| id.to_string()),
        previous: ring.previous_ids().map(|id| id.to_string()).collect(),
    }
}

/// Counters of the ring.
#[napi(catch_unwind)]
pub fn key_ring_stats(#[napi(ts_arg_type = "object")] ring: &Ring) -> KeyRingStatsObject {
    let stats = ring.stats();
    KeyRingStatsObject {
        sealed: stats.sealed as f64,
        opened: stats.opened as f64,
        refused: stats.refused as f64,
    }
}

/// Sealing and opening of single values under a ring. `context` is agent id, type and id, separated
/// by NUL: one string crosses at half the price of three. The last buffer has exactly the length
/// of the result, and an answer that is no error is the content's code.
#[napi(ts_return_type = "{
  seal(context: string, plain: Uint8Array, envelope: Uint8Array, content: number): number | Error
  open(context: string, envelope: Uint8Array, plain: Uint8Array): number | Error
}")]
pub fn create_sealer<'env>(
    env: &'env Env,
    #[napi(ts_arg_type = "object")] ring: &Ring,
) -> napi::Result<Object<'env>> {
    object_of(env, Arc::clone(ring), &[("seal", seal), ("open", open)])
}

fn seal(ring: &mut Arc<KeyRing>, call: &mut FastCall) -> napi::Result<Outcome<u32>> {
    let (mut room, code) = (Utf8Room::default(), call.number(3)? as u32);
    let context = call.utf8(0, &mut room)?;
    let (plain, envelope) = call.bytes(1, 2)?;
    let sealed = context_of(context)
        .and_then(|context| ring.seal_into(content_of(code)?, plain, &context, envelope));
    Ok(sealed.map(|()| code).into())
}

fn open(ring: &mut Arc<KeyRing>, call: &mut FastCall) -> napi::Result<Outcome<u32>> {
    let mut room = Utf8Room::default();
    let context = call.utf8(0, &mut room)?;
    let (envelope, plain) = call.bytes(1, 2)?;
    let opened = context_of(context).and_then(|context| ring.open_into(envelope, &context, plain));
    Ok(opened.map(|(content, _)| content as u32).into())
}

fn context_of(text: &str) -> Result<Context<'_>> {
    let mut parts = text.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(agent_id), Some(kind), Some(id), None) => Ok(Context { agent_id, kind, id }),
        _ => Err(has_nul()),
    }
}

fn has_nul() -> Error {
    Error::argument("type, id", "must not contain a NUL character")
}

/// Seals many values of one agent within one buffer. `names` holds type and id of each, separated
/// by NUL; `layout` holds length of the envelope and content code of each.
#[napi(catch_unwind, ts_return_type = "void | Error")]
pub fn seal_many(
    #[napi(ts_arg_type = "object")] ring: &Ring,
    agent_id: String,
    names: String,
    layout: &[u32],
    mut slab: BufferSlice,
) -> Outcome<()> {
    let sealed = items(&names, layout.as_chunks().0, &mut slab).and_then(|items| {
        let items: Result<Vec<_>> = items
            .into_iter()
            .map(|(kind, id, [_, content], envelope)| {
                Ok((Seal::from(content_of(*content)?), kind, id, envelope))
            })
            .collect();
        ring.seal_many(&agent_id, items?.into_iter())
    });
    sealed.into()
}

/// Opens many envelopes of one agent within one buffer, each where it stands, behind its header.
/// `lengths` holds the length of each.
#[napi(catch_unwind, ts_return_type = "void | Error")]
pub fn open_many(
    #[napi(ts_arg_type = "object")] ring: &Ring,
    agent_id: String,
    names: String,
    lengths: &[u32],
    mut slab: BufferSlice,
) -> Outcome<()> {
    let opened = items::<1>(&names, lengths.as_chunks().0, &mut slab).and_then(|items| {
        for (kind, id, _, envelope) in items {
            ring.open_in_place(envelope, &Context { agent_id: &agent_id, kind, id })?;
        }
        Ok(())
    });
    if opened.is_err() {
        slab.fill(0); // of a batch that failed nothing stays readable
    }
    opened.into()
}

type Item<'n, 's, 'l, const N: usize> = (&'n str, &'n str, &'l [u32; N], &'s mut [u8]);

/// Cuts the slab into envelopes and the names into pairs.
fn items<'n, 's, 'l, const N: usize>(
    names: &'n str,
    layout: &'l [[u32; N]],
    mut slab: &'s mut [u8],
) -> Result<Vec<Item<'n, 's, 'l, N>>> {
    let mut names = names.split('\0');
    let mut items = Vec::with_capacity(layout.len());
    for place in layout {
        let (Some(kind), Some(id), Some((envelope, rest))) =
            (names.next(), names.next(), slab.split_at_mut_checked(place[0] as usize))
        else {
            return Err(Error::Internal("a batch does not fit its layout".into()));
        };
        items.push((kind, id, place, envelope));
        slab = rest;
    }
    if names.next().is_some() {
        return Err(has_nul());
    }
    Ok(items)
}

/// Opens `{ encrypted, iv, authTag }`; returns JSON with its byte strings restored.
#[napi(catch_unwind, ts_return_type = "string | Error")]
pub fn open_legacy(
    #[napi(ts_arg_type = "object")] ring: &Ring,
    agent_id: String,
    encrypted: String,
    iv: String,
    auth_tag: String,
) -> Outcome<String> {
    let context = Context::credentials(&agent_id);
    Legacy::parse(&encrypted, &iv, &auth_tag)
        .map_err(|problem| Error::MalformedEnvelope { item: Some(context.item()), problem })
        .and_then(|legacy| value::open_legacy_json(ring, &legacy, &context))
        .map(|json| json.to_string())
        .into()
}

/// JSON with the byte strings restored that `JSON.stringify` took apart.
#[napi(catch_unwind, ts_return_type = "string | Error")]
pub fn restore_json(text: String) -> Outcome<String> {
    let text = Zeroizing::new(text);
    restore_bytes(&text)
        .map(|json| json.to_string())
        .map_err(|problem| Error::argument("stored", problem))
        .into()
}

/// Reads the header of an envelope without a key.
#[napi(catch_unwind, ts_return_type = "HeaderObject | Error")]
pub fn read_header(envelope: BufferSlice) -> Outcome<HeaderObject> {
    let read = Header::parse(&envelope).map(|header| HeaderObject {
        content: header.content as u32,
        key_id: header.key_id.to_string(),
        generation: header.generation.map(BigInt::from),
    });
    read.map_err(|problem| Error::MalformedEnvelope { item: None, problem }).into()
}

fn content_of(code: u32) -> Result<Content> {
    let content = u8::try_from(code).ok().and_then(Content::from_code);
    content.ok_or_else(|| Error::Internal(format!("content {code} is unknown")))
}

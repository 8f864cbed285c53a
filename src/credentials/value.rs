//! Credentials as hosts store them in a JSON column: in every form that ever was.
//!
//! | stored | taken for |
//! | --- | --- |
//! | an object with `ct`, `v`, `kid` | an envelope |
//! | base64 text | an envelope |
//! | an object with `encrypted`, `iv`, `authTag` | the form of before |
//! | text that holds a JSON object | that object |
//! | `null` | nothing |
//! | anything else | a plain value |
//!
//! What looks like one of the first three and is broken is an error and never a plain value.
//! `lib/stored-form.js` decides the same for JavaScript; both are tested with the cases of
//! `__test__/fixtures/stored-forms.json`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::envelope::{Content, Header, MIN_LEN};
use super::{Context, KeyRing, Legacy, Opened, restore_bytes};
use crate::error::{Error, Result};

/// Length of the shortest envelope in base64.
const MIN_TEXT_LEN: usize = MIN_LEN.div_ceil(3) * 4;

/// Which stored values may be read besides envelopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// Values stored without encryption.
    pub plaintext: bool,
    /// `{ encrypted, iv, authTag }`.
    pub legacy: bool,
}

/// A stored value, recognised.
#[derive(Debug, Clone, PartialEq)]
pub enum Form<'a> {
    /// `null`.
    Nothing,
    /// An envelope in base64, and what stands beside it.
    Envelope {
        /// The envelope's text.
        ct: &'a str,
        /// What stands beside it.
        beside: Beside<'a>,
    },
    /// The form of before.
    Legacy(Legacy),
    /// Text that holds a JSON object.
    JsonText(Value),
    /// Not encrypted.
    Plain,
}

/// What stands beside an envelope in an object. Anything but a number or a string counts as one
/// that disagrees.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Beside<'a> {
    /// The version.
    pub v: Option<f64>,
    /// The key id.
    pub kid: Option<&'a str>,
}

/// Recognises a stored value, or says why it is broken.
pub fn recognise(stored: &Value) -> Result<Form<'_>, String> {
    match stored {
        Value::Null => Ok(Form::Nothing),
        Value::String(text) if is_envelope_text(text) => {
            Ok(Form::Envelope { ct: text, beside: Beside::default() })
        }
        Value::String(text) if starts_object(text) => Ok(match serde_json::from_str(text) {
            Ok(object @ Value::Object(_)) => Form::JsonText(object),
            _ => Form::Plain,
        }),
        Value::Object(object) => recognise_object(object),
        _ => Ok(Form::Plain),
    }
}

fn recognise_object(object: &Map<String, Value>) -> Result<Form<'_>, String> {
    let has = |name: &str| object.contains_key(name);
    let only = |names: &[&str]| object.keys().all(|key| names.contains(&key.as_str()));
    let text = |name: &str| {
        let value = object.get(name).and_then(Value::as_str);
        value.ok_or_else(|| format!("{name} is not a string"))
    };
    if has("ct") && (has("v") || has("kid") || object.len() == 1) || has("v") && has("kid") {
        if !only(&["v", "kid", "ct"]) {
            return Err("it has other properties beside v, kid and ct".into());
        }
        let beside = Beside {
            v: object.get("v").map(|v| v.as_f64().unwrap_or(f64::NAN)),
            kid: object.get("kid").map(|kid| kid.as_str().unwrap_or("")),
        };
        return Ok(Form::Envelope { ct: text("ct")?, beside });
    }
    if has("encrypted") && (has("iv") || has("authTag")) {
        if !only(&["encrypted", "iv", "authTag"]) {
            return Err("it has other properties beside encrypted, iv and authTag".into());
        }
        return Legacy::parse(text("encrypted")?, text("iv")?, text("authTag")?).map(Form::Legacy);
    }
    Ok(Form::Plain)
}

/// Whether text is meant to be an envelope. `V0E` is how its first bytes look in base64; where
/// those are damaged, so much base64 in one piece is still no plain value. Counted in UTF-16, as
/// JavaScript counts.
fn is_envelope_text(text: &str) -> bool {
    let is_base64 = |unit: u16| {
        u8::try_from(unit).is_ok_and(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    };
    text.starts_with("V0E")
        || text.len() >= MIN_TEXT_LEN
            && text.encode_utf16().count() >= MIN_TEXT_LEN
            && text.encode_utf16().skip(3).all(is_base64)
}

/// The bytes of an envelope in base64, after comparing what stands beside it.
///
/// The bytes decide; a `v` or `kid` that disagrees means that somebody changed the row.
pub fn envelope_bytes(ct: &str, beside: Beside) -> Result<(Header, Vec<u8>), String> {
    let bytes = STANDARD.decode(ct).map_err(|_| "it is not valid base64".to_owned())?;
    let header = Header::parse(&bytes)?;
    if beside.v.is_some_and(|v| v != 1.0) {
        return Err("v disagrees with the envelope's version 1".into());
    }
    if beside.kid.is_some_and(|kid| kid != header.key_id.to_string()) {
        return Err(format!("kid disagrees with the envelope's key id {}", header.key_id));
    }
    Ok((header, bytes))
}

/// An envelope as a JSON column holds it.
pub fn envelope_object(envelope: &[u8]) -> Result<Value> {
    let header = Header::parse(envelope)
        .map_err(|problem| Error::MalformedEnvelope { item: None, problem })?;
    Ok(json!({ "v": 1, "kid": header.key_id.to_string(), "ct": STANDARD.encode(envelope) }))
}

/// Opens a stored value in whichever form it is; `None` for `null`.
pub fn open(
    ring: &KeyRing,
    stored: &Value,
    context: &Context,
    accept: Accept,
) -> Result<Option<Opened>> {
    let malformed = |problem| ring.refused(context.malformed(problem));
    Ok(Some(match recognise(stored).map_err(malformed)? {
        Form::Nothing => return Ok(None),
        Form::Envelope { ct, beside } => {
            let (_, bytes) = envelope_bytes(ct, beside).map_err(malformed)?;
            ring.open(&bytes, context)?
        }
        Form::Legacy(_) if !accept.legacy => {
            return Err(ring.refused(Error::LegacyRefused { item: context.item() }));
        }
        Form::Legacy(legacy) => {
            opened(Content::Json, open_legacy_json(ring, &legacy, context)?.as_bytes())
        }
        Form::JsonText(object) if !matches!(recognise(&object), Ok(Form::Plain)) => {
            return open(ring, &object, context, accept);
        }
        Form::Plain | Form::JsonText(_) if !accept.plaintext => {
            return Err(ring.refused(Error::PlaintextRefused { item: context.item() }));
        }
        Form::Plain | Form::JsonText(_) => match stored {
            // As it stands: a parser would lose large numbers and refuse halves of surrogate
            // pairs, in spite of which it is JSON to JavaScript.
            Value::String(text) => match restore_bytes(text) {
                Ok(json) if starts_object(text) => opened(Content::Json, json.as_bytes()),
                _ => opened(Content::Text, text.as_bytes()),
            },
            other => {
                let text = Zeroizing::new(other.to_string());
                opened(Content::Json, restore_bytes(&text).map_err(malformed)?.as_bytes())
            }
        },
    }))
}

/// Opens a value in the form of before: the JSON that envelopes hold, byte strings restored.
pub fn open_legacy_json(
    ring: &KeyRing,
    legacy: &Legacy,
    context: &Context,
) -> Result<Zeroizing<String>> {
    let plain = ring.open_legacy(legacy, context)?;
    std::str::from_utf8(&plain)
        .map_err(|_| "it is not UTF-8".to_owned())
        .and_then(restore_bytes)
        .map_err(|problem| context.malformed(format!("what was encrypted: {problem}")))
}

/// A stored value under the current key, in the same kind of container, or `None` when there is
/// nothing to do.
pub fn reseal(
    ring: &KeyRing,
    stored: &Value,
    context: &Context,
    accept: Accept,
) -> Result<Option<Value>> {
    let malformed = |problem| ring.refused(context.malformed(problem));
    match recognise(stored).map_err(malformed)? {
        Form::Nothing => Ok(None),
        Form::Envelope { ct, beside } => {
            let (_, bytes) = envelope_bytes(ct, beside).map_err(malformed)?;
            let Some(resealed) = ring.reseal(&bytes, context)? else { return Ok(None) };
            let as_text = stored.is_string();
            Ok(Some(if as_text {
                Value::String(STANDARD.encode(resealed))
            } else {
                envelope_object(&resealed)?
            }))
        }
        Form::JsonText(object) if matches!(recognise(&object), Ok(Form::Envelope { .. })) => {
            let resealed = reseal(ring, &object, context, accept)?;
            Ok(resealed.map(|object| Value::String(object.to_string())))
        }
        Form::JsonText(_) | Form::Legacy(_) | Form::Plain => {
            let Some(opened) = open(ring, stored, context, accept)? else { return Ok(None) };
            let envelope = ring.seal(opened.content, &opened.plain, context)?;
            let object = envelope_object(&envelope)?;
            // JSON as text stays that: whoever reads it parses it.
            let as_text = stored.as_str().is_some_and(starts_object);
            Ok(Some(if as_text { Value::String(object.to_string()) } else { object }))
        }
    }
}

/// Whether a stored value is plain, in the form of before, or under another key than the current.
pub fn needs_reencryption(ring: &KeyRing, stored: &Value) -> Result<bool> {
    let malformed = |problem| Error::MalformedEnvelope { item: None, problem };
    match recognise(stored).map_err(malformed)? {
        Form::Nothing => Ok(false),
        Form::Envelope { ct, beside } => {
            let (header, _) = envelope_bytes(ct, beside).map_err(malformed)?;
            Ok(Some(header.key_id) != ring.current_id())
        }
        Form::JsonText(object) => needs_reencryption(ring, &object),
        Form::Legacy(_) | Form::Plain => Ok(true),
    }
}

/// Whether nothing is kept in it: a column's default, and no credentials of anybody's.
pub fn is_empty(stored: &Value) -> bool {
    match stored {
        Value::Null => true,
        Value::Object(object) => object.is_empty(),
        Value::Array(array) => array.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Whether it can be told to be credentials, in a column that hosts use for other things too.
pub fn is_credentials(stored: &Value) -> bool {
    match recognise(stored) {
        Ok(Form::Nothing) => false,
        Ok(Form::Plain) => {
            let parts = ["creds", "noiseKey"].into_iter().filter_map(|name| stored.get(name));
            parts.into_iter().any(|part| !is_empty(part))
        }
        Ok(Form::JsonText(object)) => is_credentials(&object),
        // One that is broken has to be told.
        Ok(Form::Envelope { .. } | Form::Legacy(_)) | Err(_) => true,
    }
}

/// The places within a host's `session_data` that hold credentials.
///
/// Hosts store `{ "creds": …, "keys": … }`, either part of it, or the credentials themselves.
pub fn credential_slots(session_data: &mut Value) -> Vec<&mut Value> {
    let is_wrapper = matches!(&*session_data, Value::Object(map)
        if map.contains_key("creds") && matches!(recognise_object(map), Ok(Form::Plain)));
    let slots: Vec<&mut Value> = if is_wrapper {
        let parts = session_data.as_object_mut().into_iter().flat_map(Map::iter_mut);
        parts
            .filter(|(name, _)| matches!(name.as_str(), "creds" | "keys"))
            .map(|(_, value)| value)
            .collect()
    } else {
        vec![session_data]
    };
    slots.into_iter().filter(|slot| !is_empty(slot)).collect()
}

fn starts_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn opened(content: Content, plain: &[u8]) -> Opened {
    Opened { content, generation: None, plain: Zeroizing::new(plain.to_vec()) }
}

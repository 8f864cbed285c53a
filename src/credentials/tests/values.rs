//! Every stored form, by the table that JavaScript is tested with too.

use serde_json::{Value, json};

use super::*;
use crate::credentials::value::{self, Accept, Form};

const ALL: Accept = Accept { plaintext: true, legacy: true };
const NONE: Accept = Accept { plaintext: false, legacy: false };

#[test]
fn recognises_what_the_shared_table_says() {
    let cases = include_str!("../../../__test__/fixtures/stored-forms.json");
    let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
    assert!(cases.len() > 30);
    for case in &cases {
        let form = match value::recognise(&case["stored"]) {
            Err(_) => "malformed",
            Ok(Form::Nothing) => "nothing",
            Ok(Form::Envelope { .. }) => "envelope",
            Ok(Form::Legacy(_)) => "legacy",
            Ok(Form::JsonText(_)) => "json-text",
            Ok(Form::Plain) => "plain",
        };
        assert_eq!(form, case["form"], "{}", case["stored"]);
    }
}

/// What an audit report's code stores: node:crypto, aes-256-gcm, 16-byte IV, key KEY_A.
fn legacy_object() -> Value {
    json!({
        "encrypted": "a0215c21acfcd5b8ef33e4b551f70072d7888a1280c58c0d824c3789743bf296acb9762e211c4937886aea997ffb394764ae01da06dd30cf3c3d7c528eacf1177a27bf6735755be7c0a26102bdc315ccf15bd052e4228f4bdf42ed6f9b8fb6e6f143a02d35c5313d371d1ab9fc1dd71aadf8eef73613daba86a865431078741e84",
        "iv": "000102030405060708090a0b0c0d0e0f",
        "authTag": "35a66a048c26e0d266c7c626919ec23f",
    })
}

fn plain(opened: Option<crate::credentials::Opened>) -> String {
    let opened = opened.expect("something is stored");
    String::from_utf8(opened.plain.to_vec()).unwrap()
}

#[test]
fn the_form_of_before_opens_with_any_key_and_gets_its_bytes_back() {
    let context = Context::credentials("agent-1");
    for ring in [ring(KEY_A, &[]), ring(KEY_B, &[KEY_A]), reading_ring(&[KEY_A])] {
        let opened = value::open(&ring, &legacy_object(), &context, ALL).unwrap();
        assert_eq!(opened.as_ref().unwrap().content, Content::Json);
        assert_eq!(
            plain(opened),
            concat!(
                r#"{"noiseKey":{"type":"Buffer","data":"AQID"},"#,
                r#""identity":{"type":"Buffer","data":"AAECAwQFBgc="},"me":{"name":"\ud83d"}}"#
            )
        );
    }
    let wrong = ring(KEY_B, &[]);
    let refused = value::open(&wrong, &legacy_object(), &context, ALL);
    assert_eq!(code(refused), "ERR_DECRYPT_FAILED");
    let refused = value::open(&ring(KEY_A, &[]), &legacy_object(), &context, NONE);
    assert_eq!(code(refused), "ERR_LEGACY_REFUSED");
    let refused = value::open(&reading_ring(&[]), &legacy_object(), &context, ALL);
    assert_eq!(code(refused), "ERR_KEY_MISSING");
}

#[test]
fn the_form_of_before_is_read_strictly() {
    let ring = ring(KEY_A, &[]);
    let context = Context::credentials("agent-1");
    let open = |change: &dyn Fn(&mut Value)| {
        let mut stored = legacy_object();
        change(&mut stored);
        code(value::open(&ring, &stored, &context, ALL))
    };
    let malformed = "ERR_MALFORMED_ENVELOPE";
    assert_eq!(open(&|_| ()), "it worked");
    assert_eq!(open(&|s| s["authTag"] = json!("00000000")), malformed); // 4 bytes
    assert_eq!(open(&|s| s["authTag"] = json!("00".repeat(17))), malformed);
    assert_eq!(open(&|s| s["iv"] = json!("00".repeat(12))), malformed);
    assert_eq!(open(&|s| s["encrypted"] = json!("abc")), malformed);
    assert_eq!(open(&|s| s["encrypted"] = json!("zz")), malformed);
    assert_eq!(open(&|s| s["encrypted"] = json!(5)), malformed);
    assert_eq!(open(&|s| s["version"] = json!(1)), malformed);
    let first = legacy_object()["encrypted"].as_str().unwrap().to_owned();
    for digit in 0..first.len() {
        let mut text = first.clone().into_bytes();
        text[digit] = if text[digit] == b'0' { b'1' } else { b'0' };
        let flipped = String::from_utf8(text).unwrap();
        assert_eq!(open(&|s| s["encrypted"] = json!(flipped)), "ERR_DECRYPT_FAILED");
    }
    assert_eq!(open(&|s| s["encrypted"] = json!(first[2..])), "ERR_DECRYPT_FAILED");
}

#[test]
fn plain_values_are_read_where_allowed() {
    let ring = ring(KEY_A, &[]);
    let context = Context::credentials("agent-1");
    let stored = json!({ "noiseKey": { "type": "Buffer", "data": [1, 2, 3] }, "n": 1.5 });
    let opened = value::open(&ring, &stored, &context, ALL).unwrap();
    assert_eq!(plain(opened), r#"{"noiseKey":{"type":"Buffer","data":"AQID"},"n":1.5}"#);
    let text = Value::String(stored.to_string());
    let opened = value::open(&ring, &text, &context, ALL).unwrap();
    assert_eq!(plain(opened), r#"{"noiseKey":{"type":"Buffer","data":"AQID"},"n":1.5}"#);
    for stored in [stored, text] {
        let refused = value::open(&ring, &stored, &context, NONE);
        assert_eq!(code(refused), "ERR_PLAINTEXT_REFUSED");
    }
    let nothing = value::open(&ring, &Value::Null, &context, NONE).unwrap();
    assert!(nothing.is_none());
}

#[test]
fn what_stands_beside_an_envelope_has_to_agree() {
    let ring = ring(KEY_A, &[]);
    let context = Context::credentials("agent-1");
    let sealed = ring.seal(Content::Json, b"{}", &context).unwrap();
    let good = value::envelope_object(&sealed).unwrap();
    let open = |change: &dyn Fn(&mut Value)| {
        let mut stored = good.clone();
        change(&mut stored);
        code(value::open(&ring, &stored, &context, NONE))
    };
    let remove = |name: &'static str| {
        move |s: &mut Value| {
            s.as_object_mut().unwrap().shift_remove(name);
        }
    };
    assert_eq!(open(&|_| ()), "it worked");
    assert_eq!(open(&remove("v")), "it worked");
    assert_eq!(open(&remove("kid")), "it worked");
    let malformed = "ERR_MALFORMED_ENVELOPE";
    assert_eq!(open(&remove("ct")), malformed);
    for v in [json!(2), json!("1"), json!(null), json!(true)] {
        assert_eq!(open(&|s| s["v"] = v.clone()), malformed, "v {v}");
    }
    let kid = good["kid"].as_str().unwrap();
    for kid in [json!("0000000000000000"), json!(kid.to_uppercase()), json!(null), json!(7)] {
        assert_eq!(open(&|s| s["kid"] = kid.clone()), malformed, "kid {kid}");
    }
    let ct = good["ct"].as_str().unwrap();
    for ct in [&ct[1..], &ct[..ct.len() - 1], &format!(" {ct}"), &ct.replacen('A', "_", 1), ""] {
        assert_ne!(open(&|s| s["ct"] = json!(ct)), "it worked", "{ct}");
    }
    assert_eq!(open(&|s| s["more"] = json!(1)), malformed);
}

#[test]
fn resealing_keeps_the_container_and_brings_everything_under_the_current_key() {
    let context = Context::credentials("agent-1");
    let old = ring(KEY_B, &[]).seal(Content::Json, b"{\"a\":1}", &context).unwrap();
    let old_object = value::envelope_object(&old).unwrap();
    let ring = ring(KEY_A, &[KEY_B]);
    let kid = ring.current_id().unwrap().to_string();
    for (stored, expected) in [
        (old_object.clone(), r#"{"a":1}"#),
        (old_object["ct"].clone(), r#"{"a":1}"#),
        (Value::String(old_object.to_string()), r#"{"a":1}"#),
        (json!({ "a": 1 }), r#"{"a":1}"#),
        (json!("text"), "text"),
        (json!("{\"a\": 1}"), r#"{"a": 1}"#),
        (
            json!(r#"{"name":"\ud83d","n":1e999,"b":{"type":"Buffer","data":[1]}}"#),
            r#"{"name":"\ud83d","n":1e999,"b":{"type":"Buffer","data":"AQ=="}}"#,
        ),
        (json!([1]), "[1]"),
        (json!(7), "7"),
    ] {
        assert!(value::needs_reencryption(&ring, &stored).unwrap(), "{stored}");
        let resealed = value::reseal(&ring, &stored, &context, ALL).unwrap().unwrap();
        assert!(resealed.to_string().contains(&kid[..4]) || resealed.is_string());
        if stored.is_string() && stored != json!("text") {
            assert!(resealed.is_string(), "text stays text: {stored}");
        }
        assert!(!value::needs_reencryption(&ring, &resealed).unwrap(), "{stored}");
        assert_eq!(plain(value::open(&ring, &resealed, &context, NONE).unwrap()), expected);
        assert_eq!(value::reseal(&ring, &resealed, &context, ALL).unwrap(), None);
    }
    let resealed = value::reseal(&ring, &legacy_object(), &context, ALL).unwrap().unwrap();
    assert!(!value::needs_reencryption(&ring, &resealed).unwrap());
    let opened = value::open(&ring, &resealed, &context, NONE).unwrap();
    assert!(plain(opened).starts_with(r#"{"noiseKey":{"type":"Buffer","data":"AQID"}"#));
}

#[test]
fn nothing_stored_needs_nothing() {
    let ring = ring(KEY_A, &[]);
    let context = Context::credentials("agent-1");
    assert!(!value::needs_reencryption(&ring, &Value::Null).unwrap());
    assert_eq!(value::reseal(&ring, &Value::Null, &context, NONE).unwrap(), None);
    let refused = value::reseal(&ring, &json!({ "a": 1 }), &context, NONE);
    assert_eq!(code(refused), "ERR_PLAINTEXT_REFUSED");
}

#[test]
fn tells_credentials_from_what_else_a_column_may_hold() {
    for other in [
        json!(null),
        json!("connected"),
        json!({}),
        json!({ "creds": {} }),
        json!({ "state": "open" }),
        json!(r#"{"state":"open"}"#),
        json!([1]),
    ] {
        assert!(!value::is_credentials(&other), "{other}");
    }
    for credentials in [
        json!({ "creds": { "a": 1 } }),
        json!({ "noiseKey": { "public": "x" } }),
        json!(r#"{"creds":{"a":1}}"#),
        json!({ "v": 1, "kid": "00", "ct": "damaged" }),
        legacy_object(),
    ] {
        assert!(value::is_credentials(&credentials), "{credentials}");
    }
}

#[test]
fn finds_the_credentials_within_session_data() {
    let slots = |mut data: Value| -> Vec<String> {
        value::credential_slots(&mut data).into_iter().map(|slot| slot.to_string()).collect()
    };
    assert_eq!(slots(json!({ "creds": 1, "keys": 2, "phone": 3 })), ["1", "2"]);
    assert_eq!(slots(json!({ "creds": 1 })), ["1"]);
    assert_eq!(slots(json!({ "noiseKey": 1 })), [r#"{"noiseKey":1}"#]);
    assert_eq!(slots(legacy_object()), [legacy_object().to_string()]);
    assert_eq!(slots(json!({ "creds": { "a": 1 }, "keys": {} })), [r#"{"a":1}"#]);
    for nothing in [json!(null), json!({}), json!([]), json!("")] {
        assert_eq!(slots(nothing).len(), 0);
    }
    let mut data = json!({ "creds": { "a": 1 }, "other": true });
    for slot in value::credential_slots(&mut data) {
        *slot = json!("sealed");
    }
    assert_eq!(data, json!({ "creds": "sealed", "other": true }));
}

//! Bytes come back, and nothing else changes by a character.

use crate::credentials::restore_bytes;

fn restored(text: &str) -> String {
    restore_bytes(text).unwrap().to_string()
}

#[test]
fn what_holds_no_bytes_is_copied_as_it_stands() {
    for text in [
        "{}",
        "[]",
        "0",
        "-0",
        "\"\"",
        "null",
        " { \"a\" : [ 1 , 2.50e+10 , -0.0 ] ,\r\n\t\"b\":true}  ",
        r#"{"big":123456789012345678901234567890,"tiny":1e-999}"#,
        r#"{"half":"\ud83d","escaped":"\u0000\"\\\/","umlaut":"ü😀"}"#,
        r#"{"__proto__":{"a":1},"constructor":null}"#,
        r#"{"4915@s.whatsapp.net":3}"#,
        r#"{"0":1,"1":2,"2":3}"#, // may be a map
        r#"{"1":1,"2":2,"3":3,"4":4,"5":5,"6":6,"7":7,"8":8}"#,
        r#"{"0":0,"1":1,"2":2,"3":3,"4":4,"5":5,"6":6,"7":256}"#,
        r#"{"0":0,"1":1,"2":2,"3":3,"4":4,"5":5,"6":6,"7":7.0}"#,
        r#"{"0":0,"1":1,"2":2,"3":3,"4":4,"5":5,"6":6,"07":7}"#,
        r#"{"0":0,"1":1,"2":2,"3":3,"4":4,"5":5,"6":6,"7":7,"length":8}"#,
        r#"{"type":"Buffer","data":"AAECAw=="}"#,
        r#"{"type":"Buffer","data":[1,2,300]}"#,
        r#"{"type":"Buffer","data":[1,-2]}"#,
        r#"{"type":"Buffer","data":[1],"more":1}"#,
        r#"{"type":"Blob","data":[1]}"#,
        r#"{"data":[1],"data":[2]}"#,
        r#"{"type":"Buffer"}"#,
        "[1,2,3,4,5,6,7,8,9]",
    ] {
        assert_eq!(restored(text), text);
    }
}

#[test]
fn bytes_come_back_from_both_forms_wherever_they_stand() {
    let empty = r#"{"type":"Buffer","data":""}"#;
    let four = r#"{"type":"Buffer","data":"AAEC/w=="}"#;
    let eight = r#"{"type":"Buffer","data":"AAECAwQFBv8="}"#;
    let indexed = r#"{"0":0,"1":1,"2":2,"3":3,"4":4,"5":5,"6":6,"7":255}"#;
    for (text, expected) in [
        (r#"{"type":"Buffer","data":[0,1,2,255]}"#.to_owned(), four.to_owned()),
        (r#"{"data":[0,1,2,255],"type":"Buffer"}"#.to_owned(), four.to_owned()),
        (r#" { "type" : "Buffer" , "data" : [ 0 , 1 , 2 , 255 ] } "#.into(), format!(" {four} ")),
        (r#"{"type":"Buffer","data":[]}"#.to_owned(), empty.to_owned()),
        (indexed.to_owned(), eight.to_owned()),
        (
            format!(r#"{{"a":[{indexed},1],"b":{{"c":{indexed}}}}}"#),
            format!(r#"{{"a":[{eight},1],"b":{{"c":{eight}}}}}"#),
        ),
        (format!("[{indexed},{indexed}]"), format!("[{eight},{eight}]")),
        (r#"{"x":{"type":"Buffer","data":[]},"ü":1}"#.into(), format!(r#"{{"x":{empty},"ü":1}}"#)),
    ] {
        assert_eq!(restored(&text), expected);
        assert_eq!(restored(&expected), expected, "restoring twice changes nothing");
    }
}

#[test]
fn long_byte_strings_keep_their_order() {
    let members: Vec<String> = (0..1000).map(|i| format!(r#""{i}":{}"#, i % 256)).collect();
    let text = restored(&format!("{{{}}}", members.join(",")));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    use base64::Engine;
    let data = value["data"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
    assert_eq!(bytes, (0..1000).map(|i| i as u8).collect::<Vec<_>>());
}

#[test]
fn no_depth_overflows_the_stack() {
    let depth = 1_000_000;
    let text = "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(restored(&text), text);
}

#[test]
fn what_is_no_json_is_refused_without_showing_it() {
    for text in [
        "",
        " ",
        "{",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "[1 2]",
        "{\"a\" 1}",
        "]",
        "}",
        "[}",
        "{]",
        "[1}",
        "01",
        "-",
        "1.",
        "1e",
        "+1",
        ".5",
        "nul",
        "truex",
        "NaN",
        "undefined",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u12",
        "\"\n\"",
        "'a'",
        "{} {}",
        "1,2",
        "[,1]",
        "{,}",
        "\u{feff}{}",
        "geheim",
    ] {
        let problem = restore_bytes(text).unwrap_err();
        assert!(problem.starts_with("it is not JSON: "), "{text:?}: {problem}");
        assert!(!problem.contains("geheim"));
    }
}

/// The scanner and a full parser agree on what is JSON.
#[test]
fn agrees_with_another_parser_on_mutated_json() {
    let seed = br#"{"a":[1,-2.5e3,{"type":"Buffer","data":[1,2]}],"b":"x\"\u00fc","c":null}"#;
    for position in 0..seed.len() {
        for replacement in b"{}[],:\"\\0a.-e \n" {
            let mut mutated = seed.to_vec();
            mutated[position] = *replacement;
            let text = String::from_utf8(mutated).unwrap();
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            assert_eq!(restore_bytes(&text).is_ok(), theirs, "{text}");
        }
    }
}

//! Gives byte strings back to JSON that lost them.
//!
//! Plain values, and those in the form of before, went through `JSON.stringify` without Baileys'
//! `BufferJSON`. A Buffer became `{"type":"Buffer","data":[1,2,…]}`, a Uint8Array
//! `{"0":1,"1":2,…}`. [`restore_bytes`] writes both as `{"type":"Buffer","data":"<base64>"}`, the
//! one form that the envelope's JSON has, and copies every other character as it stands: numbers
//! of any size and halves of surrogate pairs survive, which a parsed tree would lose.
//!
//! What cannot be known: an empty Uint8Array became `{}` and stays that; an object with keys
//! `0, 1, …` of fewer than [`MIN_INDEXED`] entries is taken for the map that it may be. No byte
//! string in Baileys' credentials that loses its kind is that short.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const MIN_INDEXED: usize = 8;

/// The JSON text with its byte strings restored, or what is wrong with it and where.
pub fn restore_bytes(text: &str) -> Result<Zeroizing<String>, String> {
    let mut reader = Reader {
        input: text.as_bytes(),
        at: 0,
        // Enough for the worst case, arrays of one byte: growing would leave a copy behind.
        out: Zeroizing::new(String::with_capacity(text.len() + text.len() / 8)),
        text,
        copied: 0,
    };
    reader.document()?;
    Ok(reader.out)
}

struct Reader<'a> {
    text: &'a str,
    input: &'a [u8],
    at: usize,
    out: Zeroizing<String>,
    copied: usize, // how far the input has been copied
}

/// What a finished value may be a part of.
enum Shape {
    Byte(u8),
    Bytes(Zeroizing<Vec<u8>>), // an array of nothing but bytes
    TheWordBuffer,
    Other,
}

/// An array or object that has been opened. Nesting is kept here and not on the stack, so that
/// no depth of it overflows anything.
struct Open {
    is_object: bool,
    out_len: usize, // length of the output, with everything before it copied
    members: usize,
    key: (usize, usize),               // the key being read, without its quotes
    bytes: Option<Zeroizing<Vec<u8>>>, // while every member so far is a byte, in order
    is_buffer: bool,                   // has "type": "Buffer"
    data: Option<Zeroizing<Vec<u8>>>,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), String> {
        let mut open: Vec<Open> = Vec::new();
        'value: loop {
            self.space();
            let mut shape = match self.peek() {
                Some(b'{') => {
                    open.push(self.open(true));
                    self.space();
                    if self.peek() != Some(b'}') {
                        self.key(open.last_mut())?;
                        continue 'value;
                    }
                    self.close(&mut open)
                }
                Some(b'[') => {
                    open.push(self.open(false));
                    self.space();
                    if self.peek() != Some(b']') {
                        continue 'value;
                    }
                    self.close(&mut open)
                }
                _ => self.scalar()?,
            };
            // A value is complete: give it to what contains it, as long as that is complete too.
            loop {
                self.space();
                let Some(parent) = open.last_mut() else {
                    if self.at < self.input.len() {
                        return Err(self.unexpected());
                    }
                    self.copy_up_to(self.at);
                    return Ok(());
                };
                let key = &self.text[parent.key.0..parent.key.1];
                parent.add(key, shape);
                let end = if parent.is_object { b'}' } else { b']' };
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if open.last().is_some_and(|parent| parent.is_object) {
                            self.space();
                            self.key(open.last_mut())?;
                        }
                        continue 'value;
                    }
                    Some(byte) if byte == end => shape = self.close(&mut open),
                    _ => return Err(self.unexpected()),
                }
            }
        }
    }

    fn open(&mut self, is_object: bool) -> Open {
        self.copy_up_to(self.at);
        let open = Open {
            is_object,
            out_len: self.out.len(),
            members: 0,
            key: (0, 0),
            bytes: Some(Zeroizing::default()),
            is_buffer: false,
            data: None,
        };
        self.at += 1;
        open
    }

    fn close(&mut self, open: &mut Vec<Open>) -> Shape {
        self.at += 1;
        let Some(mut closed) = open.pop() else { return Shape::Other };
        if !closed.is_object {
            return closed.bytes.take().map_or(Shape::Other, Shape::Bytes);
        }
        if let Some(bytes) = closed.stands_for() {
            self.out.truncate(closed.out_len);
            self.out.push_str(r#"{"type":"Buffer","data":""#);
            STANDARD.encode_string(bytes.as_slice(), &mut self.out);
            self.out.push_str(r#""}"#);
            self.copied = self.at;
        }
        Shape::Other
    }

    fn key(&mut self, open: Option<&mut Open>) -> Result<(), String> {
        let start = self.at;
        self.string()?;
        if let Some(open) = open {
            open.key = (start + 1, self.at - 1);
        }
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn scalar(&mut self) -> Result<Shape, String> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                self.string()?;
                let is_it = &self.input[start..self.at] == br#""Buffer""#;
                Ok(if is_it { Shape::TheWordBuffer } else { Shape::Other })
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                let byte = self.text[start..self.at].parse();
                Ok(byte.map_or(Shape::Other, Shape::Byte))
            }
            _ => {
                let word = ["true", "false", "null"]
                    .into_iter()
                    .find(|word| self.input[self.at..].starts_with(word.as_bytes()))
                    .ok_or_else(|| self.unexpected())?;
                self.at += word.len();
                Ok(Shape::Other)
            }
        }
    }

    fn string(&mut self) -> Result<(), String> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                        Some(b'u') => {
                            let digits = self.input.get(self.at + 1..self.at + 5);
                            if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
                                return Err(self.unexpected());
                            }
                            self.at += 4;
                        }
                        _ => return Err(self.unexpected()),
                    }
                }
                None | Some(0..=0x1f) => return Err(self.unexpected()),
                Some(_) => {}
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        self.skip(b"-");
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.skip(b".") {
            self.digits()?;
        }
        if self.skip(b"eE") {
            self.skip(b"+-");
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), String> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected()) } else { Ok(()) }
    }

    fn skip(&mut self, any_of: &[u8]) -> bool {
        let found = self.peek().is_some_and(|byte| any_of.contains(&byte));
        self.at += usize::from(found);
        found
    }

    fn space(&mut self) {
        while self.skip(b" \t\n\r") {}
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn copy_up_to(&mut self, end: usize) {
        self.out.push_str(&self.text[self.copied..end]);
        self.copied = end;
    }

    /// Names the place and never the character: it may be a secret's.
    fn unexpected(&self) -> String {
        if self.at >= self.input.len() {
            return "it is not JSON: it ends too soon".into();
        }
        format!("it is not JSON: unexpected character at offset {}", self.at)
    }
}

impl Open {
    fn add(&mut self, key: &str, shape: Shape) {
        let in_order = !self.is_object || is_index(key, self.members);
        match (&mut self.bytes, &shape) {
            (Some(bytes), Shape::Byte(byte)) if in_order => bytes.push(*byte),
            _ => self.bytes = None,
        }
        match shape {
            Shape::TheWordBuffer if key == "type" => self.is_buffer = true,
            Shape::Bytes(bytes) if key == "data" => self.data = Some(bytes),
            _ => {}
        }
        self.members += 1;
    }

    /// The bytes that this object stands for, if it does.
    fn stands_for(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        if self.is_buffer && self.members == 2 && self.data.is_some() {
            return self.data.take();
        }
        self.bytes.take().filter(|bytes| bytes.len() >= MIN_INDEXED)
    }
}

/// Whether a key is this number as JavaScript writes it.
fn is_index(key: &str, index: usize) -> bool {
    key.bytes().all(|byte| byte.is_ascii_digit())
        && (key.len() == 1 || !key.starts_with('0'))
        && key.parse() == Ok(index)
}

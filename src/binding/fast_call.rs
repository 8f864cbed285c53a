//! Functions for JavaScript that are called at every request.
//!
//! napi's own wrappers cost about 80 ns a call and more with bytes (an argument list on the heap,
//! conversions that ask for types); a rate limiter is asked in 200. Here arguments stay where
//! N-API put them, and the only types are strings, numbers and bytes. Everything unsafe about it
//! is in this file.
//!
//! What makes it sound: N-API calls on the JavaScript thread only, so the state needs no lock;
//! `RefCell` refuses a call from within a call; handles do not outlive it; bytes to read and bytes
//! to write are lent together, for as long as the call is borrowed, and refused where they
//! overlap; a panic is caught before it reaches C.

#![allow(unsafe_code)]
// Only what napi registers calls this, and in unit tests it registers nothing.
#![cfg_attr(test, allow(dead_code))]

use std::cell::RefCell;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use napi::bindgen_prelude::{Float64Array, FromNapiValue, JsObjectValue, Object, ToNapiValue};
use napi::{Env, Error, Result, Unknown, sys};

use super::outcome::Outcome;

const MAX_ARGUMENTS: usize = 4;

/// The arguments of one call.
pub struct FastCall {
    env: sys::napi_env,
    arguments: [sys::napi_value; MAX_ARGUMENTS],
}

impl FastCall {
    /// The number at this place.
    pub fn number(&self, index: usize) -> Result<f64> {
        let mut number = 0.0;
        let status =
            unsafe { sys::napi_get_value_double(self.env, self.arguments[index], &mut number) };
        expect(status, "expected a number").map(|()| number)
    }

    /// The string at this place, as UTF-16: in UTF-8 lone surrogates would become equal.
    pub fn text<T>(&self, index: usize, run: impl FnOnce(&[u16]) -> T) -> Result<T> {
        let mut short = [0; 128];
        let length = self.read(index, &mut short)?;
        if length < short.len() - 1 {
            return Ok(run(&short[..length]));
        }
        // It may be longer than what was read. Asked with no buffer, N-API tells the length.
        let mut length = 0;
        let status = unsafe {
            let (text, none) = (self.arguments[index], ptr::null_mut());
            sys::napi_get_value_string_utf16(self.env, text, none, 0, &mut length)
        };
        expect(status, "expected a string")?;
        let mut long = vec![0; length + 1];
        let length = self.read(index, &mut long)?;
        Ok(run(&long[..length]))
    }

    /// The string at this place, as UTF-8: for those that have no lone surrogates.
    pub fn utf8<'t>(&self, index: usize, room: &'t mut Utf8Room) -> Result<&'t str> {
        let Utf8Room { short, long } = room;
        let read = |buffer: &mut [u8]| {
            let mut length = 0;
            let status = unsafe {
                let (at, size) = (buffer.as_mut_ptr().cast::<c_char>(), buffer.len());
                let text = self.arguments[index];
                sys::napi_get_value_string_utf8(self.env, text, at, size, &mut length)
            };
            expect(status, "expected a string").map(|()| length)
        };
        let mut length = read(short)?;
        let mut bytes = &short[..length];
        // Cut short at the end of a character, it ends up to four bytes before the NUL.
        if length + 4 >= short.len() {
            let status = unsafe {
                let (text, none) = (self.arguments[index], ptr::null_mut());
                sys::napi_get_value_string_utf8(self.env, text, none, 0, &mut length)
            };
            expect(status, "expected a string")?;
            long.resize(length + 1, 0);
            length = read(long)?;
            bytes = &long[..length];
        }
        std::str::from_utf8(bytes).map_err(|_| Error::from_reason("expected text".to_owned()))
    }

    /// The bytes at two places, the first to read and the second to write.
    pub fn bytes(&mut self, from: usize, into: usize) -> Result<(&[u8], &mut [u8])> {
        let ((from, from_length), (into, into_length)) = (self.memory(from)?, self.memory(into)?);
        let apart = from as usize + from_length <= into as usize
            || into as usize + into_length <= from as usize;
        if apart {
            Ok(unsafe {
                let from = std::slice::from_raw_parts(from, from_length);
                (from, std::slice::from_raw_parts_mut(into, into_length))
            })
        } else {
            Err(Error::from_reason("expected bytes that do not overlap".to_owned()))
        }
    }

    /// Start and length of a `Uint8Array`, which the caller has made sure it is: asking again costs
    /// as much as the answer. Of other arrays it would be fewer bytes than they have.
    fn memory(&self, index: usize) -> Result<(*mut u8, usize)> {
        let (mut length, mut data, none) = (0, ptr::null_mut(), ptr::null_mut());
        let status = unsafe {
            let array = self.arguments[index];
            let (kind, offset) = (ptr::null_mut(), ptr::null_mut());
            sys::napi_get_typedarray_info(
                self.env,
                array,
                kind,
                &mut length,
                &mut data,
                none,
                offset,
            )
        };
        expect(status, "expected bytes")?;
        // Of no bytes the address says nothing, and may be null.
        let start = if length == 0 { ptr::NonNull::dangling().as_ptr() } else { data.cast() };
        Ok((start, length))
    }

    fn read(&self, index: usize, buffer: &mut [u16]) -> Result<usize> {
        let mut length = 0;
        let status = unsafe {
            let (at, size) = (buffer.as_mut_ptr(), buffer.len());
            sys::napi_get_value_string_utf16(self.env, self.arguments[index], at, size, &mut length)
        };
        expect(status, "expected a string").map(|()| length)
    }
}

/// Where a string is read into: on the stack if it is short.
pub struct Utf8Room {
    short: [u8; 256],
    long: Vec<u8>,
}

impl Default for Utf8Room {
    fn default() -> Self {
        Self { short: [0; 256], long: Vec::new() }
    }
}

fn expect(status: sys::napi_status, otherwise: &str) -> Result<()> {
    match status {
        sys::Status::napi_ok => Ok(()),
        _ => Err(Error::from_reason(otherwise.to_owned())),
    }
}

/// What a function gives back.
pub trait Answer {
    /// As JavaScript gets it.
    fn into_js(self, env: Env) -> Result<sys::napi_value>;
}

impl Answer for f64 {
    fn into_js(self, env: Env) -> Result<sys::napi_value> {
        let mut value = ptr::null_mut();
        // A small whole number takes no memory in JavaScript.
        let small = self as i32;
        let status = unsafe {
            if f64::from(small) == self {
                sys::napi_create_int32(env.raw(), small, &mut value)
            } else {
                sys::napi_create_double(env.raw(), self, &mut value)
            }
        };
        expect(status, "cannot make a number").map(|()| value)
    }
}

impl<T: ToNapiValue> Answer for Outcome<T> {
    fn into_js(self, env: Env) -> Result<sys::napi_value> {
        unsafe { Self::to_napi_value(env.raw(), self) }
    }
}

/// What a function does with the state it shares with the other functions of its object.
type Method<S, A> = fn(&mut S, &mut FastCall) -> Result<A>;

struct Bound<S, A> {
    state: Rc<RefCell<S>>,
    method: Method<S, A>,
}

/// An object whose functions share a state, which lives as long as one of them does.
pub fn object_of<'env, S: 'static, A: Answer + 'static>(
    env: &'env Env,
    state: S,
    methods: &[(&str, Method<S, A>)],
) -> Result<Object<'env>> {
    let state = Rc::new(RefCell::new(state));
    let mut object = Object::new(env)?;
    for &(name, method) in methods {
        let bound = Box::new(Bound { state: Rc::clone(&state), method });
        object.set_named_property(name, function_of(env, name, bound)?)?;
    }
    Ok(object)
}

fn function_of<'env, S: 'static, A: Answer + 'static>(
    env: &'env Env,
    name: &str,
    bound: Box<Bound<S, A>>,
) -> Result<Unknown<'env>> {
    let mut function = ptr::null_mut();
    let data = Box::into_raw(bound).cast::<c_void>();
    unsafe {
        let (text, length) = (name.as_ptr().cast::<c_char>(), name.len() as isize);
        let callback = Some(call::<S, A> as unsafe extern "C" fn(_, _) -> _);
        let made =
            sys::napi_create_function(env.raw(), text, length, callback, data, &mut function);
        let (none, hint) = (ptr::null_mut(), ptr::null_mut());
        let owned = if made == sys::Status::napi_ok {
            sys::napi_add_finalizer(env.raw(), function, data, Some(finish::<S, A>), hint, none)
        } else {
            made
        };
        if owned != sys::Status::napi_ok {
            drop(Box::from_raw(data.cast::<Bound<S, A>>()));
            return Err(Error::from_reason(format!("cannot make the function {name}")));
        }
        Unknown::from_napi_value(env.raw(), function)
    }
}

unsafe extern "C" fn finish<S, A>(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    let bound = unsafe { Box::from_raw(data.cast::<Bound<S, A>>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(bound)));
}

unsafe extern "C" fn call<S, A: Answer>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
) -> sys::napi_value {
    let mut arguments = [ptr::null_mut(); MAX_ARGUMENTS];
    let (mut count, mut data) = (MAX_ARGUMENTS, ptr::null_mut());
    let status = unsafe {
        let at = arguments.as_mut_ptr();
        sys::napi_get_cb_info(env, info, &mut count, at, ptr::null_mut(), &mut data)
    };
    let answer = catch_unwind(AssertUnwindSafe(|| {
        expect(status, "cannot read the arguments")?;
        let bound = unsafe { &*data.cast::<Bound<S, A>>() };
        let mut state = bound
            .state
            .try_borrow_mut()
            .map_err(|_| Error::from_reason("called from within a call".to_owned()))?;
        (bound.method)(&mut state, &mut FastCall { env, arguments })?.into_js(Env::from_raw(env))
    }));
    let problem = match answer {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error.reason.to_string(),
        Err(_panic) => "internal error".to_owned(),
    };
    let text = problem.replace('\0', "");
    let text = std::ffi::CString::new(text).unwrap_or_default();
    unsafe { sys::napi_throw_error(env, ptr::null(), text.as_ptr()) };
    ptr::null_mut()
}

/// Numbers that both sides see: what goes in and comes out besides arguments and result.
pub struct SharedNumbers(Float64Array);

impl SharedNumbers {
    /// Shares an array of this length.
    pub fn of(numbers: Float64Array, length: usize) -> Result<Self> {
        if numbers.len() == length {
            Ok(Self(numbers))
        } else {
            Err(Error::from_reason(format!("expected {length} numbers")))
        }
    }

    /// The number at an index.
    pub fn get(&self, index: usize) -> f64 {
        self.0[index]
    }

    /// Sets the number at an index. No slice outlives the call, and both sides share a thread.
    pub fn set(&mut self, index: usize, value: f64) {
        unsafe { self.0.as_mut()[index] = value }
    }
}

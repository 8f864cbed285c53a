//! Functions for JavaScript that are called at every request.
//!
//! napi's own wrappers cost about 80 ns a call (an argument list on the heap, conversions that
//! ask for types); a rate limiter is asked in 200. Here arguments stay where N-API put them, and
//! the only types are strings and numbers. Everything unsafe about it is in this file.
//!
//! What makes it sound: N-API calls on the JavaScript thread only, so the state needs no lock;
//! `RefCell` refuses a call from within a call; handles do not outlive it; a panic is caught
//! before it reaches C.

#![allow(unsafe_code)]
// Only what napi registers calls this, and in unit tests it registers nothing.
#![cfg_attr(test, allow(dead_code))]

use std::cell::RefCell;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use napi::bindgen_prelude::{Float64Array, FromNapiValue, JsObjectValue, Object};
use napi::{Env, Error, Result, Unknown, sys};

/// The argument of one call. There is at most one: each costs, so further numbers are shared.
pub struct FastCall {
    env: sys::napi_env,
    argument: sys::napi_value,
}

impl FastCall {
    /// The argument, which is a number.
    pub fn number(&self) -> Result<f64> {
        let mut number = 0.0;
        let status = unsafe { sys::napi_get_value_double(self.env, self.argument, &mut number) };
        expect(status, "expected a number").map(|()| number)
    }

    /// The argument, which is a string, as UTF-16: in UTF-8 lone surrogates would become equal.
    pub fn text<T>(&self, run: impl FnOnce(&[u16]) -> T) -> Result<T> {
        let mut short = [0; 128];
        let length = self.read(&mut short)?;
        if length < short.len() - 1 {
            return Ok(run(&short[..length]));
        }
        // It may be longer than what was read. Asked with no buffer, N-API tells the length.
        let mut length = 0;
        let status = unsafe {
            let none = ptr::null_mut();
            sys::napi_get_value_string_utf16(self.env, self.argument, none, 0, &mut length)
        };
        expect(status, "expected a string")?;
        let mut long = vec![0; length + 1];
        let length = self.read(&mut long)?;
        Ok(run(&long[..length]))
    }

    fn read(&self, buffer: &mut [u16]) -> Result<usize> {
        let mut length = 0;
        let status = unsafe {
            let (at, size) = (buffer.as_mut_ptr(), buffer.len());
            sys::napi_get_value_string_utf16(self.env, self.argument, at, size, &mut length)
        };
        expect(status, "expected a string").map(|()| length)
    }
}

fn expect(status: sys::napi_status, otherwise: &str) -> Result<()> {
    match status {
        sys::Status::napi_ok => Ok(()),
        _ => Err(Error::from_reason(otherwise.to_owned())),
    }
}

/// What a function does with the state it shares with the other functions of its object.
type Method<S> = fn(&mut S, &FastCall) -> Result<f64>;

struct Bound<S> {
    state: Rc<RefCell<S>>,
    method: Method<S>,
}

/// An object whose functions share a state, which lives as long as one of them does.
pub fn object_of<'env, S: 'static>(
    env: &'env Env,
    state: S,
    methods: &[(&str, Method<S>)],
) -> Result<Object<'env>> {
    let state = Rc::new(RefCell::new(state));
    let mut object = Object::new(env)?;
    for &(name, method) in methods {
        let bound = Box::new(Bound { state: Rc::clone(&state), method });
        object.set_named_property(name, function_of(env, name, bound)?)?;
    }
    Ok(object)
}

fn function_of<'env, S: 'static>(
    env: &'env Env,
    name: &str,
    bound: Box<Bound<S>>,
) -> Result<Unknown<'env>> {
    let mut function = ptr::null_mut();
    let data = Box::into_raw(bound).cast::<c_void>();
    unsafe {
        let (text, length) = (name.as_ptr().cast::<c_char>(), name.len() as isize);
        let callback = Some(call::<S> as unsafe extern "C" fn(_, _) -> _);
        let made =
            sys::napi_create_function(env.raw(), text, length, callback, data, &mut function);
        let (none, hint) = (ptr::null_mut(), ptr::null_mut());
        let owned = if made == sys::Status::napi_ok {
            sys::napi_add_finalizer(env.raw(), function, data, Some(finish::<S>), hint, none)
        } else {
            made
        };
        if owned != sys::Status::napi_ok {
            drop(Box::from_raw(data.cast::<Bound<S>>()));
            return Err(Error::from_reason(format!("cannot make the function {name}")));
        }
        Unknown::from_napi_value(env.raw(), function)
    }
}

unsafe extern "C" fn finish<S>(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    let bound = unsafe { Box::from_raw(data.cast::<Bound<S>>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(bound)));
}

unsafe extern "C" fn call<S>(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    let (mut argument, mut count, mut data) = (ptr::null_mut(), 1, ptr::null_mut());
    let status = unsafe {
        let this = ptr::null_mut();
        sys::napi_get_cb_info(env, info, &mut count, &mut argument, this, &mut data)
    };
    let answer = catch_unwind(AssertUnwindSafe(|| {
        expect(status, "cannot read the arguments")?;
        let bound = unsafe { &*data.cast::<Bound<S>>() };
        let mut state = bound
            .state
            .try_borrow_mut()
            .map_err(|_| Error::from_reason("called from within a call".to_owned()))?;
        (bound.method)(&mut state, &FastCall { env, argument })
    }));
    let problem = match answer {
        Ok(Ok(number)) => {
            let mut value = ptr::null_mut();
            // A small whole number takes no memory in JavaScript.
            let small = number as i32;
            let status = unsafe {
                if f64::from(small) == number {
                    sys::napi_create_int32(env, small, &mut value)
                } else {
                    sys::napi_create_double(env, number, &mut value)
                }
            };
            match status {
                sys::Status::napi_ok => return value,
                _ => "cannot make a number".to_owned(),
            }
        }
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

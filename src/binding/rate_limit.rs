//! Counters and limits in memory, as JavaScript calls them: synchronously and at every request.
//!
//! Each is an object of functions that share one table. A closure costs 100 ns a call, a class
//! method 390, so there is no class. Numbers go in and out through one `Float64Array` that both
//! sides hold, because returning an object costs a microsecond. The functions are for `lib/`
//! alone, which has checked every argument.

use std::cell::RefCell;
use std::hash::RandomState;
use std::rc::Rc;

use napi::bindgen_prelude::{
    Float64Array, FunctionCallContext, JsObjectValue, Object, ToNapiValue, Unknown,
};
use napi::{Env, JsValue, Result, sys};
use napi_derive::napi;

use crate::rate_limit::counter::{Count, Counter};
use crate::rate_limit::gcra::Gcra;
use crate::rate_limit::key::Fingerprints;
use crate::rate_limit::limiter::{Limiter, Limits};
use crate::rate_limit::sliding::SlidingWindow;
use crate::rate_limit::time::{NEVER, after};
use crate::rate_limit::window::FixedWindow;
use crate::rate_limit::{Decision, Rule};

/// The numbers both sides see, by index; `lib/rate-limit/numbers.js` has the same list.
struct Numbers(Float64Array);

const LIMIT: usize = 0;
const POINTS: usize = 1;
const USED: usize = 2;
const REMAINING: usize = 3;
const RESET_AT: usize = 4;
const RETRY_AFTER: usize = 5;
const OVERFLOWING: usize = 6;
const HIT_AT: usize = 7;
const WAITS: usize = 8;
const NUMBERS: usize = 9;

impl Numbers {
    fn of(numbers: Float64Array) -> Result<Self> {
        if numbers.len() == NUMBERS {
            Ok(Self(numbers))
        } else {
            Err(napi::Error::from_reason(format!("expected {NUMBERS} numbers")))
        }
    }

    fn get(&self, index: usize) -> f64 {
        self.0[index]
    }

    // Both sides run on the same thread, and no slice outlives the call.
    #[allow(unsafe_code)]
    fn set(&mut self, index: usize, value: f64) {
        unsafe { self.0.as_mut()[index] = value }
    }

    fn set_reset_at(&mut self, reset_at: i64) {
        self.set(RESET_AT, if reset_at == NEVER { f64::NAN } else { reset_at as f64 });
    }

    fn set_decision(&mut self, decision: Decision) {
        self.set(USED, decision.used as f64);
        self.set(REMAINING, f64::from(decision.remaining));
        self.set_reset_at(decision.reset_at);
        let never = decision.retry_after >= NEVER / 2;
        self.set(RETRY_AFTER, if never { f64::INFINITY } else { decision.retry_after as f64 });
    }
}

/// A key, the time and the key's kind, as every function takes them.
fn with_key<T>(call: &FunctionCallContext, run: impl FnOnce(u32, &[u16], i64) -> T) -> Result<T> {
    let now: f64 = call.get(1)?;
    let kind: u32 = call.get(2)?;
    with_units(call.env, call.get(0)?, |units| run(kind, units, now as i64))
}

/// Reads a string as UTF-16: napi's `String` would make lone surrogates equal.
// N-API writes into a buffer whose size it is told; both are checked here.
#[allow(unsafe_code)]
fn with_units<T>(env: &Env, key: Unknown, run: impl FnOnce(&[u16]) -> T) -> Result<T> {
    let read = |buffer: &mut [u16]| -> Result<usize> {
        let mut length = 0;
        let status = unsafe {
            let (at, size) = (buffer.as_mut_ptr(), buffer.len());
            sys::napi_get_value_string_utf16(env.raw(), key.raw(), at, size, &mut length)
        };
        match status {
            sys::Status::napi_ok => Ok(length),
            _ => Err(napi::Error::from_reason("a key has to be a string")),
        }
    };
    let mut short = [0; 128];
    let length = read(&mut short)?;
    if length < short.len() - 1 {
        return Ok(run(&short[..length]));
    }
    // It may be longer than what was read. Asked with no buffer, N-API tells the length.
    let mut length = 0;
    unsafe {
        let none = std::ptr::null_mut();
        sys::napi_get_value_string_utf16(env.raw(), key.raw(), none, 0, &mut length);
    }
    let mut long = vec![0; length + 1];
    let length = read(&mut long)?;
    Ok(run(&long[..length]))
}

/// Makes the functions of one object, all of them over the same state.
struct Methods<'env, S> {
    env: &'env Env,
    object: Object<'env>,
    state: Rc<RefCell<S>>,
}

impl<'env, S: 'static> Methods<'env, S> {
    fn of(env: &'env Env, state: S) -> Result<Self> {
        Ok(Self { env, object: Object::new(env)?, state: Rc::new(RefCell::new(state)) })
    }

    fn add<T: ToNapiValue>(
        mut self,
        name: &str,
        method: impl Fn(&mut S, &FunctionCallContext) -> Result<T> + 'static,
    ) -> Result<Self> {
        let state = Rc::clone(&self.state);
        let function = self.env.create_function_from_closure::<(), T, _>(name, move |call| {
            method(&mut state.borrow_mut(), &call)
        })?;
        self.object.set_named_property(name, function)?;
        Ok(self)
    }
}

fn capacity(keys: f64) -> usize {
    keys as usize
}

fn fingerprints() -> Fingerprints {
    Fingerprints::new([RandomState::new(), RandomState::new()])
}

/// Hits by key in a window: what a `MemoryStore` counts with.
#[napi(ts_return_type = "{
  increment(key: string, now: number, kind: number): number
  decrement(key: string, now: number, kind: number): void
  get(key: string, now: number, kind: number): number
  reset(key: string, now: number, kind: number): void
  setWindow(windowMs: number): void
  clear(): void
  size(): number
}")]
pub fn create_hit_counter<'env>(
    env: &'env Env,
    numbers: Float64Array,
    max_keys: f64,
) -> Result<Object<'env>> {
    struct Shared {
        counter: Counter,
        numbers: Numbers,
    }
    impl Shared {
        fn tell(&mut self, count: Count) -> f64 {
            self.numbers.set_reset_at(count.reset_at);
            self.numbers.set(OVERFLOWING, f64::from(u8::from(self.counter.overflowing())));
            f64::from(count.hits)
        }
    }
    let counter = Counter::new(capacity(max_keys), fingerprints());
    let methods = Methods::of(env, Shared { counter, numbers: Numbers::of(numbers)? })?
        .add("increment", |shared, call| {
            with_key(call, |kind, key, now| {
                let count = shared.counter.increment(kind, key, now);
                shared.tell(count)
            })
        })?
        .add("decrement", |shared, call| {
            with_key(call, |kind, key, now| shared.counter.decrement(kind, key, now))
        })?
        .add("get", |shared, call| {
            with_key(call, |kind, key, now| {
                shared.counter.get(kind, key, now).map_or(-1.0, |count| shared.tell(count))
            })
        })?
        .add("reset", |shared, call| {
            with_key(call, |kind, key, _now| shared.counter.reset(kind, key))
        })?
        .add("setWindow", |shared, call| {
            shared.counter.set_window(call.get(0)?);
            Ok(())
        })?
        .add("clear", |shared, _call| {
            shared.counter.clear();
            Ok(())
        })?
        .add("size", |shared, _call| Ok(shared.counter.len() as f64))?;
    Ok(methods.object)
}

/// What a limiter is made of.
#[napi(object, object_to_js = false)]
pub struct LimitsOptions {
    /// `fixed-window`, `sliding-window` or `gcra`.
    pub algorithm: String,
    /// Length of the window; not a finite number for one that never ends.
    pub window_ms: f64,
    /// How many may come at once under GCRA; as many as the limit when not given.
    pub burst: Option<u32>,
    /// How long a key stays out once it was refused.
    pub block_ms: f64,
    /// How many keys are kept.
    pub max_keys: f64,
}

/// Decisions about keys under an algorithm.
#[napi(ts_return_type = "{
  take(key: string, now: number, kind: number): boolean
  peek(key: string, now: number, kind: number): boolean
  refund(key: string, now: number, kind: number): void
  reset(key: string, now: number, kind: number): void
  clear(): void
  size(): number
}")]
pub fn create_limits<'env>(
    env: &'env Env,
    numbers: Float64Array,
    options: LimitsOptions,
) -> Result<Object<'env>> {
    struct Shared {
        limits: Box<dyn Limits>,
        numbers: Numbers,
        options: LimitsOptions,
    }
    impl Shared {
        /// The rule with this call's limit. What is no number refuses, as zero does.
        fn rule(&self) -> Rule {
            let limit = self.numbers.get(LIMIT) as u32;
            Rule {
                limit,
                window: after(0, self.options.window_ms),
                burst: self.options.burst.unwrap_or(limit),
                block: after(0, self.options.block_ms),
                waits: self.numbers.get(WAITS) != 0.0,
            }
        }

        fn points(&self) -> u32 {
            self.numbers.get(POINTS) as u32
        }

        fn tell(&mut self, decision: Decision) -> bool {
            self.numbers.set_decision(decision);
            self.numbers.set(OVERFLOWING, f64::from(u8::from(self.limits.overflowing())));
            decision.allowed
        }
    }
    let (keys, fingerprints) = (capacity(options.max_keys), fingerprints());
    let limits: Box<dyn Limits> = match options.algorithm.as_str() {
        "fixed-window" => Box::new(Limiter::<FixedWindow>::new(keys, fingerprints)),
        "sliding-window" => Box::new(Limiter::<SlidingWindow>::new(keys, fingerprints)),
        "gcra" => Box::new(Limiter::<Gcra>::new(keys, fingerprints)),
        other => return Err(napi::Error::from_reason(format!("unknown algorithm {other}"))),
    };
    let methods = Methods::of(env, Shared { limits, numbers: Numbers::of(numbers)?, options })?
        .add("take", |shared, call| {
            let (rule, points) = (shared.rule(), shared.points());
            with_key(call, |kind, key, now| {
                let decision = shared.limits.take(&rule, kind, key, now, points);
                shared.tell(decision)
            })
        })?
        .add("peek", |shared, call| {
            let rule = shared.rule();
            with_key(call, |kind, key, now| {
                let decision = shared.limits.peek(&rule, kind, key, now);
                shared.tell(decision)
            })
        })?
        .add("refund", |shared, call| {
            let (rule, points) = (shared.rule(), shared.points());
            let hit_at = shared.numbers.get(HIT_AT) as i64;
            with_key(call, |kind, key, now| {
                shared.limits.refund(&rule, kind, key, now, hit_at, points);
            })
        })?
        .add("reset", |shared, call| {
            with_key(call, |kind, key, _now| shared.limits.reset(kind, key))
        })?
        .add("clear", |shared, _call| {
            shared.limits.clear();
            Ok(())
        })?
        .add("size", |shared, _call| Ok(shared.limits.keys() as f64))?;
    Ok(methods.object)
}

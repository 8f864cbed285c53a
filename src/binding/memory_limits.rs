//! Counters and limits in memory, as JavaScript calls them: synchronously and at every request.
//!
//! Each is an object of functions that share one table. A key is handed over as an argument;
//! numbers, its kind and the time among them, go in and out through an array that both sides hold:
//! an argument costs ten nanoseconds, and returning an object a microsecond. The functions are for
//! `lib/` alone, which has checked every argument. All return numbers.

// In unit tests napi registers nothing.
#![cfg_attr(test, allow(dead_code))]

use std::hash::RandomState;

use napi::bindgen_prelude::{Float64Array, Object};
use napi::{Env, Result};
use napi_derive::napi;

use super::fast_call::{FastCall, SharedNumbers, object_of};
use crate::rate_limit::counter::{Count, Counter};
use crate::rate_limit::gcra::Gcra;
use crate::rate_limit::key::Fingerprints;
use crate::rate_limit::limiter::{Limiter, Limits};
use crate::rate_limit::sliding::SlidingWindow;
use crate::rate_limit::time::{NEVER, after};
use crate::rate_limit::window::FixedWindow;
use crate::rate_limit::{Decision, Kind, Rule};

// Indices into the numbers; lib/rate-limit/numbers.js has the same list.
const LIMIT: usize = 0;
const POINTS: usize = 1;
const USED: usize = 2;
const REMAINING: usize = 3;
const RESET_AT: usize = 4;
const RETRY_AFTER: usize = 5;
const OVERFLOWING: usize = 6;
const HIT_AT: usize = 7;
const WAITS: usize = 8;
const NOW: usize = 9;
const KEY_KIND: usize = 10;
const NUMBERS: usize = 11;

/// A moment as JavaScript has it.
fn moment(reset_at: i64) -> f64 {
    if reset_at == NEVER { f64::NAN } else { reset_at as f64 }
}

/// What every function about a key is told: its text, its kind, the time.
fn with_key<S: AsRef<SharedNumbers>>(
    state: &mut S,
    call: &FastCall,
    run: impl FnOnce(&mut S, u32, &[u16], i64) -> f64,
) -> Result<f64> {
    let numbers = state.as_ref();
    let (kind, now) = (numbers.get(KEY_KIND) as u32, numbers.get(NOW) as i64);
    call.text(0, |text| run(state, kind, text, now))
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn capacity(keys: f64) -> usize {
    keys as usize
}

fn fingerprints() -> Fingerprints {
    Fingerprints::new(RandomState::new())
}

struct HitCounter {
    counter: Counter,
    numbers: SharedNumbers,
}

impl AsRef<SharedNumbers> for HitCounter {
    fn as_ref(&self) -> &SharedNumbers {
        &self.numbers
    }
}

impl HitCounter {
    fn tell(&mut self, count: Count) -> f64 {
        self.numbers.set(RESET_AT, moment(count.reset_at));
        self.numbers.set(OVERFLOWING, flag(self.counter.overflowing()));
        f64::from(count.hits)
    }
}

/// Hits by key in a window: what a `MemoryStore` counts with.
#[napi(ts_return_type = "{
  increment(key: string): number
  decrement(key: string): number
  get(key: string): number
  reset(key: string): number
  setWindow(windowMs: number): number
  clear(): number
  size(): number
}")]
pub fn create_hit_counter<'env>(
    env: &'env Env,
    numbers: Float64Array,
    max_keys: f64,
) -> Result<Object<'env>> {
    let counter = Counter::new(capacity(max_keys), fingerprints());
    let state = HitCounter { counter, numbers: SharedNumbers::of(numbers, NUMBERS)? };
    object_of(
        env,
        state,
        &[
            ("increment", |state, call| {
                with_key(state, call, |state, kind, key, now| {
                    let count = state.counter.increment(kind, key, now);
                    state.tell(count)
                })
            }),
            ("decrement", |state, call| {
                with_key(state, call, |state, kind, key, now| {
                    state.counter.decrement(kind, key, now);
                    0.0
                })
            }),
            ("get", |state, call| {
                with_key(state, call, |state, kind, key, now| {
                    state.counter.get(kind, key, now).map_or(-1.0, |count| state.tell(count))
                })
            }),
            ("reset", |state, call| {
                with_key(state, call, |state, kind, key, _now| {
                    state.counter.reset(kind, key);
                    0.0
                })
            }),
            ("setWindow", |state, call| {
                state.counter.set_window(call.number(0)?);
                Ok(0.0)
            }),
            ("clear", |state, _call| {
                state.counter.clear();
                Ok(0.0)
            }),
            ("size", |state, _call| Ok(state.counter.len() as f64)),
        ],
    )
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

struct KeyedLimits {
    limits: Box<dyn Limits>,
    numbers: SharedNumbers,
    options: LimitsOptions,
}

impl AsRef<SharedNumbers> for KeyedLimits {
    fn as_ref(&self) -> &SharedNumbers {
        &self.numbers
    }
}

impl KeyedLimits {
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

    fn tell(&mut self, decision: Decision) -> f64 {
        self.numbers.set(USED, decision.used as f64);
        self.numbers.set(REMAINING, f64::from(decision.remaining));
        self.numbers.set(RESET_AT, moment(decision.reset_at));
        self.numbers.set(RETRY_AFTER, decision.retry_after as f64);
        self.numbers.set(OVERFLOWING, flag(self.limits.overflowing()));
        flag(decision.allowed)
    }
}

/// Decisions about keys under an algorithm.
#[napi(ts_return_type = "{
  take(key: string): number
  peek(key: string): number
  refund(key: string): number
  reset(key: string): number
  clear(): number
  size(): number
}")]
pub fn create_limits<'env>(
    env: &'env Env,
    numbers: Float64Array,
    options: LimitsOptions,
) -> Result<Object<'env>> {
    let (keys, fingerprints) = (capacity(options.max_keys), fingerprints());
    let limits: Box<dyn Limits> = match Kind::named(&options.algorithm) {
        Some(Kind::FixedWindow) => Box::new(Limiter::<FixedWindow>::new(keys, fingerprints)),
        Some(Kind::SlidingWindow) => Box::new(Limiter::<SlidingWindow>::new(keys, fingerprints)),
        Some(Kind::Gcra) => Box::new(Limiter::<Gcra>::new(keys, fingerprints)),
        None => return Err(napi::Error::from_reason("unknown algorithm".to_owned())),
    };
    let state = KeyedLimits { limits, numbers: SharedNumbers::of(numbers, NUMBERS)?, options };
    object_of(
        env,
        state,
        &[
            ("take", |state, call| {
                let (rule, points) = (state.rule(), state.points());
                with_key(state, call, |state, kind, key, now| {
                    let verdict = state.limits.take(&rule, kind, key, now, points);
                    state.numbers.set(HIT_AT, verdict.now as f64);
                    state.tell(verdict.decision)
                })
            }),
            ("peek", |state, call| {
                let rule = state.rule();
                with_key(state, call, |state, kind, key, now| {
                    let decision = state.limits.peek(&rule, kind, key, now);
                    state.tell(decision)
                })
            }),
            ("refund", |state, call| {
                let (rule, points) = (state.rule(), state.points());
                let hit_at = state.numbers.get(HIT_AT) as i64;
                with_key(state, call, |state, kind, key, now| {
                    state.limits.refund(&rule, kind, key, now, hit_at, points);
                    0.0
                })
            }),
            ("reset", |state, call| {
                with_key(state, call, |state, kind, key, _now| {
                    state.limits.reset(kind, key);
                    0.0
                })
            }),
            ("clear", |state, _call| {
                state.limits.clear();
                Ok(0.0)
            }),
            ("size", |state, _call| Ok(state.limits.keys() as f64)),
        ],
    )
}

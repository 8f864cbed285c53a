//! What `metrics()` and `health()` ask a guard beyond its counters.

use std::sync::atomic::Ordering::Relaxed;

use napi::Env;
use napi_derive::napi;

use super::guard::{NativeGuard, millis};
use super::outcome::{Pending, pending};
use crate::error::LossReason;
use crate::metrics::ROUND_TRIP_BUCKETS_MS;

/// What is more than a counter.
#[napi(object, object_from_js = false)]
pub struct GuardMetrics {
    /// Claims held now.
    pub claims_held: f64,
    /// Claims lost, by reason.
    pub claims_lost: Vec<LostObject>,
    /// How long good beats took.
    pub round_trips: HistogramObject,
    /// The connections that calls share.
    pub pool: PoolObject,
}

/// Claims lost for one reason.
#[napi(object, object_from_js = false)]
pub struct LostObject {
    /// The word of `ClaimLostError.reason`.
    pub reason: &'static str,
    /// How many.
    pub count: f64,
}

/// `counts[i]` took at most `bucketsMs[i]`.
#[napi(object, object_from_js = false)]
#[allow(missing_docs)] // the names say it
pub struct HistogramObject {
    pub buckets_ms: Vec<u32>,
    pub counts: Vec<f64>,
    pub sum_ms: f64,
    pub count: f64,
}

/// Connections at this moment.
#[napi(object, object_from_js = false)]
#[allow(missing_docs)] // the names say it
pub struct PoolObject {
    pub size: u32,
    pub idle: u32,
    pub in_use: u32,
    pub max: u32,
}

#[napi]
impl NativeGuard {
    /// Gauges, histograms and what is counted by reason.
    #[napi(catch_unwind)]
    pub fn metrics(&self) -> GuardMetrics {
        let stats = self.ownership().stats();
        let trips = stats.round_trips.read();
        let pool = self.store().pool_state();
        GuardMetrics {
            claims_held: self.ownership().held_count() as f64,
            claims_lost: LossReason::ALL
                .into_iter()
                .filter(|reason| *reason != LossReason::Released) // by its holder: no loss
                .map(|reason| LostObject {
                    reason: reason.as_str(),
                    count: stats.claims_lost[reason as usize].load(Relaxed) as f64,
                })
                .collect(),
            round_trips: HistogramObject {
                buckets_ms: ROUND_TRIP_BUCKETS_MS.to_vec(),
                counts: trips.counts.iter().map(|&count| count as f64).collect(),
                sum_ms: trips.sum.as_secs_f64() * 1000.0,
                count: trips.count as f64,
            },
            pool: PoolObject {
                size: pool.size,
                idle: pool.idle,
                in_use: pool.size - pool.idle,
                max: pool.max,
            },
        }
    }

    /// Whether the database answers within that time.
    #[napi(catch_unwind, ts_return_type = "Promise<void | Error>")]
    pub fn ping<'env>(&self, env: &'env Env, limit_ms: f64) -> Pending<'env, ()> {
        let this = self.clone();
        pending(env, async move { this.ownership().ping(millis(limit_ms)).await.into() })
    }
}

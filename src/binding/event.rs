//! Events on their way to the event loop.

use napi::Status;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::error::Error;
use crate::ownership::Event;

/// One event; which fields are set depends on `kind`.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct NativeEvent {
    /// `lost`, `beatFailed`, `beatRecovered`, `freed`, `buried`, `trouble` or `ping`.
    #[napi(
        ts_type = "'lost' | 'beatFailed' | 'beatRecovered' | 'freed' | 'buried' | 'trouble' | 'ping'"
    )]
    pub kind: &'static str,
    /// `lost`: the claim.
    pub serial: Option<f64>,
    /// `lost`: why; `freed`: `released` or `dead`.
    pub reason: Option<&'static str>,
    /// `freed`: the agents.
    pub agent_ids: Option<Vec<String>>,
    /// `freed`, `buried`: public name of the instance.
    pub instance_id: Option<String>,
    /// `buried`: its process is proven gone.
    pub proven: Option<bool>,
    /// `beatFailed`, `beatRecovered`: how many in a row.
    pub count: Option<f64>,
    /// Code of the error.
    pub code: Option<&'static str>,
    /// Message of the error.
    pub message: Option<String>,
}

/// The way to the event loop. Weak: it does not keep the process alive.
pub type Tell = ThreadsafeFunction<NativeEvent, (), NativeEvent, Status, false, true>;

/// Hands events over until the guard is gone.
pub async fn forward(mut events: UnboundedReceiver<Event>, tell: Tell) {
    while let Some(event) = events.recv().await {
        tell.call(event.into(), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

impl From<Event> for NativeEvent {
    fn from(event: Event) -> Self {
        let plain = |kind| Self { kind, ..Self::default() };
        let failed = |kind, error: Error| Self {
            code: Some(error.code()),
            message: Some(error.to_string()),
            ..plain(kind)
        };
        match event {
            Event::Lost { claim, reason } => Self {
                serial: Some(claim.serial as f64),
                reason: Some(reason.as_str()),
                ..plain("lost")
            },
            Event::BeatFailed { error, consecutive } => {
                Self { count: Some(consecutive as f64), ..failed("beatFailed", error) }
            }
            Event::BeatRecovered { failures } => {
                Self { count: Some(failures as f64), ..plain("beatRecovered") }
            }
            Event::Freed { agents, dead, instance_id } => Self {
                agent_ids: Some(agents),
                reason: Some(if dead { "dead" } else { "released" }),
                instance_id: Some(instance_id),
                ..plain("freed")
            },
            Event::Buried { instance_id, proven } => {
                Self { instance_id: Some(instance_id), proven: Some(proven), ..plain("buried") }
            }
            Event::Trouble { error } => failed("trouble", error),
            Event::Ping => plain("ping"),
        }
    }
}

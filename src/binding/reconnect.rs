//! A reconnect scheduler as JavaScript holds it.

use std::collections::HashMap;
use std::sync::Arc;

use napi::Env;
use napi::Status;
use napi::bindgen_prelude::{Function, spawn, within_runtime_if_available};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinHandle;

use super::guard::NativeGuard;
use super::outcome::{Pending, pending};
use super::reconnect_objects::{
    Admission, DecisionObject, DelayObject, FactsObject, LookObject, PendingObject, SchedulerCall,
    SchedulerOptions, random, whole_ms,
};
use crate::clock::{BootClock, Clock, Tick};
use crate::error::Result;
use crate::ownership::Ownership;
use crate::reconnect::board::{Board, Call, Id, Known};
use crate::reconnect::memory::Memory;
use crate::reconnect::policy::{Action, History, decide};
use crate::reconnect::reason::Reason;
use crate::reconnect::resumer::Resumer;
use crate::reconnect::scheduler::Scheduler;

/// The way to the event loop. Weak: it does not keep the process alive.
type Tell = ThreadsafeFunction<SchedulerCall, (), SchedulerCall, Status, false, true>;

/// One scheduler.
#[napi]
pub struct NativeScheduler {
    ownership: Arc<Ownership>,
    scheduler: Arc<Scheduler>,
    memory: Arc<Memory>,
    resumer: Arc<Resumer>,
    keeper: JoinHandle<()>,
}

#[napi]
impl NativeScheduler {
    /// A scheduler on the guard's claims that tells `onCall` whose turn it is.
    #[napi(
        catch_unwind,
        ts_args_type = "guard: NativeGuard, options: SchedulerOptions, onCall: (call: SchedulerCall) => void"
    )]
    pub fn create(
        guard: &NativeGuard,
        options: SchedulerOptions,
        on_call: Function<'_, SchedulerCall, ()>,
    ) -> napi::Result<NativeScheduler> {
        let tell = on_call.build_threadsafe_function::<SchedulerCall>().weak::<true>().build()?;
        let (calls, received) = mpsc::unbounded_channel();
        let ownership = guard.ownership().clone();
        let clock = Arc::new(BootClock);
        let resumer = Arc::new(Resumer::new(ownership.clone(), clock.clone()));
        let (scheduler, memory, keeper) = within_runtime_if_available(|| {
            let scheduler = Arc::new(Scheduler::new(options.board(), clock, calls));
            let memory = Arc::new(Memory::new(ownership.clone(), scheduler.clone()));
            let keeping = memory.clone();
            (scheduler, memory, tokio::spawn(async move { keeping.keep().await }))
        });
        spawn(forward(received, tell, memory.clone()));
        Ok(Self { ownership, scheduler, memory, resumer, keeper })
    }

    /// Enters a session, to connect after a delay; `reset` forgets its earlier failures. False
    /// when it connects or is up already.
    #[napi(catch_unwind)]
    pub fn schedule(&self, agent_id: String, delay_ms: f64, reset: bool) -> bool {
        let delay = super::guard::millis(delay_ms);
        self.work(&agent_id, |board, id, now| {
            let scheduled = board.schedule(id, now, delay);
            if reset {
                board.reset(id);
            }
            scheduled
        })
    }

    /// Enters sessions that were claimed just now, with what the database remembers of them; none
    /// that is to be passed over. Returns how long each has to wait, in milliseconds.
    #[napi(catch_unwind, ts_return_type = "Promise<number[] | Error>")]
    pub fn resume<'env>(&self, env: &'env Env, agent_ids: Vec<String>) -> Pending<'env, Vec<f64>> {
        let this = self.parts();
        pending(env, async move {
            let ids: Vec<Id> = agent_ids.iter().map(|agent_id| agent_id.as_str().into()).collect();
            let known = this.memory.recall(&ids).await;
            let enter = |known: HashMap<Id, Known>| {
                this.scheduler.with(|board, now| {
                    let mut enter = |id: &Id| {
                        if this.resumer.passes(id) {
                            return 0.0; // cancelled since
                        }
                        let known = known.get(id).copied().unwrap_or_default();
                        whole_ms(board.resume(id, known, now))
                    };
                    ids.iter().map(&mut enter).collect()
                })
            };
            known.map(enter).into()
        })
    }

    /// The claim of a turn is held: may it connect? Nothing when the turn is over.
    #[napi(catch_unwind, ts_return_type = "Promise<Admission | undefined | Error>")]
    pub fn admit<'env>(
        &self,
        env: &'env Env,
        agent_id: String,
        turn: u32,
    ) -> Pending<'env, Option<Admission>> {
        let this = self.parts();
        pending(env, async move {
            let id: Id = agent_id.as_str().into();
            let recall = async {
                if !this.scheduler.read(|board, _| board.unknown(&id)) {
                    return Ok(None);
                }
                let known = this.memory.recall(std::slice::from_ref(&id)).await?;
                Ok(known.into_values().next())
            };
            let known: Result<_> = recall.await;
            known
                .map(|known| {
                    let admitted =
                        this.scheduler.with(|board, now| board.recall(&id, turn, known, now));
                    admitted.map(|(attempt, wait)| Admission { attempt, wait_ms: whole_ms(wait) })
                })
                .into()
        })
    }

    /// Whether a turn is not over. What `admit` said may be old when JavaScript hears of it.
    #[napi(catch_unwind)]
    pub fn is_turn(&self, agent_id: String, turn: u32) -> bool {
        let id: Id = agent_id.as_str().into();
        self.parts().scheduler.read(|board, _| board.is_turn(&id, turn))
    }

    /// The user's `connect` has returned.
    #[napi(catch_unwind)]
    pub fn opened(&self, agent_id: String, turn: u32) {
        self.work(&agent_id, |board, id, _| board.opened(id, turn));
    }

    /// The connect of this session shows life.
    #[napi(catch_unwind)]
    pub fn progress(&self, agent_id: String) {
        self.work(&agent_id, |board, id, now| board.progress(id, now));
    }

    /// The turn came to nothing; nothing returned when that was known already.
    #[napi(catch_unwind)]
    pub fn failed(
        &self,
        agent_id: String,
        turn: u32,
        facts: FactsObject,
    ) -> Option<DecisionObject> {
        let reason = Reason::of(&facts.into());
        let held = self.ownership.held(&agent_id).is_some();
        let decision =
            self.work(&agent_id, |board, id, now| board.failed(id, turn, reason, held, now));
        decision.map(Into::into)
    }

    /// The connect of a turn took too long and is to be ended; nothing returned when it came up,
    /// showed life or ended before that was heard.
    #[napi(catch_unwind)]
    pub fn timed_out(&self, agent_id: String, turn: u32) -> Option<DecisionObject> {
        let decision = self.work(&agent_id, |board, id, now| board.timed_out(id, turn, now));
        decision.map(Into::into)
    }

    /// The connection is up; returns how long the connect took, if it was this scheduler's.
    #[napi(catch_unwind)]
    pub fn connected(&self, agent_id: String) -> Option<f64> {
        let took = self.work(&agent_id, |board, id, now| board.connected(id, now));
        took.map(|took| took.as_secs_f64() * 1000.0)
    }

    /// The connection ended.
    #[napi(catch_unwind)]
    pub fn disconnected(&self, agent_id: String, facts: FactsObject) -> DecisionObject {
        let reason = Reason::of(&facts.into());
        let held = self.ownership.held(&agent_id).is_some();
        let (decision, news) =
            self.work(&agent_id, |board, id, now| board.disconnected(id, reason, held, now));
        DecisionObject { news, ..decision.into() }
    }

    /// The claim of a session is lost; nothing returned when there is nothing to decide.
    #[napi(catch_unwind)]
    pub fn lost(&self, agent_id: String, facts: FactsObject) -> Option<DecisionObject> {
        let reason = Reason::of(&facts.into());
        let decision = self.work(&agent_id, |board, id, now| board.lost(id, reason, now));
        decision.map(Into::into)
    }

    /// Forgets a session; false if there was none.
    #[napi(catch_unwind)]
    pub fn cancel(&self, agent_id: String) -> bool {
        self.work(&agent_id, |board, id, _| board.cancel(id))
    }

    /// The database gives the session another name.
    #[napi(catch_unwind)]
    pub fn rename(&self, from: String, to: String) {
        let to: Id = to.as_str().into();
        self.work(&from, |board, id, _| board.rename(id, &to));
    }

    /// Sessions that connect or will.
    #[napi(catch_unwind)]
    pub fn pending(&self) -> Vec<PendingObject> {
        self.scheduler.read(|board, now| board.pending(now)).into_iter().map(Into::into).collect()
    }

    /// How many sessions connect or wait to.
    #[napi(catch_unwind)]
    pub fn pending_count(&self) -> u32 {
        self.scheduler.read(|board, _| board.pending_count() as u32)
    }

    /// Whether there are any.
    #[napi(catch_unwind)]
    pub fn has_pending(&self) -> bool {
        self.scheduler.read(|board, _| board.has_pending())
    }

    /// How many sessions will connect as soon as they may.
    #[napi(catch_unwind)]
    pub fn in_line(&self) -> u32 {
        let in_line = self.scheduler.read(|board, now| board.in_line(now));
        u32::try_from(in_line).unwrap_or(u32::MAX)
    }

    /// Resolves when the database knows the failures that were decided on until now.
    #[napi(catch_unwind, ts_return_type = "Promise<void | Error>")]
    pub fn remember<'env>(&self, env: &'env Env) -> Pending<'env, ()> {
        let this = self.parts();
        pending(env, async move { this.memory.write().await.into() })
    }

    /// Looks for sessions that nobody runs; `room` is how many could be connected soon.
    #[napi(catch_unwind, ts_return_type = "Promise<LookObject | Error>")]
    pub fn look<'env>(&self, env: &'env Env, room: u32) -> Pending<'env, LookObject> {
        let this = self.parts();
        pending(
            env,
            async move { this.resumer.look(room as usize).await.map(LookObject::from).into() },
        )
    }

    /// From now on an agent is not resumed here, for a while or until it is welcome: but it is if
    /// somebody else has had it in between.
    #[napi(catch_unwind)]
    pub fn pass(&self, agent_id: String, limit_ms: Option<f64>) {
        self.resumer.pass(&agent_id, limit_ms.map(super::guard::millis));
    }

    /// An agent is resumed here like any other.
    #[napi(catch_unwind)]
    pub fn welcome(&self, agent_id: String) {
        self.resumer.welcome(&agent_id);
    }

    /// Whether an agent was passed over since the claim on it that is held now was asked for.
    #[napi(catch_unwind)]
    pub fn passes(&self, agent_id: String) -> bool {
        self.resumer.passes(&agent_id)
    }

    /// Takes no part in resuming any more.
    #[napi(catch_unwind, ts_return_type = "Promise<void | Error>")]
    pub fn leave<'env>(&self, env: &'env Env) -> Pending<'env, ()> {
        let this = self.parts();
        pending(env, async move { this.resumer.leave().await.into() })
    }

    /// Calls nobody any more.
    #[napi(catch_unwind)]
    pub fn stop(&self) {
        self.scheduler.stop();
        self.keeper.abort();
    }
}

/// What a call that takes time works with, while the scheduler itself may be dropped.
struct Parts {
    scheduler: Arc<Scheduler>,
    memory: Arc<Memory>,
    resumer: Arc<Resumer>,
}

impl NativeScheduler {
    fn parts(&self) -> Parts {
        Parts {
            scheduler: self.scheduler.clone(),
            memory: self.memory.clone(),
            resumer: self.resumer.clone(),
        }
    }

    /// Works on the board; whatever changed there is told to the database.
    fn work<T>(&self, agent_id: &str, work: impl FnOnce(&mut Board, &Id, Tick) -> T) -> T {
        let id: Id = agent_id.into();
        let done = self.scheduler.with(|board, now| work(board, &id, now));
        self.memory.touch();
        done
    }
}

impl Drop for NativeScheduler {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn forward(mut calls: UnboundedReceiver<Call>, tell: Tell, memory: Arc<Memory>) {
    while let Some(call) = calls.recv().await {
        memory.touch();
        tell.call(call.into(), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// What the policy says of one end, of a session without a past whose claim is held.
#[napi(catch_unwind)]
pub fn classify_end(options: SchedulerOptions, facts: FactsObject) -> DecisionObject {
    let reason = Reason::of(&facts.into());
    let (decision, _) =
        decide(&options.rules(), &History::default(), reason, true, BootClock.now(), random());
    decision.into()
}

/// The first `nth` waits of the backoff, and of quarantine.
#[napi(catch_unwind)]
pub fn reconnect_delays(options: SchedulerOptions, nth: u32) -> Vec<DelayObject> {
    let rules = options.rules();
    let retries = (1..=nth).map(|n| DelayObject::of(Action::Retry, &rules.curve, n));
    let quarantine = rules.quarantine();
    let quarantines = (1..=nth).map(|n| DelayObject::of(Action::Quarantine, &quarantine, n));
    retries.chain(quarantines).collect()
}

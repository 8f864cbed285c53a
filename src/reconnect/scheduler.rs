//! The timer: one task turns one board, and tells whose turn it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::board::{Board, Call};
use crate::clock::{Clock, Tick};

/// Timers stand still while a machine sleeps, and the board's clock does not: the board is looked
/// at again after this time, so that nothing is late for longer after it woke.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A board that is turned until this handle is dropped.
pub struct Scheduler {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    board: Mutex<Board>,
    wake: Notify,
    clock: Arc<dyn Clock>,
}

impl Scheduler {
    /// Starts turning `board`; its calls go to `calls`. Needs a tokio runtime.
    pub fn new(board: Board, clock: Arc<dyn Clock>, calls: UnboundedSender<Call>) -> Self {
        let shared = Arc::new(Shared { board: Mutex::new(board), wake: Notify::new(), clock });
        let task = tokio::spawn(turn(shared.clone(), calls));
        Self { shared, task }
    }

    /// Works on the board at this moment; what it has to do sooner now is noticed.
    pub fn with<T>(&self, work: impl FnOnce(&mut Board, Tick) -> T) -> T {
        let now = self.shared.clock.now();
        let done = work(&mut self.shared.lock(), now);
        self.shared.wake.notify_one();
        done
    }

    /// Reads the board at this moment.
    pub fn read<T>(&self, look: impl FnOnce(&Board, Tick) -> T) -> T {
        look(&self.shared.lock(), self.shared.clock.now())
    }

    /// Calls nobody any more.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn turn(shared: Arc<Shared>, told: UnboundedSender<Call>) {
    let mut calls = Vec::new();
    loop {
        let now = shared.clock.now();
        let next = shared.lock().poll(now, &mut calls);
        for call in calls.drain(..) {
            if told.send(call).is_err() {
                return; // nobody listens any more
            }
        }
        let pause = next.map_or(LONGEST_PAUSE, |at| at.since(now).min(LONGEST_PAUSE));
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.wake.notified() => {}
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;

//! Gathers hits while the database is at work on those before them.
//!
//! A hit that finds the database idle goes at once. Those that come meanwhile go together, all of
//! one limit in one statement: the busier it is the less a hit costs, and none waits for company.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Limit, LimitId, Store, Verdict};
use crate::error::{Error, Result};

/// Statements of one limit at a time: one that the database carries out, and one on its way.
const AT_WORK: usize = 2;
/// Hits in a statement.
const MOST: usize = 200;
/// How long a request waits for a database server to count it: not as long as a call that must be
/// made would, since one that is only counted had better fail, or be counted in memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way of hits to a store.
pub struct Hits {
    store: Arc<dyn Store>,
    lines: Mutex<HashMap<Measure, Line>>,
}

/// What hits of one line have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Measure {
    limit: Limit,
    points: u32,
}

#[derive(Default)]
struct Line {
    waiting: Vec<Waiting>,
    at_work: usize,
}

struct Waiting {
    key: LimitId,
    answer: oneshot::Sender<Result<Verdict>>,
}

impl Hits {
    /// For this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, lines: Mutex::default() }
    }

    /// Decides about a hit of `points` (at least one) and takes them if it passes.
    pub async fn take(
        self: &Arc<Self>,
        key: LimitId,
        limit: Limit,
        points: u32,
    ) -> Result<Verdict> {
        let (answer, answered) = oneshot::channel();
        let measure = Measure { limit, points };
        if self.enter(&measure, Waiting { key, answer }) {
            tokio::spawn(AtWork { hits: self.clone(), measure, left: false }.work());
        }
        let answer =
            async { answered.await.unwrap_or_else(|_| Err(unanswered("it was given up"))) };
        self.in_time(answer).await
    }

    /// Queues a hit. Returns whether somebody has to be put to work.
    fn enter(&self, measure: &Measure, hit: Waiting) -> bool {
        let mut lines = self.lines();
        if !lines.contains_key(measure) {
            lines.insert(measure.clone(), Line::default());
        }
        let Some(line) = lines.get_mut(measure) else { return false };
        line.waiting.push(hit);
        let room = line.at_work < AT_WORK;
        line.at_work += usize::from(room);
        room
    }

    /// A local file is never away.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        if self.store.one_machine() {
            return call.await;
        }
        let late = || Err(unanswered(&format!("no answer within {} s", PATIENCE.as_secs())));
        tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| late())
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Measure, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unanswered(cause: &str) -> Error {
    Error::DatabaseUnavailable { action: "counting a hit".to_owned(), cause: cause.to_owned() }
}

/// One that works on a line until it is empty.
struct AtWork {
    hits: Arc<Hits>,
    measure: Measure,
    left: bool,
}

impl AtWork {
    async fn work(mut self) {
        while let Some(hits) = self.next() {
            self.carry_out(hits).await;
        }
    }

    /// The next hits that somebody still waits for; none, and it has left the line, when there is
    /// nobody in it.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut lines = self.hits.lines();
        let line = lines.get_mut(&self.measure)?;
        line.waiting.retain(|hit| !hit.answer.is_closed());
        let most = line.waiting.len().min(MOST);
        if most > 0 {
            return Some(line.waiting.drain(..most).collect());
        }
        self.left = true;
        line.at_work -= 1;
        if line.at_work == 0 {
            lines.remove(&self.measure);
        }
        None
    }

    async fn carry_out(&self, hits: Vec<Waiting>) {
        let keys: Vec<LimitId> = hits.iter().map(|hit| hit.key).collect();
        let Measure { limit, points } = &self.measure;
        let taken = self.hits.store.take_points(&keys, limit, *points, None);
        // Nobody hears an answer that comes too late.
        match self.hits.in_time(taken).await {
            Ok(verdicts) => hits.into_iter().zip(verdicts).for_each(|(hit, verdict)| {
                let _ = hit.answer.send(Ok(verdict));
            }),
            Err(error) => hits.into_iter().for_each(|hit| {
                let _ = hit.answer.send(Err(error.clone()));
            }),
        }
    }
}

/// A panic must not take the place in the line along.
impl Drop for AtWork {
    fn drop(&mut self) {
        if let Some(line) = self.hits.lines().get_mut(&self.measure).filter(|_| !self.left) {
            line.at_work -= 1;
        }
    }
}

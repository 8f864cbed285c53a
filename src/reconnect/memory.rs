//! What outlives the process: the failures of sessions, in the database.
//!
//! Written behind: a decision never waits for the database. Each write takes all that changed
//! since the last one, under the fence of each session, so a session that this instance does not
//! hold any more is its new owner's to write. What cannot be written is written later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;

use super::board::{Id, Known, Memo};
use super::policy::History;
use super::reason::Reason;
use super::scheduler::Scheduler;
use crate::error::Result;
use crate::ownership::Ownership;
use crate::store::{Fence, Reconnect};

/// Pause after a write that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The memory of one scheduler.
pub struct Memory {
    ownership: Arc<Ownership>,
    scheduler: Arc<Scheduler>,
    writing: Mutex<()>,
    changed: Notify,
}

impl Memory {
    /// Nothing is read or written yet.
    pub fn new(ownership: Arc<Ownership>, scheduler: Arc<Scheduler>) -> Self {
        Self { ownership, scheduler, writing: Mutex::new(()), changed: Notify::new() }
    }

    /// Something may have changed.
    pub fn touch(&self) {
        self.changed.notify_one();
    }

    /// Writes whatever changes, until dropped.
    pub async fn keep(&self) {
        loop {
            self.changed.notified().await;
            while self.write().await.is_err() {
                sleep(AFTER_FAILURE).await;
            }
        }
    }

    /// Writes what has changed; returns when it is written.
    pub async fn write(&self) -> Result<()> {
        let _one_at_a_time = self.writing.lock().await;
        let memos = self.scheduler.with(|board, now| board.memos(now));
        let records: Vec<(Fence, Reconnect)> =
            memos.iter().filter_map(|memo| Some((self.fence(&memo.id)?, record(memo)))).collect();
        if records.is_empty() {
            return Ok(());
        }
        let written = self.ownership.store().record_reconnects(&records).await;
        if written.is_err() {
            let ids = memos.into_iter().map(|memo| memo.id);
            self.scheduler.with(|board, _| board.keep_memos(ids));
        }
        written
    }

    /// What is known of these sessions.
    pub async fn recall(&self, ids: &[Id]) -> Result<HashMap<Id, Known>> {
        let agents: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
        let records = self.ownership.store().recall_reconnects(&agents).await?;
        Ok(records
            .into_iter()
            .map(|record| (record.agent_id.as_str().into(), known(record)))
            .collect())
    }

    fn fence(&self, id: &Id) -> Option<Fence> {
        let claim = self.ownership.held(id)?;
        self.ownership.fence(&claim).ok()
    }
}

fn record(memo: &Memo) -> Reconnect {
    let History { tries, failures, failing, quarantines, .. } = memo.history;
    Reconnect {
        agent_id: memo.id.to_string(),
        tries,
        failures,
        failing,
        quarantines,
        wait: memo.wait,
        reason: memo.reason.map(|reason| reason.as_str().to_owned()),
    }
}

fn known(record: Reconnect) -> Known {
    let Reconnect { tries, failures, failing, quarantines, wait, reason, .. } = record;
    Known {
        history: History { tries, failures, failing, quarantines, ..History::default() },
        wait,
        reason: reason.as_deref().and_then(Reason::named),
    }
}

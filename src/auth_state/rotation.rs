//! Brings everything stored under the current key, while sessions run.
//!
//! Row by row, by compare-and-set: a row that a session has written meanwhile is left as the
//! session wrote it and looked at again. What is under the current key is passed over, so a
//! rotation that was killed goes on where it stopped. A row that does not open stays untouched,
//! is counted and named, and stops nothing. Plaintext stays in here.

use serde_json::Value;

use super::record;
use crate::credentials::value::{self, Accept, Form};
use crate::credentials::{Context, KeyRing};
use crate::error::{Error, Result};
use crate::store::{AuthKey, AuthRow, AuthSwap, HostColumn, SessionData, Store};

/// Times that all is gone through before rows that keep changing are reported as remaining.
const PASSES: u32 = 3;
const ALL_FORMS: Accept = Accept { plaintext: true, legacy: true };
/// Rows that are named in a report; all are counted.
const NAMED: usize = 100;

/// What is not under the current key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Stored without encryption.
    pub plain: u64,
    /// `{ encrypted, iv, authTag }`.
    pub legacy: u64,
    /// Sealed under a previous key.
    pub previous_key: u64,
    /// Does not open at all.
    pub unreadable: u64,
}

impl Remaining {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.plain + self.legacy + self.previous_key + self.unreadable
    }
}

/// A row that does not open.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Where it is.
    pub key: AuthKey,
    /// Why.
    pub error: Error,
}

/// How far it has come, and what came of it.
#[derive(Debug, Clone, Default)]
pub struct Rotated {
    /// Values looked at in this pass.
    pub examined: u64,
    /// Values brought under the current key.
    pub rotated: u64,
    /// After the last pass: what is still not.
    pub remaining: Remaining,
    /// The first rows that do not open.
    pub failed: Vec<Failed>,
}

/// One rotation.
pub struct Rotation<'a> {
    store: &'a dyn Store,
    ring: &'a KeyRing,
    batch: i64,
    dry_run: bool,
}

/// What to do about one stored value.
enum Verdict<T> {
    Current,
    Replace(T),
    Unreadable(Error),
}

impl<'a> Rotation<'a> {
    pub(super) fn new(store: &'a dyn Store, ring: &'a KeyRing, batch: i64, dry_run: bool) -> Self {
        Self { store, ring, batch, dry_run }
    }

    /// Goes through everything, telling `progress` after each batch.
    pub async fn run(self, mut progress: impl FnMut(&Rotated) + Send) -> Result<Rotated> {
        if self.ring.current_id().is_none() {
            return Err(Error::KeyMissing { action: "rotating credentials".into() });
        }
        let mut rotated = 0;
        for pass in 1.. {
            let mut report = Rotated { rotated, ..Rotated::default() };
            self.auth_states(&mut report, &mut progress).await?;
            for column in HostColumn::ALL {
                self.session_data(column, &mut report, &mut progress).await?;
            }
            let settled = report.remaining.total() == report.remaining.unreadable;
            if self.dry_run || settled || pass == PASSES {
                return Ok(report);
            }
            rotated = report.rotated;
        }
        unreachable!("the loop returns at the last pass")
    }

    async fn auth_states(
        &self,
        report: &mut Rotated,
        progress: &mut (impl FnMut(&Rotated) + Send),
    ) -> Result<()> {
        let mut after = AuthKey::default();
        loop {
            let rows = self.store.auth_list(None, &after, self.batch).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.key.clone();
            report.examined += rows.len() as u64;
            let mut swaps = Vec::new();
            for row in rows {
                match self.judge_row(&row) {
                    Verdict::Current => {}
                    Verdict::Replace(new) => swaps.push(AuthSwap { old: row, new }),
                    Verdict::Unreadable(error) => report.failed(row.key, error),
                }
            }
            let swapped = if self.dry_run || swaps.is_empty() {
                0
            } else {
                self.store.auth_swap(&swaps).await?
            };
            report.rotated += swapped;
            if swapped < swaps.len() as u64 {
                // Which ones a session was quicker with shows in the next pass.
                let missed = swaps.len() as u64 - swapped;
                let plain = swaps.iter().filter(|swap| record::is_plain(&swap.old.value)).count();
                let plain = missed.min(plain as u64);
                report.remaining.plain += plain;
                report.remaining.previous_key += missed - plain;
            }
            progress(report);
        }
    }

    async fn session_data(
        &self,
        column: HostColumn,
        report: &mut Rotated,
        progress: &mut (impl FnMut(&Rotated) + Send),
    ) -> Result<()> {
        let mut after = String::new();
        loop {
            let rows = self.store.session_data(column, &after, self.batch).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.row_id.clone();
            for row in rows {
                report.examined += 1;
                match self.judge_data(&row) {
                    Verdict::Current => {}
                    Verdict::Unreadable(error) => {
                        let id = row.row_id;
                        let kind = column.name().to_owned();
                        let key = AuthKey { agent_id: row.agent_id, kind, id };
                        report.failed(key, error);
                    }
                    Verdict::Replace((new, was)) => {
                        let done =
                            !self.dry_run && self.store.session_data_swap(&row, &new).await?;
                        if done {
                            report.rotated += 1;
                        } else {
                            report.remaining.add(was);
                        }
                    }
                }
            }
            progress(report);
        }
    }

    fn judge_row(&self, row: &AuthRow) -> Verdict<Vec<u8>> {
        let AuthKey { agent_id, kind, id } = &row.key;
        match record::reseal(self.ring, &row.value, &Context { agent_id, kind, id }) {
            Ok(None) => Verdict::Current,
            Ok(Some(new)) => Verdict::Replace(new),
            Err(error) => Verdict::Unreadable(error),
        }
    }

    /// Credentials within a host's JSON, each resealed in its place.
    fn judge_data(&self, row: &SessionData) -> Verdict<(String, Remaining)> {
        let data = serde_json::from_str::<Value>(&row.json);
        let is_credentials = data.as_ref().is_ok_and(value::is_credentials);
        if row.column == HostColumn::SessionState && !is_credentials {
            return Verdict::Current; // hosts keep other things there, in other forms
        }
        let mut data = match data {
            Ok(data) => data,
            Err(_) => {
                let problem = "session_data is not JSON".to_owned();
                return Verdict::Unreadable(Error::MalformedEnvelope { item: None, problem });
            }
        };
        let context = Context::credentials(&row.agent_id);
        let mut was = Remaining::default();
        let mut changed = false;
        for slot in value::credential_slots(&mut data) {
            let form = form_of(slot);
            // A rotation is how a host gets rid of the old forms: it reads them all.
            match value::reseal(self.ring, slot, &context, ALL_FORMS) {
                Ok(None) => {}
                Ok(Some(resealed)) => {
                    was.add(form);
                    *slot = resealed;
                    changed = true;
                }
                Err(error) => return Verdict::Unreadable(error),
            }
        }
        if changed { Verdict::Replace((data.to_string(), was)) } else { Verdict::Current }
    }
}

fn form_of(stored: &Value) -> Remaining {
    match value::recognise(stored) {
        Ok(Form::Envelope { .. }) => Remaining { previous_key: 1, ..Remaining::default() },
        Ok(Form::Legacy(_)) => Remaining { legacy: 1, ..Remaining::default() },
        Ok(Form::JsonText(object)) => form_of(&object),
        _ => Remaining { plain: 1, ..Remaining::default() },
    }
}

impl Remaining {
    fn add(&mut self, other: Remaining) {
        self.plain += other.plain;
        self.legacy += other.legacy;
        self.previous_key += other.previous_key;
        self.unreadable += other.unreadable;
    }
}

impl Rotated {
    fn failed(&mut self, key: AuthKey, error: Error) {
        self.remaining.unreadable += 1;
        if self.failed.len() < NAMED {
            self.failed.push(Failed { key, error });
        }
    }
}

//! Looks for sessions that nobody runs, and says how many of them to take.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Tick};
use crate::error::Result;
use crate::ownership::Ownership;
use crate::store::Moved;

use super::share::{Picture, allowance, surplus};

/// What to do after a look.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Agents to claim now.
    pub take: Vec<String>,
    /// What was seen.
    pub picture: Picture,
    /// How many of this instance's sessions are too many, so that some may be handed over.
    pub surplus: usize,
}

/// One instance's part in resuming.
pub struct Resumer {
    ownership: Arc<Ownership>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The incarnation that takes part. A new one of the same process has to join anew.
    joined: Option<String>,
    since: Option<Tick>,
    /// How many orphans there were at the last look, and since when nobody took one.
    orphans: usize,
    untouched_since: Option<Tick>,
    passed: HashMap<String, Passed>,
}

/// An agent that is not to be resumed here.
struct Passed {
    /// The last fencing token: whatever another instance does with the agent later is none of
    /// this. Of an agent that is not held it is known from the next look on.
    token: Option<i64>,
    until: Option<Tick>,
}

impl Resumer {
    /// Takes part from the first look on.
    pub fn new(ownership: Arc<Ownership>, clock: Arc<dyn Clock>) -> Self {
        Self { ownership, clock, state: Mutex::default() }
    }

    /// Looks; `room` is how many sessions could be connected soon.
    pub async fn look(&self, room: usize) -> Result<Look> {
        let incarnation = self.ownership.incarnation().await?;
        let store = self.ownership.store();
        if self.with(|state, _| state.joined.as_ref() != Some(&incarnation)) {
            store.join_resumers(&incarnation).await?;
            self.with(|state, now| {
                state.joined = Some(incarnation.clone());
                state.since.get_or_insert(now);
            });
        }
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let passed = self.with(State::passed);
        let mut found = store.orphans(&incarnation, &passed, limit).await?;
        self.with(|state, _| state.moved(&found.moved));
        let picture = Picture {
            should_run: found.should_run,
            mine: found.mine,
            orphans: found.orphans,
            resumers: found.peers + 1,
            lately: found.lately_dead.max(found.peers + 1),
        };
        let (age, untouched) = self.with(|state, now| state.saw(&picture, now));
        found.agents.truncate(allowance(&picture, room, age, untouched));
        Ok(Look { take: found.agents, picture, surplus: surplus(&picture) })
    }

    /// From now on an agent is passed over here: for a while, or until it is welcome again, or
    /// somebody else has had it.
    pub fn pass(&self, agent_id: &str, limit: Option<Duration>) {
        let token = self.ownership.held(agent_id).map(|claim| claim.token());
        self.with(|state, now| {
            let until = limit.map(|limit| now + limit);
            state.passed.insert(agent_id.to_owned(), Passed { token, until });
        });
    }

    /// An agent is resumed here like any other.
    pub fn welcome(&self, agent_id: &str) {
        self.with(|state, _| state.passed.remove(agent_id));
    }

    /// Whether an agent was passed over since the claim on it that is held now was asked for.
    pub fn passes(&self, agent_id: &str) -> bool {
        let held = self.ownership.held(agent_id).map_or(0, |claim| claim.token());
        let since = |passed: &Passed| passed.token.is_none_or(|token| token >= held);
        self.with(|state, _| state.passed.get(agent_id).is_some_and(since))
    }

    /// Takes part no more.
    pub async fn leave(&self) -> Result<()> {
        let joined = self.with(|state, _| {
            let passed = std::mem::take(&mut state.passed);
            std::mem::replace(state, State { passed, ..State::default() }).joined
        });
        match joined {
            Some(incarnation) => self.ownership.store().leave_resumers(&incarnation).await,
            None => Ok(()),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State, Tick) -> T) -> T {
        let now = self.clock.now();
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

impl State {
    /// Those that are passed over now, each with its token.
    fn passed(&mut self, now: Tick) -> Vec<(String, Option<i64>)> {
        self.passed.retain(|_, passed| passed.until.is_none_or(|until| now < until));
        self.passed.iter().map(|(agent_id, passed)| (agent_id.clone(), passed.token)).collect()
    }

    /// Forgets what others have had, and follows what was claimed here. What is older than what is
    /// known by now was seen before the agent was cancelled once more.
    fn moved(&mut self, moved: &[Moved]) {
        for Moved { agent_id, token, theirs } in moved {
            let Entry::Occupied(mut passed) = self.passed.entry(agent_id.clone()) else { continue };
            if passed.get().token.is_some_and(|known| known >= *token) {
                continue;
            }
            if *theirs {
                passed.remove();
            } else {
                passed.get_mut().token = Some(*token);
            }
        }
    }

    /// How long this instance has taken part, and for how long nobody has taken an orphan.
    fn saw(&mut self, picture: &Picture, now: Tick) -> (Duration, Duration) {
        if self.orphans == 0 || picture.orphans < self.orphans {
            self.untouched_since = Some(now);
        }
        self.orphans = picture.orphans;
        let for_how_long = |since: Option<Tick>| since.map_or(Duration::ZERO, |at| now.since(at));
        (for_how_long(self.since), for_how_long(self.untouched_since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_before_it_was_cancelled_once_more_changes_nothing() {
        let mut state = State::default();
        let seen = |token, theirs| [Moved { agent_id: "agent".to_owned(), token, theirs }];
        state.passed.insert("agent".to_owned(), Passed { token: Some(5), until: None });
        let mut told = |token, theirs| {
            state.moved(&seen(token, theirs));
            state.passed(Tick::from_start(Duration::ZERO))
        };
        let passed = |token| vec![("agent".to_owned(), Some(token))];
        assert_eq!(told(4, true), passed(5), "somebody else had it before");
        assert_eq!(told(4, false), passed(5));
        assert_eq!(told(6, false), passed(6));
        assert_eq!(told(7, true), []);
        assert_eq!(told(8, false), [], "nobody passes it over any more");
    }

    #[test]
    fn orphans_are_untouched_until_somebody_takes_one() {
        let mut state = State::default();
        let mut saw = |orphans, secs| {
            let picture = Picture { orphans, ..Picture::default() };
            state.saw(&picture, Tick::from_start(Duration::from_secs(secs))).1.as_secs()
        };
        assert_eq!(saw(0, 1), 0);
        assert_eq!(saw(9, 5), 0);
        assert_eq!(saw(9, 8), 3);
        assert_eq!(saw(12, 9), 4, "more of them does not mean that one was taken");
        assert_eq!(saw(11, 10), 0);
        assert_eq!(saw(11, 30), 20);
        assert_eq!(saw(0, 31), 0);
        assert_eq!(saw(3, 60), 0);
    }
}

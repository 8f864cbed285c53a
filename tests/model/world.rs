//! Everything together: the processes, the database, what is under way between them, and time.

use stateright::{Model, Property};

use super::database::{Answer, Database, Incarnation, Outcome, Request};
use super::process::{Lane, Message, Process};
use super::rules::Wrong;
use super::units::{SLOW, TTL};

/// What is explored: all histories within these bounds.
#[derive(Debug, Clone)]
pub struct Scope {
    pub wrong: Option<Wrong>,
    pub processes: u8,
    pub start: Start,
    /// Units of real time.
    pub horizon: u8,
    /// The clock of process 0 may be slow against the others, by what the margin allows.
    pub drift: bool,
    /// Processes from this number on watch the others.
    pub watchers_from: u8,
    /// How many answers may be lost, with or without their statement.
    pub losses: u8,
    /// How often each process may start.
    pub starts: u8,
    /// How often process 0, and each of the others, may claim.
    pub claims: [u8; 2],
    pub beats: bool,
    /// The sentry looks at claims. Without it they stay, and are worth what the window says.
    pub notices: bool,
    pub writes: bool,
    /// Processes below this number may give the agent back.
    pub releases_below: u8,
    /// Process 0 may die for good.
    pub crash: bool,
    /// Processes from this number on do what is due before time goes on.
    pub diligent_from: u8,
    /// How long an agent may then stay without an owner once nothing goes wrong any more.
    pub patience: u8,
}

/// How far everybody is at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Nothing,
    Registered,
    /// All have registered, and process 0 holds the agent.
    Held,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub now: u8,
    pub processes: Vec<Process>,
    pub database: Database,
    /// In order, so that two ways to the same set are one state.
    pub under_way: Vec<Message>,
    losses: u8,
    /// By how much the database's wall clock has jumped.
    jump: u8,
    /// Nothing has gone wrong since.
    pub quiet_since: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// One unit of time, in which the clock of process 0 may stand still.
    Time {
        slow: bool,
    },
    Ask(usize, Request),
    /// The database runs it.
    Commit(Message),
    /// Its answer comes.
    Hear(Message),
    /// No answer comes in time; the statement may or may not arrive yet.
    Lose(Message, Arrives),
    /// The sentry finds a window closed.
    Notice(usize),
    /// The database counts other leases than the ledger: finds out which.
    Reconcile(usize),
    Crash,
    WallClockJumps,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrives {
    Later,
    Never,
}

pub const ONE_OWNER: &str = "one process at most trusts its claim";
pub const TRUE_OWNER: &str = "who trusts a claim holds the lease";
pub const FENCED: &str = "no write is accepted under an old token";
pub const TOKENS_GROW: &str = "tokens grow";
pub const OWN_TERM: &str = "a release frees its own term only";
pub const CLAIMABLE: &str = "an agent without an owner soon has one";
pub const REACHED: &str = "an agent changes hands";

impl Scope {
    fn first_state(&self) -> State {
        let mut state = State {
            now: 0,
            processes: (0..self.processes).map(Process::new).collect(),
            database: Database::default(),
            under_way: Vec::new(),
            losses: 0,
            jump: 0,
            quiet_since: (!self.crash).then_some(0),
        };
        if self.start != Start::Nothing {
            for process in 0..usize::from(self.processes) {
                self.settle(&mut state, process, Request::Register);
            }
        }
        if self.start == Start::Held {
            self.settle(&mut state, 0, Request::Claim { seq: 1 });
        }
        state
    }

    /// Asks, commits and hears in one go.
    fn settle(&self, state: &mut State, process: usize, request: Request) {
        let message = state.processes[process].ask(request);
        state.under_way.push(message.clone());
        self.commit(state, &message);
        let answered = state.under_way[0].clone();
        self.hear(state, &answered);
    }

    fn commit(&self, state: &mut State, message: &Message) {
        let place = state.place(message);
        let counts = matches!(message.request, Request::Register | Request::Beat);
        let counter = if counts { state.unused_counter(message.from) } else { 0 };
        let message = &mut state.under_way[place];
        let (wall, asked) = (state.now + state.jump, message.request.clone());
        match state.database.run(self.wrong, message.from, &asked, message.half_done, counter, wall)
        {
            Outcome::HalfDone => message.half_done = true,
            Outcome::Done(mut answer) => {
                if let (Answer::Beat { peers, .. }, true) =
                    (&mut answer, message.from.0 < self.watchers_from)
                {
                    peers.clear();
                }
                message.answer = Some(answer);
                if !message.awaited {
                    state.under_way.remove(place);
                    state.disturbed();
                }
            }
        }
        state.under_way.sort();
    }

    fn hear(&self, state: &mut State, message: &Message) {
        state.under_way.remove(state.place(message));
        let number = message.from.0;
        let watches = number >= self.watchers_from;
        state.processes[usize::from(number)].hear(self.wrong, watches, message);
    }

    /// Lists the leases of process `i` and compares: what it does not know of goes back.
    fn reconcile(&self, state: &mut State, i: usize) {
        let lease = state.database.holder();
        let process = &mut state.processes[i];
        let Some(from) = process.term.as_ref().map(|term| term.id) else { return };
        let listed = lease.filter(|(owner, _)| *owner == from).map(|(_, token)| token);
        let stray = process.reconcile(listed);
        if let Some(token) = stray.filter(|_| self.wrong != Some(Wrong::StrayKept)) {
            let request = Request::Release { token };
            state.under_way.push(Message::new(from, Lane::Stray, request, 0));
            state.under_way.sort();
        }
    }

    /// What process `i` may ask now.
    fn wishes(&self, state: &State, i: usize) -> Vec<Request> {
        let process = &state.processes[i];
        let number = i as u8;
        let mut wishes = Vec::new();
        if process.crashed {
            return wishes;
        }
        let trusts = process.trusts(self.wrong);
        if state.is_free(number, Lane::Pulse) {
            if process.may_register(self.starts) {
                wishes.push(Request::Register);
            }
            if self.beats && process.may_look() {
                wishes.push(Request::Beat);
            }
            if process.term.is_some() {
                let silent = process.silent(self.wrong).into_iter();
                wishes.extend(silent.map(|(peer, beat)| Request::Bury { peer, beat }));
            }
        }
        if state.is_free(number, Lane::Agent) {
            if process.may_claim(self.claims[i.min(1)], self.wrong)
                && self.is_worth_asking(state, i)
            {
                wishes.push(Request::Claim { seq: process.next_seq() });
            }
            wishes.extend(
                trusts
                    .filter(|_| number < self.releases_below)
                    .map(|token| Request::Release { token }),
            );
        }
        if self.writes && state.is_free(number, Lane::Write) {
            wishes.extend(trusts.map(|token| Request::Write { token }));
        }
        wishes
    }

    /// An agent that an operation is working on is left alone: its answer is under way.
    fn may_reconcile(&self, state: &State, i: usize) -> bool {
        let idle = |lane| state.is_free(i as u8, lane);
        state.processes[i].differs && idle(Lane::Agent) && idle(Lane::Stray)
    }

    /// A refused claim changes nothing. The diligent, who claim without end, are spared it.
    fn is_worth_asking(&self, state: &State, i: usize) -> bool {
        let me = state.processes[i].term.as_ref().map(|term| term.id);
        i < usize::from(self.diligent_from)
            || me.is_some_and(|me| state.database.claimable(self.wrong, me))
    }

    /// Whether a diligent process has something left to do in this unit of time.
    fn is_behind(&self, state: &State, i: usize) -> bool {
        let process = &state.processes[i];
        if process.crashed || i < usize::from(self.diligent_from) {
            return false;
        }
        let waits = state.under_way.iter().any(|m| usize::from(m.from.0) == i && m.awaited);
        waits
            || self.may_reconcile(state, i)
            || (self.notices && process.has_expired(self.wrong))
            || self.wishes(state, i).iter().any(|wish| match wish {
                Request::Register | Request::Beat => true,
                Request::Bury { peer, .. } => state.database.alive(*peer),
                Request::Claim { .. } => process.holds_nothing(),
                Request::Release { .. } | Request::Write { .. } => false,
            })
    }

    fn ways_of_time(&self, state: &State, actions: &mut Vec<Action>) {
        let busy = (0..state.processes.len()).any(|i| self.is_behind(state, i));
        if state.now >= self.horizon || busy {
            return;
        }
        actions.push(Action::Time { slow: false });
        let owner = &state.processes[0];
        let suspended = self.wrong == Some(Wrong::ClockStopsInSuspension);
        if !owner.crashed && (suspended || self.drift && owner.since_stall + 1 >= SLOW) {
            actions.push(Action::Time { slow: true });
        }
    }
}

impl State {
    fn place(&self, message: &Message) -> usize {
        self.under_way.iter().position(|other| other == message).expect("it is under way")
    }

    /// The lowest counter that nobody remembers of an instance. It grows in truth; but it is only
    /// compared for being the same, and small numbers make different histories one state.
    fn unused_counter(&self, of: Incarnation) -> u8 {
        let remembered = |beat: u8| {
            self.processes.iter().any(|process| process.remembers(of) == Some(beat))
                || self.under_way.iter().any(|message| message.remembers(of, beat))
        };
        (0..).find(|beat| !remembered(*beat)).expect("few remember anything")
    }

    fn is_free(&self, process: u8, lane: Lane) -> bool {
        !self.under_way.iter().any(|m| m.awaited && m.from.0 == process && m.lane == lane)
    }

    fn disturbed(&mut self) {
        if self.quiet_since.is_some() {
            self.quiet_since = Some(self.now);
        }
    }

    fn owners(&self, wrong: Option<Wrong>) -> impl Iterator<Item = (Incarnation, u8)> {
        self.processes
            .iter()
            .filter_map(move |process| Some((process.term.as_ref()?.id, process.trusts(wrong)?)))
    }
}

impl Model for Scope {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.first_state()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for i in 0..state.processes.len() {
            actions.extend(self.wishes(state, i).into_iter().map(|wish| Action::Ask(i, wish)));
            let process = &state.processes[i];
            if self.notices && !process.crashed && process.has_expired(self.wrong) {
                actions.push(Action::Notice(i));
            }
            if self.may_reconcile(state, i) {
                actions.push(Action::Reconcile(i));
            }
        }
        for message in &state.under_way {
            if message.answer.is_none() {
                actions.push(Action::Commit(message.clone()));
            } else {
                actions.push(Action::Hear(message.clone()));
            }
            if message.awaited && state.losses < self.losses {
                actions.push(Action::Lose(message.clone(), Arrives::Never));
                if message.answer.is_none() {
                    actions.push(Action::Lose(message.clone(), Arrives::Later));
                }
            }
        }
        if self.crash && !state.processes[0].crashed {
            actions.push(Action::Crash);
        }
        if self.wrong == Some(Wrong::BurialByWallClock) && state.jump == 0 {
            actions.push(Action::WallClockJumps);
        }
        self.ways_of_time(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Time { slow } => {
                state.now += 1;
                for (i, process) in state.processes.iter_mut().enumerate() {
                    if process.crashed {
                        continue; // its clock tells nobody anything
                    }
                    process.time_passes(slow && i == 0);
                }
            }
            Action::Ask(i, request) => {
                if let Request::Release { .. } = request {
                    state.disturbed(); // not a fault, but from here on nobody has the agent
                }
                let message = state.processes[i].ask(request);
                state.under_way.push(message);
                state.under_way.sort();
            }
            Action::Commit(message) => self.commit(&mut state, &message),
            Action::Hear(message) => self.hear(&mut state, &message),
            Action::Lose(message, arrives) => {
                let place = state.place(&message);
                state.processes[usize::from(message.from.0)].give_up(&message);
                match arrives {
                    Arrives::Later => state.under_way[place].awaited = false,
                    Arrives::Never => drop(state.under_way.remove(place)),
                }
                state.under_way.sort();
                state.losses += 1;
                state.disturbed();
            }
            Action::Reconcile(i) => self.reconcile(&mut state, i),
            Action::Notice(i) => state.processes[i].notice(),
            Action::Crash => {
                state.processes[0].crashed = true;
                state.quiet_since = Some(state.now);
                state.under_way.retain(|m| m.from.0 != 0 || m.answer.is_none());
                for message in state.under_way.iter_mut().filter(|m| m.from.0 == 0) {
                    message.awaited = false;
                }
                state.under_way.sort();
            }
            Action::WallClockJumps => state.jump = TTL,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ONE_OWNER, |scope: &Scope, state: &State| {
                state.owners(scope.wrong).count() <= 1
            }),
            Property::always(TRUE_OWNER, |scope: &Scope, state: &State| {
                let alive = |owner: Incarnation| state.database.alive(owner);
                let holder = state.database.holder();
                state.owners(scope.wrong).all(|own| holder == Some(own) && alive(own.0))
            }),
            Property::always(FENCED, |_, state: &State| !state.database.faults.stale_write),
            Property::always(TOKENS_GROW, |_, state: &State| {
                !state.database.faults.token_came_back
            }),
            Property::always(OWN_TERM, |_, state: &State| {
                !state.database.faults.freed_another_term
            }),
            Property::sometimes(REACHED, |scope: &Scope, state: &State| {
                state.owners(scope.wrong).any(|(owner, token)| owner.0 != 0 && token > 1)
            }),
        ];
        if self.diligent_from < self.processes {
            properties.push(Property::always(CLAIMABLE, |scope: &Scope, state: &State| {
                let late =
                    state.quiet_since.is_some_and(|since| state.now > since + scope.patience);
                !late || state.owners(scope.wrong).next().is_some()
            }));
        }
        properties
    }
}

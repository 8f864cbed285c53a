//! One process: what it asks, and what it makes of the answers.
//!
//! Whether it may act is asked of the real [`TrustWindow`], whom it may bury of the real
//! [`Watch`]. A process that takes no step is frozen; nothing more is needed to model that.

use baileys_guard::ownership::trust::TrustWindow;
use baileys_guard::ownership::watch::Watch;
use baileys_guard::store::Peer;

use super::database::{Answer, Incarnation, Request};
use super::rules::Wrong;
use super::units::{SLOW, TTL, span, tick};

/// What a process does one after another; different lanes go on side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Registration, beats and burials, on the connection of their own.
    Pulse,
    /// Claim and release of the agent, which the ledger's reservation keeps apart.
    Agent,
    /// Writes under the fence.
    Write,
    /// Giving back what was granted in vain.
    Stray,
}

/// A statement under way, and its answer on the way back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    pub from: Incarnation,
    pub lane: Lane,
    pub request: Request,
    /// By the sender's clock, where it matters.
    pub sent: u8,
    pub half_done: bool,
    pub answer: Option<Answer>,
    /// Somebody waits for the answer. What was given up may still be committed.
    pub awaited: bool,
}

impl Message {
    pub fn new(from: Incarnation, lane: Lane, request: Request, sent: u8) -> Self {
        Self { from, lane, request, sent, half_done: false, answer: None, awaited: true }
    }

    /// Whether it carries this counter of `peer`.
    pub fn remembers(&self, peer: Incarnation, beat: u8) -> bool {
        let shown = match &self.answer {
            Some(Answer::Beat { peers, .. }) => peers.contains(&(peer, beat)),
            _ => false,
        };
        shown || self.request == Request::Bury { peer, beat }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Term {
    pub id: Incarnation,
    /// When the latest good beat was sent.
    sent: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    number: u8,
    /// The local monotonic clock.
    pub clock: u8,
    /// Units since this clock last stood still for one.
    pub since_stall: u8,
    pub crashed: bool,
    pub term: Option<Term>,
    starts: u8,
    watch: Watch,
    /// It has asked how everybody is since its clock moved.
    looked: bool,
    seq: u8,
    /// The latest beat counted other leases than the ledger.
    pub differs: bool,
    /// What the ledger holds: the incarnation and the token.
    claim: Option<(Incarnation, u8)>,
}

impl Process {
    pub fn new(number: u8) -> Self {
        Self {
            number,
            clock: 0,
            since_stall: SLOW - 1,
            crashed: false,
            term: None,
            starts: 0,
            watch: Watch::default(),
            looked: false,
            seq: 0,
            differs: false,
            claim: None,
        }
    }

    /// The token under which it would act at this moment.
    pub fn trusts(&self, wrong: Option<Wrong>) -> Option<u8> {
        let term = self.term.as_ref()?;
        let (owner, token) = self.claim.filter(|_| !self.crashed)?;
        let holds = match wrong {
            Some(Wrong::NoDeadline) => true,
            Some(Wrong::NoMargin) => self.clock < term.sent + TTL,
            _ => window(&[term.sent]).holds(tick(self.clock)),
        };
        (owner == term.id && holds).then_some(token)
    }

    /// A claim whose window has closed, which the sentry or the next fenced call will find.
    pub fn has_expired(&self, wrong: Option<Wrong>) -> bool {
        self.claim.is_some() && self.trusts(wrong).is_none()
    }

    /// One unit of real time, in which a slow clock may have stood still.
    pub fn time_passes(&mut self, stands_still: bool) {
        if stands_still {
            self.since_stall = 0;
        } else {
            self.clock += 1;
            self.since_stall = (self.since_stall + 1).min(SLOW - 1);
            self.looked = false;
        }
    }

    /// What it remembers of the counter of `peer`.
    pub fn remembers(&self, peer: Incarnation) -> Option<u8> {
        let name = name(peer);
        let mut peers = self.watch.peers();
        peers.find(|seen| seen.incarnation == name).map(|seen| seen.beat as u8)
    }

    pub fn notice(&mut self) {
        self.claim = None;
    }

    pub fn holds_nothing(&self) -> bool {
        self.claim.is_none()
    }

    /// How often it may still start and claim.
    pub fn may_register(&self, most: u8) -> bool {
        self.term.is_none() && self.starts < most
    }

    pub fn may_claim(&self, most: u8, wrong: Option<Wrong>) -> bool {
        self.term.is_some() && self.seq < most && self.trusts(wrong).is_none()
    }

    /// One look in a unit of time shows all that there is to see.
    pub fn may_look(&self) -> bool {
        self.term.is_some() && !self.looked
    }

    /// Those whom its watch declares silent, with the counter that stood still.
    pub fn silent(&self, wrong: Option<Wrong>) -> Vec<(Incarnation, u8)> {
        let peers = match wrong {
            Some(Wrong::BurialByWallClock) => self.watch.peers().cloned().collect(),
            _ => self.watch.silent(tick(self.clock)),
        };
        peers.iter().map(|peer| (named(&peer.incarnation), peer.beat as u8)).collect()
    }

    /// The message that this request becomes.
    pub fn ask(&mut self, request: Request) -> Message {
        let lane = match request {
            Request::Register | Request::Beat | Request::Bury { .. } => Lane::Pulse,
            Request::Claim { .. } | Request::Release { .. } => Lane::Agent,
            Request::Write { .. } => Lane::Write,
        };
        let mut sent = 0;
        let mut from = self.term.as_ref().map(|term| term.id);
        match request {
            Request::Register => {
                from = Some(Incarnation(self.number, self.starts));
                self.starts += 1;
                sent = self.clock;
            }
            Request::Beat => {
                self.looked = true;
                sent = self.clock;
            }
            Request::Claim { .. } => {
                self.claim = None; // what is claimed again had expired
                self.seq += 1;
            }
            // Ended before the row is.
            Request::Release { .. } => self.claim = None,
            Request::Bury { .. } | Request::Write { .. } => {}
        }
        let from = from.expect("who asks has registered");
        Message::new(from, lane, request, sent)
    }

    pub fn next_seq(&self) -> u8 {
        self.seq + 1
    }

    /// Takes an answer in.
    pub fn hear(&mut self, wrong: Option<Wrong>, watches: bool, message: &Message) {
        let current = self.term.as_ref().is_some_and(|term| term.id == message.from);
        match *message.answer.as_ref().expect("it was answered") {
            Answer::Registered => {
                self.term = Some(Term { id: message.from, sent: message.sent });
            }
            Answer::Beat { alive, ref peers, held } => {
                if watches {
                    self.observe(wrong, message.sent, peers);
                }
                if !alive {
                    self.ended(message.from);
                } else if let Some(term) = self.term.as_mut().filter(|_| current) {
                    let late = wrong == Some(Wrong::TrustFromReceipt);
                    term.renewed(if late { self.clock } else { message.sent });
                    self.differs = held != self.claim.map(|(_, token)| token);
                }
            }
            Answer::Buried(true) => {
                if let Request::Bury { peer, .. } = message.request {
                    self.watch.forget(&name(peer));
                }
            }
            // A beat came first: look again.
            Answer::Buried(false) => self.looked = false,
            Answer::Claimed { alive: false, .. } => self.ended(message.from),
            Answer::Claimed { token: Some(token), .. } => self.claim = Some((message.from, token)),
            Answer::Written(false) => {
                if self.claim.is_some_and(|(_, token)| message.request == Request::Write { token })
                {
                    self.claim = None;
                }
            }
            Answer::Claimed { .. } | Answer::Released | Answer::Written(true) => {}
        }
    }

    /// No answer will come.
    pub fn give_up(&mut self, message: &Message) {
        if message.request == Request::Beat {
            self.watch.interrupted();
            self.looked = false;
        }
    }

    /// Compares the ledger with the token of the lease that is listed as its own. Returns what it
    /// does not know of.
    pub fn reconcile(&mut self, listed: Option<u8>) -> Option<u8> {
        self.differs = false;
        let known = self.claim.map(|(_, token)| token);
        if known.is_some() && known != listed {
            self.claim = None; // the row is gone, or another's
        }
        listed.filter(|_| known.is_none())
    }

    fn ended(&mut self, incarnation: Incarnation) {
        if self.term.as_ref().is_some_and(|term| term.id == incarnation) {
            self.term = None;
            self.differs = false;
        }
        if self.claim.is_some_and(|(owner, _)| owner == incarnation) {
            self.claim = None;
        }
    }

    fn observe(&mut self, wrong: Option<Wrong>, sent: u8, peers: &[(Incarnation, u8)]) {
        let ttl = if wrong == Some(Wrong::ImpatientWatch) { TTL / 2 } else { TTL };
        let at = if wrong == Some(Wrong::WatchFromAsking) { sent } else { self.clock };
        let peers = peers.iter().map(|(id, beat)| Peer {
            incarnation: name(*id),
            instance_id: String::new(),
            ttl: span(ttl),
            beat: i64::from(*beat),
            boot_id: None,
            lock_dir: None,
        });
        self.watch.observe(tick(at), peers.collect());
    }
}

impl Term {
    fn renewed(&mut self, sent: u8) {
        if window(&[self.sent, sent]).until() > window(&[self.sent]).until() {
            self.sent = sent;
        }
    }
}

/// The real window after these renewals.
fn window(sent: &[u8]) -> TrustWindow {
    let window = TrustWindow::new(span(TTL));
    sent.iter().for_each(|sent| window.renewed(tick(*sent)));
    window
}

fn name(id: Incarnation) -> String {
    format!("{}.{}", id.0, id.1)
}

fn named(name: &str) -> Incarnation {
    let (process, start) = name.split_once('.').expect("a name of ours");
    Incarnation(process.parse().expect("a number"), start.parse().expect("a number"))
}

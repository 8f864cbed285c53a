//! The database: what each statement decides, as `src/store/*/leases.rs` has it in SQL.
//!
//! One statement is one step. Nothing that was committed is lost again: crashes of the database
//! are for the chaos run.

use std::collections::BTreeMap;

use super::rules::Wrong;

/// Process and number of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u8, pub u8);

/// What is asked of the database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    Register,
    Beat,
    Bury { peer: Incarnation, beat: u8 },
    Claim { seq: u8 },
    Release { token: u8 },
    Write { token: u8 },
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    Registered,
    /// With the counters of the others and the token of the lease that the asker holds.
    Beat {
        alive: bool,
        peers: Vec<(Incarnation, u8)>,
        held: Option<u8>,
    },
    Buried(bool),
    /// The token, where granted.
    Claimed {
        alive: bool,
        token: Option<u8>,
    },
    Released,
    Written(bool),
}

/// What has come of a statement.
pub enum Outcome {
    Done(Answer),
    /// Only with a wrong rule: its first half has decided to go on.
    HalfDone,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Instance {
    beat: u8,
    /// By the wall clock; nobody may read it.
    beat_at: u8,
    dead: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Lease {
    owner: Incarnation,
    held: bool,
    token: u8,
    seq: u8,
}

/// What must never have happened, seen where it happens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A write was accepted after a newer token had been granted.
    pub stale_write: bool,
    /// A token was granted that is not higher than all before.
    pub token_came_back: bool,
    /// A release freed another term than its own.
    pub freed_another_term: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Database {
    instances: BTreeMap<Incarnation, Instance>,
    lease: Option<Lease>,
    highest: u8,
    pub faults: Faults,
}

impl Database {
    /// Runs one statement of `me`, at `wall` by the wall clock. `counter` is what a beat counts up
    /// to: a value that nobody has seen of this instance.
    pub fn run(
        &mut self,
        wrong: Option<Wrong>,
        me: Incarnation,
        request: &Request,
        half_done: bool,
        counter: u8,
        wall: u8,
    ) -> Outcome {
        let wall = if wrong == Some(Wrong::BurialByWallClock) { wall } else { 0 };
        Outcome::Done(match *request {
            Request::Register => {
                self.instances.entry(me).or_insert(Instance {
                    beat: counter,
                    beat_at: wall,
                    dead: false,
                });
                Answer::Registered
            }
            Request::Beat => self.beat(wrong, me, counter, wall),
            Request::Bury { peer, beat } => Answer::Buried(self.bury(wrong, peer, beat, wall)),
            Request::Claim { .. } if !self.alive(me) => {
                Answer::Claimed { alive: false, token: None }
            }
            Request::Claim { seq } => {
                let two_steps = wrong == Some(Wrong::ClaimInTwoSteps);
                let free = (two_steps && half_done) || self.free_for(wrong, me, seq);
                if free && two_steps && !half_done {
                    return Outcome::HalfDone;
                }
                let token = free.then(|| self.grant(wrong, me, seq));
                Answer::Claimed { alive: true, token }
            }
            Request::Release { token } => {
                self.release(wrong, me, token);
                Answer::Released
            }
            Request::Write { token } => {
                let before = wrong == Some(Wrong::FenceBeforeWrite);
                let accepted = (before && half_done) || self.fence_holds(wrong, me, token);
                if accepted && before && !half_done {
                    return Outcome::HalfDone;
                }
                self.faults.stale_write |= accepted && token < self.highest;
                Answer::Written(accepted)
            }
        })
    }

    /// Who holds the lease under which token, whether alive or not.
    pub fn holder(&self) -> Option<(Incarnation, u8)> {
        self.lease.as_ref().filter(|lease| lease.held).map(|lease| (lease.owner, lease.token))
    }

    /// Whether a claim of `me` with a number never used before would be granted.
    pub fn claimable(&self, wrong: Option<Wrong>, me: Incarnation) -> bool {
        self.alive(me) && self.free_for(wrong, me, u8::MAX)
    }

    pub fn alive(&self, incarnation: Incarnation) -> bool {
        self.instances.get(&incarnation).is_some_and(|row| !row.dead)
    }

    fn beat(&mut self, wrong: Option<Wrong>, me: Incarnation, counter: u8, wall: u8) -> Answer {
        let revives = wrong == Some(Wrong::BeatRevives);
        let mine = self.instances.get_mut(&me).filter(|row| revives || !row.dead);
        let alive = mine.is_some();
        if let Some(row) = mine {
            *row = Instance { beat: counter, beat_at: wall, dead: false };
        }
        let others = self.instances.iter().filter(|(id, row)| **id != me && !row.dead);
        let peers = others.map(|(id, row)| (*id, row.beat)).collect();
        let held = self.holder().filter(|(owner, _)| alive && *owner == me);
        Answer::Beat { alive, peers, held: held.map(|(_, token)| token) }
    }

    fn bury(&mut self, wrong: Option<Wrong>, peer: Incarnation, beat: u8, wall: u8) -> bool {
        let Some(row) = self.instances.get_mut(&peer).filter(|row| !row.dead) else { return false };
        row.dead = match wrong {
            Some(Wrong::BurialWithoutCompare) => true,
            Some(Wrong::BurialByWallClock) => wall - row.beat_at >= super::units::TTL,
            _ => row.beat == beat,
        };
        row.dead
    }

    fn free_for(&self, wrong: Option<Wrong>, me: Incarnation, seq: u8) -> bool {
        let Some(lease) = &self.lease else { return true };
        if lease.owner == me {
            return lease.seq < seq || wrong == Some(Wrong::ClaimIgnoresSequence);
        }
        let orphaned = !self.alive(lease.owner) && wrong != Some(Wrong::ClaimIgnoresDeath);
        !lease.held || orphaned || wrong == Some(Wrong::ClaimIgnoresOwner)
    }

    fn grant(&mut self, wrong: Option<Wrong>, me: Incarnation, seq: u8) -> u8 {
        let token = match &self.lease {
            None => 1,
            Some(lease) if wrong == Some(Wrong::TakeoverKeepsToken) => lease.token,
            Some(lease) => lease.token + 1,
        };
        self.faults.token_came_back |= token <= self.highest;
        self.highest = self.highest.max(token);
        self.lease = Some(Lease { owner: me, held: true, token, seq });
        token
    }

    fn release(&mut self, wrong: Option<Wrong>, me: Incarnation, token: u8) {
        let Some(lease) = self.lease.as_mut().filter(|lease| lease.held) else { return };
        let its_own = lease.owner == me && lease.token == token;
        if match wrong {
            Some(Wrong::ReleaseByAgent) => true,
            Some(Wrong::ReleaseByOwner) => lease.owner == me,
            _ => its_own,
        } {
            lease.held = false;
            self.faults.freed_another_term |= !its_own;
        }
    }

    fn fence_holds(&self, wrong: Option<Wrong>, me: Incarnation, token: u8) -> bool {
        match wrong {
            Some(Wrong::NoFence) => true,
            Some(Wrong::FenceWithoutToken) => self.holder().is_some_and(|(owner, _)| owner == me),
            _ => self.holder() == Some((me, token)),
        }
    }
}

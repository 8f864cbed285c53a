//! Who connects next: two lines, and the places in flight.
//!
//! Sessions that keep failing stand in a line of their own. Of four turns the other line has
//! three, and one place is never theirs, so that sessions that hang or fail hold up nobody else.
//! Within a line it is first come, first served.

use std::collections::BTreeMap;

use super::board::Id;

/// Failures in a row from which on a session stands in the other line.
const KEEPS_FAILING: u32 = 2;
/// Turns of the main line to one of the other.
const MAIN_TURNS: u32 = 3;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Sessions that connect for the first time, or lost a connection.
    Main,
    /// Sessions that keep failing.
    Failing,
}

/// Both lines and what is in flight.
#[derive(Debug)]
pub struct Lines {
    main: BTreeMap<u64, Id>,
    failing: BTreeMap<u64, Id>,
    next_place: u64,
    main_turns: u32,
    places: usize,
    in_flight: usize,
    failing_in_flight: usize,
}

impl Lines {
    /// Nobody in line; `places` may be in flight.
    pub fn new(places: usize) -> Self {
        Self {
            main: BTreeMap::new(),
            failing: BTreeMap::new(),
            next_place: 0,
            main_turns: 0,
            places: places.max(1),
            in_flight: 0,
            failing_in_flight: 0,
        }
    }

    /// The line, and the place at its end, for a session with so many failures in a row.
    pub fn place_for(&mut self, failures: u32) -> (Line, u64) {
        let place = self.next_place;
        self.next_place += 1;
        (if failures < KEEPS_FAILING { Line::Main } else { Line::Failing }, place)
    }

    /// Stands at a place.
    pub fn join(&mut self, line: Line, place: u64, id: Id) {
        self.queue(line).insert(place, id);
    }

    /// Gives the place up.
    pub fn leave(&mut self, line: Line, place: u64) {
        self.queue(line).remove(&place);
    }

    /// A session of this line began to connect.
    pub fn took_off(&mut self, line: Line) {
        self.in_flight += 1;
        self.failing_in_flight += usize::from(line == Line::Failing);
    }

    /// Its place in flight is free again.
    pub fn landed(&mut self, line: Line) {
        self.in_flight -= 1;
        self.failing_in_flight -= usize::from(line == Line::Failing);
    }

    /// The line whose turn it is, when there is a place in flight for it.
    pub fn next(&self) -> Option<Line> {
        if self.in_flight >= self.places {
            return None;
        }
        let failing_places = self.places.saturating_sub(1).max(1);
        let failing = !self.failing.is_empty() && self.failing_in_flight < failing_places;
        match (self.main.is_empty(), failing) {
            (true, false) => None,
            (true, true) => Some(Line::Failing),
            (false, true) if self.main_turns >= MAIN_TURNS => Some(Line::Failing),
            (false, _) => Some(Line::Main),
        }
    }

    /// Takes the first of the line whose turn it is.
    pub fn take(&mut self) -> Option<(Line, Id)> {
        let line = self.next()?;
        let (_, id) = self.queue(line).pop_first()?;
        self.main_turns = if line == Line::Main { self.main_turns + 1 } else { 0 };
        Some((line, id))
    }

    /// How many stand in line.
    pub fn in_line(&self) -> usize {
        self.main.len() + self.failing.len()
    }

    fn queue(&mut self, line: Line) -> &mut BTreeMap<u64, Id> {
        match line {
            Line::Main => &mut self.main,
            Line::Failing => &mut self.failing,
        }
    }
}

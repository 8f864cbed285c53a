//! Ten minutes in which WhatsApp misbehaves, in paused time, with 200 sessions.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::backoff::Curve;
use super::super::pace::Pace;
use super::super::policy::Rules;
use super::super::reason::Reason;
use super::*;

const SESSIONS: usize = 200;
const PER_SECOND: f64 = 20.0;
const MAX_DELAY: Duration = Duration::from_secs(30);

struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Tick {
        Tick::from_start(Duration::from_secs(1_000) + self.0.elapsed())
    }
}

/// What the endpoint does to a connect.
#[derive(Clone, Copy, PartialEq)]
enum Endpoint {
    Refuses,
    DropsAfterOpen,
    StaysSilent,
    Works,
}

struct Run {
    scheduler: Scheduler,
    calls: mpsc::UnboundedReceiver<Call>,
    started: Instant,
    /// Moments of the connects of each session.
    connects: HashMap<String, Vec<Duration>>,
    up: BTreeMap<String, Duration>,
}

impl Run {
    fn new() -> Self {
        let curve =
            Curve { initial: Duration::from_secs(1), max: MAX_DELAY, multiplier: 2.0, jitter: 0.5 };
        let stable_after = Duration::from_secs(60);
        let rules = Rules { curve, max_attempts: u32::MAX, stable_after };
        let pace = Pace::new(PER_SECOND, NonZeroU32::MIN);
        let board = Board::new(rules, Duration::from_secs(60), SESSIONS, pace, || 0.3);
        let (tell, calls) = mpsc::unbounded_channel();
        let scheduler = Scheduler::new(board, Arc::new(TokioClock(Instant::now())), tell);
        for n in 0..SESSIONS {
            scheduler
                .with(|board, now| board.schedule(&format!("{n}").into(), now, Duration::ZERO));
        }
        let (connects, up) = (HashMap::new(), BTreeMap::new());
        Self { scheduler, calls, started: Instant::now(), connects, up }
    }

    async fn goes_on_for(&mut self, time: Duration, endpoint: Endpoint) {
        let end = Instant::now() + time;
        while let Ok(call) = tokio::time::timeout_at(end, self.calls.recv()).await {
            let (id, turn) = match call.expect("the scheduler runs") {
                Call::Turn { id, turn, .. } => (id, turn),
                Call::TimedOut { id, turn } => {
                    self.scheduler.with(|board, tick| board.timed_out(&id, turn, tick));
                    continue;
                }
                Call::Stable { .. } => continue,
            };
            let now = self.started.elapsed();
            self.connects.entry(id.to_string()).or_default().push(now);
            self.scheduler.with(|board, tick| board.recall(&id, turn, None, tick));
            self.scheduler.with(|board, tick| match endpoint {
                Endpoint::Refuses => {
                    board.disconnected(&id, Reason::UnavailableService, true, tick);
                }
                Endpoint::DropsAfterOpen => {
                    board.opened(&id, turn);
                    board.connected(&id, tick);
                    board.disconnected(&id, Reason::ConnectionClosed, true, tick);
                }
                Endpoint::StaysSilent => board.opened(&id, turn),
                Endpoint::Works => {
                    board.connected(&id, tick);
                    self.up.insert(id.to_string(), now);
                }
            });
        }
    }

    fn busiest_second(&self) -> usize {
        let mut moments: Vec<_> = self.connects.values().flatten().copied().collect();
        moments.sort();
        let within = |from: usize| {
            let end = moments[from] + Duration::from_millis(999);
            moments[from..].iter().take_while(|moment| **moment <= end).count()
        };
        (0..moments.len()).map(within).max().unwrap_or(0)
    }
}

async fn ten_bad_minutes(endpoint: Endpoint, most_attempts: usize) {
    let mut run = Run::new();
    run.goes_on_for(Duration::from_secs(600), endpoint).await;
    let attempts: Vec<usize> = run.connects.values().map(Vec::len).collect();
    assert_eq!(attempts.len(), SESSIONS);
    for (session, connects) in &run.connects {
        assert!(connects.len() <= most_attempts, "{session}: {} attempts", connects.len());
        // From the seventh on each wait is at least half the cap.
        for two in connects.windows(2).skip(6) {
            assert!(two[1] - two[0] >= MAX_DELAY / 2, "{session}: {:?}", two[1] - two[0]);
        }
    }
    let healed = run.started.elapsed();
    run.connects.clear();
    // A connect that hangs in silence still has its minute to come to an end.
    let hanging = if endpoint == Endpoint::StaysSilent { 60 } else { 0 };
    let time = MAX_DELAY + Duration::from_secs(hanging) + Duration::from_secs(1);
    run.goes_on_for(time, Endpoint::Works).await;
    assert_eq!(run.up.len(), SESSIONS, "all are up {time:?} after {healed:?}");
    assert!(run.busiest_second() <= PER_SECOND as usize, "{} a second", run.busiest_second());
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_503() {
    ten_bad_minutes(Endpoint::Refuses, 36).await;
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_connections_that_open_and_drop() {
    ten_bad_minutes(Endpoint::DropsAfterOpen, 36).await;
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_silence() {
    ten_bad_minutes(Endpoint::StaysSilent, 12).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sooner_wakes_the_timer() {
    let mut run = Run::new();
    run.goes_on_for(Duration::from_secs(20), Endpoint::Works).await;
    let id: super::super::board::Id = "new".into();
    run.scheduler.with(|board, now| board.schedule(&id, now, Duration::from_secs(3600)));
    run.scheduler.with(|board, now| board.schedule(&id, now, Duration::from_millis(50)));
    run.goes_on_for(Duration::from_millis(60), Endpoint::Works).await;
    assert!(run.up.contains_key("new"));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_called_after_stop() {
    let mut run = Run::new();
    run.scheduler.stop();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // At most what was on its way already, and then the end.
    let mut turns = 0;
    while run.calls.recv().await.is_some() {
        turns += 1;
    }
    assert!(turns <= 1, "{turns} turns after stop");
}

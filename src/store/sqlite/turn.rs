//! How writers of several processes take turns at one file.
//!
//! SQLite has no queue between processes: who waits looks again now and then, and SQLite's own
//! busy handler soon looks every 100 ms only. A process that writes without a pause leaves the
//! lock free for fractions of a millisecond, and would starve another one's heartbeat. So whoever
//! waits looks often, and whoever writes on and on pauses for longer than the time between looks.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

/// Time between two looks at a lock that another process has.
pub(super) const LOOK: Duration = Duration::from_millis(1);
/// Long enough for the others' next look.
const PAUSE: Duration = Duration::from_millis(4);
/// How long a process may write without a pause.
const STRETCH: Duration = Duration::from_millis(40);

/// When this process has written.
#[derive(Default)]
pub(super) struct Pace {
    /// Since when it has written without a pause …
    since: Option<Instant>,
    /// … and its last write ended.
    ended: Option<Instant>,
}

/// The right of one writer of this process to write.
pub(super) struct Turn<'a>(MutexGuard<'a, Pace>);

impl<'a> Turn<'a> {
    /// Waits for it, and for a while longer when it is time to let other processes write.
    pub(super) async fn take(pace: &'a Mutex<Pace>) -> Self {
        let mut turn = Self(pace.lock().await);
        let now = Instant::now();
        let paused = turn.0.ended.is_none_or(|ended| now - ended >= PAUSE);
        match turn.0.since {
            Some(since) if !paused && now - since < STRETCH => {}
            Some(_) if !paused => {
                sleep(PAUSE).await;
                turn.0.since = Some(Instant::now());
            }
            _ => turn.0.since = Some(now),
        }
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.ended = Some(Instant::now());
    }
}

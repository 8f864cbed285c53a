//! The feed of hints. SQLite tells nobody anything, so this looks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::Connections;
use super::failure::Failure;
use crate::store::Changes;

/// How often to ask whether anybody committed, which reads a counter in shared memory.
const LOOK: Duration = Duration::from_millis(100);
/// How long to stay quiet at most.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause after a failure.
const MEND: Duration = Duration::from_secs(1);

/// Watches one file for agents that became free.
pub(super) struct Watch {
    db: Arc<Connections>,
    connection: Option<SqliteConnection>,
    seen: Seen,
    next_look: Instant,
}

/// What was there at the last look.
#[derive(Default, Clone, Copy, PartialEq)]
struct Seen {
    /// Grows with every commit of another connection.
    version: i64,
    /// Incarnations that died.
    dead: i64,
    /// Leases that were released …
    released: i64,
    /// … and which, for one may be released while another is claimed. Agents that were claimed
    /// together have one token, so the row counts too; squares keep two pairs of rows with equal
    /// sums apart.
    which: i64,
}

impl Watch {
    /// Looks once, so that whatever comes later is a change.
    pub(super) async fn open(db: Arc<Connections>) -> Result<Self, Failure> {
        let mut connection = db.connect().await?;
        let seen = look(&mut connection, Seen::default()).await?;
        Ok(Self { db, connection: Some(connection), seen, next_look: Instant::now() + LOOK })
    }

    async fn differs(&mut self) -> Result<bool, Failure> {
        self.db.check().await?;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(self.db.connect().await?),
        };
        let seen = look(connection, self.seen).await?;
        let differs = (seen.dead, seen.released, seen.which)
            != (self.seen.dead, self.seen.released, self.seen.which);
        self.seen = seen;
        Ok(differs)
    }
}

/// Reads the cheap counter and, where that moved, what it may have been about: most commits are
/// beats and credentials.
async fn look(connection: &mut SqliteConnection, before: Seen) -> Result<Seen, Failure> {
    let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut *connection).await?;
    if version == before.version {
        return Ok(before);
    }
    let freed = sqlx::query_as(
        "SELECT (SELECT count(*) FROM baileys_guard_instance WHERE dead_at IS NOT NULL),
                count(*), coalesce(sum((x * x >> 16) & 0xffffffff), 0)
           FROM (SELECT (token + rowid * 40503) & 0x7fffffff AS x
                   FROM baileys_guard_lease WHERE held = 0)",
    );
    let (dead, released, which) = freed.fetch_one(connection).await?;
    Ok(Seen { version, dead, released, which })
}

#[async_trait]
impl Changes for Watch {
    async fn changed(&mut self) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            sleep_until(self.next_look).await;
            self.next_look = Instant::now() + LOOK;
            match self.differs().await {
                Ok(false) => {}
                Ok(true) => return,
                Err(_) => {
                    // The file may have been replaced or the store closed; the reader's own
                    // calls tell which.
                    self.connection = None;
                    self.seen = Seen::default();
                    sleep(MEND).await;
                    return;
                }
            }
        }
    }
}

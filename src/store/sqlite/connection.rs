//! The connections to one file, and who may write when.
//!
//! SQLite has one writer at a time, over all processes. A write is therefore always one
//! `BEGIN IMMEDIATE` transaction: a deferred one that turns from reading to writing fails with
//! `SQLITE_BUSY_SNAPSHOT`, however long it would wait. Inside a process writers queue, and the
//! heartbeat overtakes the queue. Processes take turns (see `turn`).

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::{Instant, sleep};

use super::failure::{Failure, is_busy};
use super::turn::{LOOK, Pace, Turn};
use crate::metrics::PoolState;

/// How long a writer waits for another process's lock, and SQLite itself for whatever else.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two tries to switch a new file to WAL, which the busy handler does not cover.
const WAL_RETRY: Duration = Duration::from_millis(20);

/// What the first call finds.
struct Opened {
    readers: SqlitePool,
    writer: SqlitePool,
    heartbeat: SqlitePool,
    identity: Option<Identity>,
}

/// Device and inode of a file.
type Identity = (u64, u64);

/// Everything that is open on one database file.
pub(super) struct Connections {
    /// Absolute, so that a later `chdir` of the host does not lead elsewhere.
    path: PathBuf,
    max_connections: u32,
    call_timeout: Duration,
    opened: OnceCell<Opened>,
    /// Writers of this process stand here …
    queue: Mutex<()>,
    /// … and one of them, or the heartbeat, is at it.
    turn: Mutex<Pace>,
    closed: AtomicBool,
}

impl Connections {
    /// Opens nothing yet.
    pub(super) fn new(path: PathBuf, max_connections: u32, call_timeout: Duration) -> Self {
        Self {
            path,
            max_connections: max_connections.max(1),
            call_timeout,
            opened: OnceCell::new(),
            queue: Mutex::new(()),
            turn: Mutex::new(Pace::default()),
            closed: AtomicBool::new(false),
        }
    }

    /// How long a call may take.
    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Fails where a new call would: the store is closed, or its file is another one.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.opened().await.map(drop)
    }

    /// A connection of the pool, for reading.
    pub(super) async fn reader(&self) -> Result<PoolConnection<Sqlite>, Failure> {
        Ok(self.opened().await?.readers.acquire().await?)
    }

    /// For writing after all who came before.
    pub(super) async fn writer(&self) -> Result<Writer<'_>, Failure> {
        let pool = &self.opened().await?.writer;
        let queue = self.queue.lock().await;
        Ok(Writer { db: self, pool, _queue: Some(queue) })
    }

    /// For the heartbeat, which does not queue.
    pub(super) async fn heartbeat(&self) -> Result<Writer<'_>, Failure> {
        Ok(Writer { db: self, pool: &self.opened().await?.heartbeat, _queue: None })
    }

    /// For the heartbeat to read, past an application that keeps all readers busy.
    pub(super) async fn heartbeat_reader(&self) -> Result<PoolConnection<Sqlite>, Failure> {
        Ok(self.opened().await?.heartbeat.acquire().await?)
    }

    /// A connection of one's own.
    pub(super) async fn connect(&self) -> Result<SqliteConnection, Failure> {
        self.check().await?;
        Ok(self.options().connect().await?)
    }

    /// Readers and the writer together.
    pub(super) fn pool_state(&self) -> PoolState {
        let mut state = PoolState { max: self.max_connections + 1, ..PoolState::default() };
        if let Some(Opened { readers, writer, .. }) = self.opened.get() {
            for pool in [readers, writer] {
                state.size += pool.size();
                state.idle += (pool.num_idle() as u32).min(pool.size());
            }
        }
        state
    }

    /// Whether [`close`](Self::close) was called.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Closes all; whoever waits for a connection is told at once.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let Some(Opened { readers, writer, heartbeat, .. }) = self.opened.get() else { return };
        // A call in flight keeps its connection until its own time is up.
        let close = async { tokio::join!(readers.close(), writer.close(), heartbeat.close()) };
        let _ = tokio::time::timeout(self.call_timeout, close).await;
    }

    async fn opened(&self) -> Result<&Opened, Failure> {
        let opened = self.opened.get_or_try_init(|| self.open()).await?;
        if self.is_closed() {
            return Err(sqlx::Error::PoolClosed.into());
        }
        // Open connections outlive the file: an instance whose file was deleted or restored
        // would keep its claims in a file that nobody else sees.
        if opened.identity != identity(&self.path) {
            return Err(Failure::Replaced);
        }
        Ok(opened)
    }

    async fn open(&self) -> Result<Opened, Failure> {
        if self.is_closed() {
            return Err(sqlx::Error::PoolClosed.into());
        }
        create(&self.path).map_err(Failure::Create)?;
        let identity = identity(&self.path);
        use_wal(&self.options(), self.call_timeout).await?;
        // One that gives up its connection in the middle of a statement does not stop the next.
        let heartbeat = self.pool(2, true);
        Ok(Opened {
            readers: self.pool(self.max_connections, false),
            writer: self.pool(1, true),
            heartbeat,
            identity,
        })
    }

    /// With `impatient`, its connections do not wait for a lock: `Writer::begin` does.
    fn pool(&self, connections: u32, impatient: bool) -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(self.call_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            // A local file has no connection that dies quietly.
            .test_before_acquire(false)
            // After a rollback that SQLite did by itself (disk full, a host's RAISE(ROLLBACK))
            // the driver still counts a transaction and would refuse to begin another.
            .before_acquire(|connection, _| {
                let fit = !connection.is_in_transaction();
                Box::pin(async move { Ok(fit) })
            })
            // Only now: to open a file that somebody is recovering is worth a wait.
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if impatient {
                        sqlx::query("PRAGMA busy_timeout = 0").execute(connection).await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with(self.options())
    }

    /// A call that gave up shall not leave its connection waiting for long.
    fn patience(&self) -> Duration {
        BUSY_TIMEOUT.min(self.call_timeout)
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            // Whoever deletes the file under a running instance gets an error, not an empty one.
            .create_if_missing(false)
            .busy_timeout(self.patience())
            .foreign_keys(true)
            // A power cut may lose neither a claim nor the Signal keys of a session.
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging()
    }
}

/// Makes the file, readable by nobody else, for it will hold credentials. Never its folder: where
/// that is missing, a volume is not mounted, and an empty database in its place would let two
/// servers own the same agents.
fn create(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Which file stands at the path; elsewhere than on Unix an open file cannot be replaced.
fn identity(path: &Path) -> Option<Identity> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Switches the file to write-ahead logging, where readers and the writer do not block each
/// other. The mode stays with the file, so this writes only once in its life.
async fn use_wal(options: &SqliteConnectOptions, patience: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    let mut connection = options.connect().await?;
    let mode: String = loop {
        let answer = sqlx::query_scalar("PRAGMA journal_mode = WAL").fetch_one(&mut connection);
        match answer.await {
            // Somebody writes in the old mode, or does the same as we.
            Err(error) if is_busy(&error) && Instant::now() < deadline => sleep(WAL_RETRY).await,
            answer => break answer?,
        }
    };
    connection.close().await?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    Err(Failure::NoWal(mode))
}

/// Somebody who may write.
pub(super) struct Writer<'a> {
    db: &'a Connections,
    pool: &'a SqlitePool,
    _queue: Option<MutexGuard<'a, ()>>,
}

impl Writer<'_> {
    /// Begins the transaction. A future that is dropped here leaves no transaction open: the
    /// driver rolls back what was begun for nobody.
    pub(super) async fn begin(&mut self) -> Result<Writing<'_>, Failure> {
        let turn = Turn::take(&self.db.turn).await;
        let deadline = Instant::now() + self.db.patience();
        loop {
            match self.pool.begin_with("BEGIN IMMEDIATE").await {
                Ok(tx) => return Ok(Writing { tx, _turn: turn }),
                Err(error) if is_busy(&error) && Instant::now() < deadline => sleep(LOOK).await,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A write transaction. Dropped without a commit, it is rolled back.
pub(super) struct Writing<'a> {
    // Fields drop in this order: the next writer's turn comes after the rollback was sent.
    tx: Transaction<'static, Sqlite>,
    _turn: Turn<'a>,
}

impl Writing<'_> {
    /// Makes it lasting.
    pub(super) async fn commit(self) -> Result<(), Failure> {
        Ok(self.tx.commit().await?)
    }
}

impl Deref for Writing<'_> {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        &self.tx
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }
}

//! The connections to one file, and who may write when.
//!
//! SQLite has one writer at a time, over all processes. A write is therefore always one
//! `BEGIN IMMEDIATE` transaction: a deferred one that turns from reading to writing fails with
//! `SQLITE_BUSY_SNAPSHOT`, however long it would wait. Processes wait for each other in SQLite's
//! busy handler, which sleeps and looks again; inside a process writers queue, so that they do
//! not sleep beside a lock that is free. The heartbeat overtakes the queue.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Mutex as SyncMutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::{Instant, sleep};

use super::failure::{Failure, is_busy};

/// How long SQLite waits for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two tries to switch a new file to WAL, which the busy handler does not cover.
const WAL_RETRY: Duration = Duration::from_millis(20);

/// What the first call finds.
struct Opened {
    pool: SqlitePool,
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
    turn: Mutex<()>,
    heartbeat: SyncMutex<Option<Box<SqliteConnection>>>,
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
            turn: Mutex::new(()),
            heartbeat: SyncMutex::new(None),
            closed: AtomicBool::new(false),
        }
    }

    /// How long a call may take.
    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Fails where a new call would: the store is closed, or its file is another one.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.pool().await.map(drop)
    }

    /// A connection of the pool, for reading.
    pub(super) async fn reader(&self) -> Result<PoolConnection<Sqlite>, Failure> {
        Ok(self.pool().await?.acquire().await?)
    }

    /// A connection of the pool, for writing after all who came before.
    pub(super) async fn writer(&self) -> Result<Writer<'_, PoolConnection<Sqlite>>, Failure> {
        let queue = self.queue.lock().await;
        let connection = self.reader().await?;
        Ok(Writer { connection, turn: &self.turn, _queue: Some(queue) })
    }

    /// The heartbeat's connection, or a new one while another call has it. Does not queue.
    ///
    /// A future that is dropped while it holds the connection drops the connection with it: what
    /// that was waiting for stays its own affair, and the next beat starts afresh.
    pub(super) async fn heartbeat(&self) -> Result<Writer<'_, Box<SqliteConnection>>, Failure> {
        self.check().await?;
        let parked = self.parked().take();
        let connection = match parked {
            Some(connection) => connection,
            None => Box::new(self.connect().await?),
        };
        Ok(Writer { connection, turn: &self.turn, _queue: None })
    }

    /// Keeps the heartbeat's connection, on which all went well, for the next beat.
    pub(super) fn park(&self, heartbeat: Writer<'_, Box<SqliteConnection>>) {
        if !self.is_closed() {
            *self.parked() = Some(heartbeat.connection);
        }
    }

    fn parked(&self) -> std::sync::MutexGuard<'_, Option<Box<SqliteConnection>>> {
        self.heartbeat.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A connection of one's own.
    pub(super) async fn connect(&self) -> Result<SqliteConnection, Failure> {
        self.check().await?;
        Ok(self.options().connect().await?)
    }

    /// Whether [`close`](Self::close) was called.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Closes all; whoever waits for a connection is told at once.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let parked = self.parked().take();
        if let Some(heartbeat) = parked {
            let _ = heartbeat.close().await;
        }
        if let Some(opened) = self.opened.get() {
            // A call in flight keeps its connection until its own time is up.
            let _ = tokio::time::timeout(self.call_timeout, opened.pool.close()).await;
        }
    }

    async fn pool(&self) -> Result<&SqlitePool, Failure> {
        let opened = self.opened.get_or_try_init(|| self.open()).await?;
        if self.is_closed() {
            return Err(sqlx::Error::PoolClosed.into());
        }
        // Open connections outlive the file: an instance whose file was deleted or restored
        // would keep its claims in a file that nobody else sees.
        if opened.identity != identity(&self.path) {
            return Err(Failure::Replaced);
        }
        Ok(&opened.pool)
    }

    async fn open(&self) -> Result<Opened, Failure> {
        if self.is_closed() {
            return Err(sqlx::Error::PoolClosed.into());
        }
        create(&self.path).map_err(Failure::Create)?;
        let identity = identity(&self.path);
        // A call that gave up shall not leave its connection waiting for long.
        let options = self.options().busy_timeout(BUSY_TIMEOUT.min(self.call_timeout));
        use_wal(&options, self.call_timeout).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(self.max_connections)
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
            .connect_lazy_with(options);
        Ok(Opened { pool, identity })
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            // Whoever deletes the file under a running instance gets an error, not an empty one.
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            // A power cut may lose neither a claim nor the Signal keys of a session.
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging()
    }
}

/// Makes the file, readable by nobody else, for it will hold credentials.
fn create(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
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

/// Somebody who may write, with a connection.
pub(super) struct Writer<'a, C> {
    connection: C,
    turn: &'a Mutex<()>,
    _queue: Option<MutexGuard<'a, ()>>,
}

impl<C: DerefMut<Target = SqliteConnection>> Writer<'_, C> {
    /// Begins the transaction. The turn comes after the connection: a pool that is exhausted
    /// keeps a writer waiting, and never the heartbeat behind it.
    pub(super) async fn begin(&mut self) -> Result<Writing<'_>, Failure> {
        let turn = self.turn.lock().await;
        let tx = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Writing { tx, _turn: turn })
    }
}

impl<C: DerefMut<Target = SqliteConnection>> Deref for Writer<'_, C> {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl<C: DerefMut<Target = SqliteConnection>> DerefMut for Writer<'_, C> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

/// A write transaction. Dropped without a commit, it is rolled back.
pub(super) struct Writing<'a> {
    // Fields drop in this order: the next writer's turn comes after the rollback was sent.
    tx: Transaction<'a, Sqlite>,
    _turn: MutexGuard<'a, ()>,
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

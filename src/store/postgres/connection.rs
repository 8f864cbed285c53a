//! Connections, and the one way in which every statement runs.
//!
//! A pool serves the calls; the heartbeat has a connection of its own. A statement that was not
//! answered in time takes its connection with it: what would still arrive on it belongs to
//! nobody. Behind a transaction-mode pooler every statement is wrapped in BEGIN … COMMIT and
//! nothing is prepared by name (see `pooler`).
//!
//! What our statements rely on is set by us, whatever the server's, the database's or the role's
//! defaults are: in the start-up packet, or behind a pooler in each transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Row, SqlSafeStr, SqlStr};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;

use super::failure::{Failure, is_gone, is_stale, is_victim, timed_out};
use super::pooler;
use super::url::Target;
use crate::error::Result;
use crate::metrics::PoolState;

/// How long a call waits for a free connection of the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Times that a statement is tried which deadlocks undo, and the pause in between.
const DEADLOCK_TRIES: u32 = 4;
const AFTER_DEADLOCK: Duration = Duration::from_millis(50);
/// A connection idle for longer is asked whether it still lives before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// How long its answer may take. A firewall that forgot the connection would let us wait minutes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// A statement: fixed text, or text made of fixed parts and column types.
#[derive(Debug, Clone)]
pub(super) struct Sql(SqlStr);

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self(text.into_sql_str())
    }
}

impl Sql {
    /// Text put together from our own parts and the types that PostgreSQL named for columns of
    /// the host's table. Never from anything a caller passed in.
    pub(super) fn assembled(text: String) -> Self {
        Self(AssertSqlSafe(text).into_sql_str())
    }
}

/// The heartbeat's own connection, and the backend that it met.
struct Heartbeat {
    connection: PgConnection,
    backend: Option<i32>,
}

/// All connections of one store.
pub(super) struct Connections {
    /// As the URL has them.
    options: PgConnectOptions,
    /// Opens the transaction around each statement behind a pooler.
    begin: Arc<str>,
    max_connections: u32,
    call_timeout: Duration,
    /// Whether a transaction-mode pooler is in between; once true it stays so.
    pooled: AtomicBool,
    found_out: OnceCell<()>,
    pool: RwLock<Option<PgPool>>,
    heartbeat: Mutex<Option<Heartbeat>>,
    closed: AtomicBool,
}

impl Connections {
    pub(super) fn new(url: &str, max_connections: u32, call_timeout: Duration) -> Result<Self> {
        let Target { options, pooler } = Target::parse(url)?;
        Ok(Self {
            begin: begin(call_timeout).into(),
            options,
            max_connections,
            call_timeout,
            pooled: AtomicBool::new(pooler),
            found_out: OnceCell::new(),
            pool: RwLock::default(),
            heartbeat: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.pooled.load(Ordering::SeqCst)
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        let options = self.options.clone();
        if self.is_pooled() {
            options.statement_cache_capacity(0)
        } else {
            options.options(settings(self.call_timeout))
        }
    }

    /// What a statement is wrapped in now.
    fn begin(&self) -> Option<&Arc<str>> {
        self.is_pooled().then_some(&self.begin)
    }

    /// Runs one statement on a connection of the pool.
    pub(super) async fn run(
        &self,
        sql: impl Into<Sql>,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, Failure> {
        self.within(self.run_once(sql.into(), arguments)).await
    }

    /// Runs one statement that may be carried out twice: on a fresh connection when the first
    /// one turns out to be dead, as all of a pool are after a restart of the server, and again after
    /// a deadlock with somebody who locks in another order.
    pub(super) async fn run_again(
        &self,
        sql: impl Into<Sql>,
        arguments: impl Fn() -> PgArguments,
    ) -> Result<Vec<PgRow>, Failure> {
        let sql = sql.into();
        self.within(async {
            match self.run_through(sql.clone(), &arguments).await {
                // The others of the pool are no better.
                Err(Failure::Sqlx(error)) if is_stale(&error) => {
                    self.run_fresh(sql, arguments()).await
                }
                answer => answer,
            }
        })
        .await
    }

    /// Runs one statement under a fence: again only after what has undone it. A copy that arrives
    /// late must not find the fence that the next write has (`ownership::writing`).
    pub(super) async fn run_fenced(
        &self,
        sql: impl Into<Sql>,
        arguments: impl Fn() -> PgArguments,
    ) -> Result<Vec<PgRow>, Failure> {
        self.within(self.run_through(sql.into(), &arguments)).await
    }

    async fn run_through(
        &self,
        sql: Sql,
        arguments: &impl Fn() -> PgArguments,
    ) -> Result<Vec<PgRow>, Failure> {
        for _ in 1..DEADLOCK_TRIES {
            match self.run_once(sql.clone(), arguments()).await {
                // Not at once: the other one has waited for longer.
                Err(Failure::Sqlx(error)) if is_victim(&error) => {
                    tokio::time::sleep(AFTER_DEADLOCK).await;
                }
                answer => return answer,
            }
        }
        self.run_once(sql, arguments()).await
    }

    async fn run_once(&self, sql: Sql, arguments: PgArguments) -> Result<Vec<PgRow>, Failure> {
        let mut connection = self.acquire().await?;
        let answer = run_on(connection.get(), self.begin(), sql, arguments).await;
        connection.give_back(&answer);
        Ok(answer?)
    }

    async fn run_fresh(&self, sql: Sql, arguments: PgArguments) -> Result<Vec<PgRow>, Failure> {
        let mut fresh = self.connect().await?;
        let rows = run_on(&mut fresh, self.begin(), sql, arguments).await?;
        fresh.close().await.ok();
        Ok(rows)
    }

    /// Runs one statement on the heartbeat's connection, which is made anew when it is dead. The
    /// caller bounds it; a call that is dropped takes the connection with it.
    pub(super) async fn run_heartbeat(
        &self,
        sql: &'static str,
        arguments: impl Fn() -> PgArguments,
    ) -> Result<Vec<PgRow>, Failure> {
        self.find_out().await?;
        let mut slot = self.heartbeat.lock().await;
        let mut fresh = slot.is_none();
        let (rows, unsteady) = loop {
            let mut heartbeat = match slot.take() {
                Some(heartbeat) => heartbeat,
                None => Heartbeat {
                    connection: PgConnection::connect_with(&self.options()).await?,
                    backend: None,
                },
            };
            let connection = &mut heartbeat.connection;
            match run_on(connection, self.begin(), sql.into(), arguments()).await {
                Err(error) if is_stale(&error) && !fresh => fresh = true,
                Err(error) if is_gone(&error) => return Err(error.into()),
                Err(error) => {
                    *slot = Some(heartbeat);
                    return Err(error.into());
                }
                Ok(rows) => {
                    let unsteady = heartbeat.met(&rows);
                    *slot = Some(heartbeat);
                    break (rows, unsteady);
                }
            }
        };
        drop(slot);
        if unsteady {
            self.discovered_pooler().await;
        }
        Ok(rows)
    }

    /// A connection of its own for the long work of migrations.
    pub(super) async fn connect(&self) -> Result<PgConnection, Failure> {
        self.within(async {
            self.find_out().await?;
            Ok(PgConnection::connect_with(&self.options()).await?)
        })
        .await
    }

    /// A connection met two backends: from now on nothing may rely on keeping one.
    async fn discovered_pooler(&self) {
        if self.pooled.swap(true, Ordering::SeqCst) {
            return;
        }
        let pool = self.pool.write().unwrap_or_else(PoisonError::into_inner).take();
        self.heartbeat.lock().await.take();
        if let Some(pool) = pool {
            // Its connections have statements prepared by name; callers finish with them.
            tokio::spawn(async move { pool.close().await });
        }
    }

    pub(super) fn pool_state(&self) -> PoolState {
        let pool = self.pool.read().unwrap_or_else(PoisonError::into_inner);
        let (size, idle) = pool.as_ref().map_or((0, 0), |pool| (pool.size(), pool.num_idle()));
        PoolState { size, idle: (idle as u32).min(size), max: self.max_connections }
    }

    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let pool = self.pool.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pool) = pool {
            pool.close().await;
        }
        if let Some(heartbeat) = self.heartbeat.lock().await.take() {
            let _ = heartbeat.connection.close().await;
        }
    }

    /// The pool waits for a server that is starting, and then says only that it waited. What a
    /// connection of our own meets is the reason.
    async fn acquire(&self) -> Result<Borrowed, Failure> {
        let pool = self.pool().await?;
        match pool.acquire().await {
            Err(sqlx::Error::PoolTimedOut) if pool.size() < self.max_connections => {
                self.connect().await?.close().await.ok();
                Err(sqlx::Error::PoolTimedOut.into())
            }
            connection => Ok(Borrowed(Some(connection?))),
        }
    }

    async fn pool(&self) -> Result<PgPool, Failure> {
        self.open()?;
        self.find_out().await?;
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        let pool = pool.get_or_insert_with(|| {
            PgPoolOptions::new()
                .max_connections(self.max_connections)
                .acquire_timeout(ACQUIRE_TIMEOUT.min(self.call_timeout))
                .test_before_acquire(false)
                .before_acquire(|connection, meta| {
                    Box::pin(async move {
                        if meta.idle_for > TRUSTED_IDLE {
                            let sign = timeout(SIGN_OF_LIFE, connection.ping()).await;
                            sign.unwrap_or_else(|_| Err(timed_out(SIGN_OF_LIFE)))?;
                        }
                        Ok(true)
                    })
                })
                .connect_lazy_with(self.options())
        });
        Ok(pool.clone())
    }

    /// Learns what stands between, once; nothing runs before.
    pub(super) async fn find_out(&self) -> Result<(), Failure> {
        self.open()?;
        let find_out = async || {
            if !self.is_pooled() && pooler::is_there(&self.options).await? {
                self.pooled.store(true, Ordering::SeqCst);
            }
            Ok::<_, Failure>(())
        };
        self.found_out.get_or_try_init(find_out).await?;
        Ok(())
    }

    fn open(&self) -> Result<(), Failure> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(sqlx::Error::PoolClosed.into());
        }
        Ok(())
    }

    /// Bounds what a server that answers nothing would keep waiting for ever, and with it all who
    /// wait for the same discovery.
    pub(super) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        timeout(self.call_timeout, call)
            .await
            .unwrap_or_else(|_| Err(timed_out(self.call_timeout).into()))
    }
}

/// What a session is set to.
///
/// - At the levels above READ COMMITTED a statement that met a concurrent one fails instead of
///   deciding on the row as it is now.
/// - The timeouts end on the server what we have given up on, so that it does not land later.
///   Without the last one, a process that is frozen inside a wrapped statement would keep its
///   rows locked, and could never be buried.
/// - Statements this short only lose by being compiled.
fn settings(call_timeout: Duration) -> [(&'static str, String); 5] {
    let milliseconds = call_timeout.as_millis().max(1).to_string();
    [
        ("default_transaction_isolation", "read committed".to_owned()),
        ("statement_timeout", milliseconds.clone()),
        ("lock_timeout", milliseconds.clone()),
        ("idle_in_transaction_session_timeout", milliseconds),
        ("jit", "off".to_owned()),
    ]
}

/// The same settings for one transaction, whose level only BEGIN can name.
fn begin(call_timeout: Duration) -> String {
    settings(call_timeout)[1..]
        .iter()
        .fold("BEGIN ISOLATION LEVEL READ COMMITTED".to_owned(), |begin, (name, value)| {
            format!("{begin}; SET LOCAL {name} = {value}")
        })
}

impl Heartbeat {
    /// Notes the backend that a beat named; true when it is another one than before.
    fn met(&mut self, rows: &[PgRow]) -> bool {
        let Some(now) = rows.first().and_then(|row| row.try_get("backend").ok()) else {
            return false;
        };
        self.backend.replace(now).is_some_and(|before| before != now)
    }
}

/// One statement, one answer; wrapped where a pooler would come in between its two messages.
async fn run_on(
    connection: &mut PgConnection,
    begin: Option<&Arc<str>>,
    sql: Sql,
    arguments: PgArguments,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let query = sqlx::query_with(sql.0, arguments);
    let Some(begin) = begin else { return query.fetch_all(connection).await };
    let mut transaction = connection.begin_with(AssertSqlSafe(begin.clone())).await?;
    match query.persistent(false).fetch_all(&mut *transaction).await {
        Ok(rows) => transaction.commit().await.map(|()| rows),
        Err(error) => {
            // At once, or the pooler would keep the server connection for us.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

/// A pooled connection that goes back to the pool only after a whole answer.
struct Borrowed(Option<PoolConnection<Postgres>>);

impl Borrowed {
    fn get(&mut self) -> &mut PgConnection {
        // Taken out in `give_back` and `drop` only, which end the loan.
        self.0.as_mut().expect("a connection on loan")
    }

    fn give_back<T>(mut self, answer: &Result<T, sqlx::Error>) {
        if !answer.as_ref().is_err_and(is_gone) {
            self.0.take();
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

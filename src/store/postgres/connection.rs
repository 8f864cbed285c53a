//! Connections, and the one way in which every statement runs.
//!
//! A pool serves the calls; the heartbeat has a connection of its own. A statement that was not
//! answered in time takes its connection with it: what would still arrive on it belongs to
//! nobody. Behind a transaction-mode pooler every statement is wrapped in BEGIN … COMMIT and
//! nothing is prepared by name (see `pooler`).

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Row, SqlSafeStr, SqlStr};
use tokio::sync::{Mutex, OnceCell};

use super::failure::{Failure, is_gone, is_victim};
use super::pooler;
use crate::error::{Error, Result};
use crate::metrics::PoolState;

/// How long a call waits for a free connection of the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before a statement that a deadlock undid is tried again.
const AFTER_DEADLOCK: Duration = Duration::from_millis(50);
/// An idle connection is asked whether it still lives before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

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
    options: PgConnectOptions,
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
        // The parser's own message may repeat a part of the URL, and with it a password.
        let options = PgConnectOptions::from_str(url).map_err(|_| {
            Error::option("databaseUrl", "is not a PostgreSQL URL that can be understood")
        })?;
        let named = pooler::is_named(url, &options);
        // A pooler refuses start-up parameters that it does not know.
        let options = options.extra_float_digits(None).application_name("baileys-guard");
        let connections = Self {
            options,
            max_connections,
            call_timeout,
            pooled: AtomicBool::new(named),
            found_out: OnceCell::new(),
            pool: RwLock::default(),
            heartbeat: Mutex::default(),
            closed: AtomicBool::new(false),
        };
        Ok(connections)
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.pooled.load(Ordering::SeqCst)
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        if self.is_pooled() {
            self.options.clone().statement_cache_capacity(0)
        } else {
            self.options.clone()
        }
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
            let mut tried = 0;
            loop {
                let answer = self.run_once(sql.clone(), arguments()).await;
                tried += 1;
                match &answer {
                    Err(Failure::Sqlx(error)) if is_gone(error) && tried < 2 => {}
                    // Not at once: the other one has waited for longer.
                    Err(Failure::Sqlx(error)) if is_victim(error) && tried < 4 => {
                        tokio::time::sleep(AFTER_DEADLOCK).await;
                    }
                    _ => return answer,
                }
            }
        })
        .await
    }

    async fn run_once(&self, sql: Sql, arguments: PgArguments) -> Result<Vec<PgRow>, Failure> {
        let mut connection = Borrowed::from(self.pool().await?.acquire().await?);
        let answer = run_on(connection.get(), self.is_pooled(), sql, arguments).await;
        connection.give_back(&answer);
        Ok(answer?)
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
            match run_on(connection, self.is_pooled(), sql.into(), arguments()).await {
                Err(error) if is_gone(&error) && !fresh => fresh = true,
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

    async fn pool(&self) -> Result<PgPool, Failure> {
        self.open()?;
        self.find_out().await?;
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        let pool = pool.get_or_insert_with(|| {
            PgPoolOptions::new()
                .max_connections(self.max_connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
                .before_acquire(|connection, meta| {
                    Box::pin(async move {
                        Ok(meta.idle_for < TRUSTED_IDLE || connection.ping().await.is_ok())
                    })
                })
                .connect_lazy_with(self.options())
        });
        Ok(pool.clone())
    }

    async fn find_out(&self) -> Result<(), Failure> {
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
        tokio::time::timeout(self.call_timeout, call).await.unwrap_or_else(|_| {
            let waited = std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no answer within {} s", self.call_timeout.as_secs()),
            );
            Err(Failure::Sqlx(sqlx::Error::Io(waited)))
        })
    }
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
pub(super) async fn run_on(
    connection: &mut PgConnection,
    pooled: bool,
    sql: Sql,
    arguments: PgArguments,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let query = sqlx::query_with(sql.0, arguments);
    if !pooled {
        return query.fetch_all(connection).await;
    }
    let mut transaction = connection.begin().await?;
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

impl From<PoolConnection<Postgres>> for Borrowed {
    fn from(connection: PoolConnection<Postgres>) -> Self {
        Self(Some(connection))
    }
}

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

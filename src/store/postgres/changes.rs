//! Hints that something may have become free.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{sleep, timeout};

use super::connection::Connections;
use super::failure::Failure;
use crate::store::Changes;

/// A notification may be lost; looking this often, nobody waits for ever.
const LOOK_ANYWAY: Duration = Duration::from_secs(15);
/// Behind a pooler nothing is heard.
const POLL: Duration = Duration::from_secs(1);

/// LISTEN on a connection of its own.
pub(super) struct Listener(PgListener);

/// A look at a fixed pace.
pub(super) struct Poll;

pub(super) async fn open(db: &Connections) -> Result<Box<dyn Changes>, Failure> {
    drop(db.connect().await?); // finds out what kind of database this is
    if db.is_pooled() {
        return Ok(Box::new(Poll));
    }
    let own = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(db.options());
    db.within(async {
        let mut listener = PgListener::connect_with(&own).await?;
        listener.listen("baileys_guard").await?;
        Ok(Box::new(Listener(listener)) as Box<dyn Changes>)
    })
    .await
}

#[async_trait]
impl Changes for Listener {
    async fn changed(&mut self) {
        match timeout(LOOK_ANYWAY, self.0.try_recv()).await {
            // `None`: the connection was lost and is made anew, and anything may have happened.
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(_)) => sleep(POLL).await,
        }
    }
}

#[async_trait]
impl Changes for Poll {
    async fn changed(&mut self) {
        sleep(POLL).await;
    }
}

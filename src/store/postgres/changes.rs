//! Hints that something may have become free.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Executor;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{sleep, timeout};

use super::connection::Connections;
use super::failure::Failure;
use crate::store::Changes;

/// A notification may be lost; looking this often, nobody waits for ever.
const LOOK_ANYWAY: Duration = Duration::from_secs(15);
/// Behind a pooler, and while the server cannot be reached, nothing is heard.
const POLL: Duration = Duration::from_secs(1);
/// How long a connection that was quiet may take to show that it is still one.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// LISTEN on a connection of its own, where there is no pooler.
pub(super) struct Feed {
    db: Arc<Connections>,
    listener: Option<PgListener>,
}

pub(super) async fn open(db: &Arc<Connections>) -> Result<Box<dyn Changes>, Failure> {
    Ok(Box::new(Feed { db: db.clone(), listener: listen(db).await? }))
}

async fn listen(db: &Connections) -> Result<Option<PgListener>, Failure> {
    db.within(async {
        db.find_out().await?;
        if db.is_pooled() {
            return Ok(None);
        }
        let own = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(db.options());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.eager_reconnect(false);
        listener.listen("baileys_guard").await?;
        Ok(Some(listener))
    })
    .await
}

#[async_trait]
impl Changes for Feed {
    async fn changed(&mut self) {
        if self.db.is_pooled() {
            self.listener = None; // a pooler that was found out late
        }
        let Some(listener) = &mut self.listener else {
            sleep(POLL).await;
            // From here on it hears; what came before is found by looking now.
            if let Ok(Ok(listener)) = timeout(SIGN_OF_LIFE, listen(&self.db)).await {
                self.listener = listener;
            }
            return;
        };
        let alive = match timeout(LOOK_ANYWAY, listener.try_recv()).await {
            Ok(heard) => matches!(heard, Ok(Some(_))),
            // A firewall that forgot a quiet connection tells nobody; asking also reminds it.
            Err(_) => {
                matches!(timeout(SIGN_OF_LIFE, listener.execute("SELECT 1")).await, Ok(Ok(_)))
            }
        };
        if !alive {
            self.listener = None;
        }
    }
}

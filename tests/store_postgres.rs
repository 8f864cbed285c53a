//! What only PostgreSQL can get wrong: networks that fall silent, poolers, locks of the host's,
//! settings of the server's, and tables as hosts have them.

#[allow(dead_code)] // the cases run in conformance_postgres.rs
mod conformance;
#[path = "postgres/database.rs"]
mod database;
#[path = "postgres/hosts.rs"]
mod hosts;
#[path = "postgres/leftovers.rs"]
mod leftovers;
#[path = "postgres/locks.rs"]
mod locks;
#[path = "postgres/migrations.rs"]
mod migrations;
#[path = "postgres/network.rs"]
mod network;
#[path = "postgres/outages.rs"]
mod outages;
#[path = "postgres/poolers.rs"]
mod poolers;
#[path = "postgres/servers.rs"]
mod servers;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use baileys_guard::store::{DatabaseUrl, Store, StoreOptions, open};
use conformance::Site;

/// A store by any way to the database, which gives up after a time.
fn store_at(url: &str, call_timeout: Duration) -> Arc<dyn Store> {
    let url = DatabaseUrl::parse(url).unwrap();
    open(StoreOptions { url, max_connections: 4, call_timeout }).unwrap()
}

/// Runs a test on a database of its own, whose URL it is given as well.
async fn on_a_database<F, Fut>(case: F)
where
    F: FnOnce(Arc<Site>, String) -> Fut,
    Fut: Future<Output = ()>,
{
    let database = database::fresh().await;
    let url = database.url_text();
    Site::run(database, |site| case(site, url)).await;
}

//! What only SQLite can get wrong: the file, its locks, and hosts that declare what they like.

#[allow(dead_code)] // the cases run in conformance_sqlite.rs
mod conformance;
#[path = "sqlite/file.rs"]
mod file;
#[path = "sqlite/files.rs"]
mod files;
#[path = "sqlite/hosts.rs"]
mod hosts;
#[path = "sqlite/locks.rs"]
mod locks;
#[path = "sqlite/processes.rs"]
mod processes;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baileys_guard::store::{DatabaseUrl, Store, StoreOptions, open};
use conformance::Site;

/// A store on any path, which gives up after a time.
fn store_at(path: impl Into<PathBuf>, call_timeout: Duration) -> Arc<dyn Store> {
    let url = DatabaseUrl::Sqlite(path.into());
    open(StoreOptions { url, max_connections: 2, call_timeout }).unwrap()
}

/// Runs a test on a file of its own, whose path it is given as well.
async fn on_a_file<F, Fut>(case: F)
where
    F: FnOnce(Arc<Site>, PathBuf) -> Fut,
    Fut: Future<Output = ()>,
{
    let file = file::fresh().await;
    let path = file.path();
    Site::run(file, |site| case(site, path)).await;
}

//! A server that takes connections and says nothing, as one behind a broken network does.

use std::time::Duration;

use baileys_guard::error::Error;
use baileys_guard::store::{DatabaseUrl, StoreOptions, open};
use tokio::net::TcpListener;
use tokio::time::timeout;

#[tokio::test]
async fn every_call_ends_and_no_call_holds_up_the_others() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let store = open(StoreOptions {
        url: DatabaseUrl::Postgres(format!("postgres://nobody@127.0.0.1:{port}/nothing")),
        max_connections: 2,
        call_timeout: Duration::from_millis(300),
    })
    .unwrap();
    let agents = ["a".to_owned()];
    let calls = async {
        tokio::join!(
            async { store.migrate().await.err() },
            async { store.rollback().await.err() },
            async { store.changes().await.err() },
            async { store.claim("me", 1, &agents).await.err() },
            async { store.owners(&agents).await.err() },
            async { store.canonical_agent("a").await.err() },
            async { store.ping().await.err() },
        )
    };
    let (a, b, c, d, e, f, g) =
        timeout(Duration::from_secs(20), calls).await.expect("a call waits for ever");
    for error in [a, b, c, d, e, f, g] {
        assert!(matches!(error, Some(Error::DatabaseUnavailable { .. })), "{error:?}");
    }
    timeout(Duration::from_secs(20), store.close()).await.expect("closing waits for ever");
}

//! Finds out whether a pooler stands between us and PostgreSQL.
//!
//! It must be known before the first statement: the driver prepares a statement and runs it in
//! two round trips, between which a transaction-mode pooler may hand the server connection to
//! another client. The statement of somebody else then runs with our parameters and reports
//! success. Inside BEGIN … COMMIT the server connection stays ours.
//!
//! The proof is a secret: a connection is opened with a random value, as a setting of our own, in
//! its start-up packet, and asked for it. PostgreSQL gives it back. A pooler either refuses a
//! packet with options or keeps it to itself: the server connection that answers was opened by
//! the pooler and knows no such value. One connection and one question decide, whatever else
//! goes through the pooler meanwhile. A session-mode pooler is taken for a transaction-mode one,
//! which is slower and right.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row};

use super::failure::told;

/// False only if the server that answers was started by the packet that we sent.
pub(super) async fn is_there(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let secret = uuid::Uuid::new_v4().simple().to_string();
    let probe = options.clone().options([("baileys_guard.probe", &secret)]);
    match PgConnection::connect_with(&probe).await {
        Ok(mut connection) => {
            // The simple query protocol is one message, and safe whoever answers.
            let row = sqlx::raw_sql("SELECT current_setting('baileys_guard.probe', true)")
                .fetch_one(&mut connection)
                .await?;
            let known: Option<String> = row.try_get(0)?;
            connection.close().await.ok();
            Ok(known.as_ref() != Some(&secret))
        }
        Err(error) if may_mean_the_packet(&error) => {
            PgConnection::connect_with(options).await?.close().await.ok();
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Somebody answered, and refused for another reason than who we are (28), what we asked for
/// (3D), or not being ready (53, 57).
fn may_mean_the_packet(error: &sqlx::Error) -> bool {
    told(error).is_some_and(|told| {
        !["28", "3D", "53", "57"].iter().any(|class| told.code().starts_with(class))
    })
}

//! An agent taken from a live owner, by an operator's order.

use super::connection::Connections;
use super::failure::Failure;
use crate::store::Fence;

/// A compare-and-set on the owner's term. Nobody is told that the agent was free, because it
/// never was.
pub(super) async fn seize(
    db: &Connections,
    incarnation: &str,
    from: &Fence,
) -> Result<bool, Failure> {
    let mut writer = db.writer().await?;
    let mut tx = writer.begin().await?;
    let seize = sqlx::query(concat!(
        "UPDATE baileys_guard_lease SET incarnation = ?1, seq = 0, claimed_at = ",
        iso_now!(),
        ", token = max(token + 1, ",
        unix_ms!("'now'"),
        ") WHERE agent_id = ?2 AND incarnation = ?3 AND token = ?4 AND held = 1 AND EXISTS (
           SELECT 1 FROM baileys_guard_instance WHERE incarnation = ?1 AND dead_at IS NULL)"
    ));
    let seize = seize.bind(incarnation).bind(&from.agent_id).bind(&from.incarnation);
    let seized = seize.bind(from.token).execute(&mut *tx).await?.rows_affected() == 1;
    tx.commit().await?;
    Ok(seized)
}

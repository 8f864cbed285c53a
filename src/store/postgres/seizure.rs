//! An agent taken from a live owner, by an operator's order.

use super::connection::Connections;
use super::failure::Failure;
use crate::store::Fence;

/// A compare-and-set on the owner's term: a write of the owner's in flight is waited for, and
/// none comes after. Nobody is told that the agent was free, because it never was. It need not be
/// on disk when it is answered: the claim that follows is, and the log is written in order.
const SEIZE: &str = "UPDATE baileys_guard_lease l
        SET incarnation = me.incarnation, seq = 0, claimed_at = clock_timestamp(),
            token = greatest(l.token + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
       FROM baileys_guard_instance me
      WHERE me.incarnation = $1 AND me.dead_at IS NULL
        AND l.agent_id = $2 AND l.incarnation = $3 AND l.token = $4 AND l.held
     RETURNING l.token";

pub(super) async fn seize(
    db: &Connections,
    incarnation: &str,
    from: &Fence,
) -> Result<bool, Failure> {
    let arguments = arguments![incarnation, from.agent_id, from.incarnation, from.token];
    Ok(!db.run(SEIZE, arguments).await?.is_empty())
}

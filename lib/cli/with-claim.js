'use strict';

// One agent, claimed while something is done to it.

const { GuardError } = require('../errors');

/**
 * @param {import('../guard').Guard} guard
 * @param {string} agentId
 * @param {{ userId?: string }} options of the claim
 * @param {(claim: import('../claim').Claim) => Promise<T>} work
 * @returns {Promise<T>}
 * @template T
 */
async function withClaim(guard, agentId, options, work) {
  const claim = await guard.claimInstance(agentId, options);
  guard.startHeartbeat(); // however long it takes
  try {
    return await work(claim);
  } finally {
    // A claim that was lost meanwhile needs no release, and its loss has been told already.
    if (claim.held) await claim.release();
  }
}

/** A claim would make a row for an agent that was only misspelt. */
async function checkKnown(guard, agentId) {
  const wanted = agentId.toLowerCase(); // a uuid is one in any case
  const sessions = await guard.listSessions();
  if (sessions.some((session) => session.agentId.toLowerCase() === wanted)) return;
  if (await guard.getOwner(agentId)) return;
  throw new GuardError('ERR_SESSION_ROW_MISSING', `there is no agent ${agentId} here`, { agentId });
}

module.exports = { checkKnown, withClaim };

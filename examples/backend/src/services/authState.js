'use strict';

/**
 * Where an agent's credentials live: encrypted in the database, written under the claim's fence.
 *
 * Sessions of before, in a `useMultiFileAuthState` folder or in `session_data`, are taken over by
 * `npx baileys-guard import`.
 */

const { useGuardedAuthState } = require('baileys-guard');

/** Loads them anew for each socket: what was saved before is in them. */
async function loadAuthState(claim) {
  const { state, saveCreds, clear } = await useGuardedAuthState(claim);
  return { state, saveCreds, clear };
}

module.exports = { loadAuthState };

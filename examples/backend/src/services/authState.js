'use strict';

/**
 * Where an agent's credentials live: Baileys' multi-file state in a folder all instances share.
 *
 * Files know no fence. Each write asks the claim first, which keeps a former owner from writing
 * after it knows of its loss; it cannot call a write back that is on its way.
 */

const fs = require('node:fs/promises');
const path = require('node:path');
const { makeCacheableSignalKeyStore, useMultiFileAuthState } = require('baileys');

const { authDir } = require('../config');
const logger = require('./logger');

/** An agent id as the name of one folder, whatever characters it has. */
function folderOf(agentId) {
  return path.join(authDir, encodeURIComponent(agentId).replaceAll('.', '%2E'));
}

/**
 * Baileys takes a file it cannot read for one that is not there, makes new credentials and writes
 * them over the pairing. So a damaged file has to stop the session here.
 */
async function checkCredentials(folder) {
  const file = path.join(folder, 'creds.json');
  try {
    JSON.parse(await fs.readFile(file, 'utf8'));
  } catch (error) {
    if (error.code !== 'ENOENT') throw new Error(`cannot read ${file}: ${error.message}`);
  }
}

/** Loads them anew for each socket: the cache must not outlive it. */
async function loadAuthState(claim) {
  const folder = folderOf(claim.agentId);
  await checkCredentials(folder);
  const { state, saveCreds } = await useMultiFileAuthState(folder);

  const whileHeld = (write) => async (data) => {
    if (!claim.held) throw claim.signal.reason;
    await write(data);
  };
  const keys = { get: state.keys.get, set: whileHeld(state.keys.set) };
  return {
    state: { creds: state.creds, keys: makeCacheableSignalKeyStore(keys, logger) },
    saveCreds: whileHeld(saveCreds),
    /** Makes room for a new pairing after a logout; deletes nothing. */
    setAside: () => fs.rename(folder, `${folder}.logged-out-${Date.now()}`),
  };
}

module.exports = { loadAuthState };

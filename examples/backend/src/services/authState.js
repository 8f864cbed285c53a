'use strict';

/**
 * Where an agent's credentials live: Baileys' multi-file state in a folder all instances share.
 *
 * Files know no fence. Each write asks the claim first, which keeps a former owner from writing
 * after it knows of its loss; it cannot call a write back that is on its way.
 */

const fs = require('node:fs/promises');
const path = require('node:path');
const { BufferJSON, makeCacheableSignalKeyStore, useMultiFileAuthState } = require('baileys');

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
async function checkCredentials(file) {
  try {
    JSON.parse(await fs.readFile(file, 'utf8'));
  } catch (error) {
    if (error.code !== 'ENOENT') throw new Error(`cannot read ${file}: ${error.message}`);
  }
}

/** Whole or not at all: a process that dies here must not leave half a pairing. */
async function writeCredentials(file, creds) {
  const unfinished = `${file}.${process.pid}`;
  await fs.writeFile(unfinished, JSON.stringify(creds, BufferJSON.replacer));
  await fs.rename(unfinished, file);
}

/** Loads them anew for each socket: the cache must not outlive it. */
async function loadAuthState(claim) {
  const folder = folderOf(claim.agentId);
  const file = path.join(folder, 'creds.json');
  await checkCredentials(file);
  const { state } = await useMultiFileAuthState(folder);

  const whileHeld = (write) => async (data) => {
    if (!claim.held) throw claim.signal.reason;
    await write(data);
  };
  const keys = { get: state.keys.get, set: whileHeld(state.keys.set) };
  return {
    state: { creds: state.creds, keys: makeCacheableSignalKeyStore(keys, logger) },
    saveCreds: whileHeld(() => writeCredentials(file, state.creds)),
    /** Makes room for a new pairing after a logout; deletes nothing. */
    setAside: () => fs.rename(folder, `${folder}.logged-out-${Date.now()}`),
  };
}

module.exports = { loadAuthState };

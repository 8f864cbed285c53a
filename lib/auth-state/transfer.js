'use strict';

// Takes over what a host had before, and gives it back.
//
// A folder of `useMultiFileAuthState` has everything; a host's `session_data` has the credentials
// only. With both, the Signal keys come from the folder and the credentials from whichever is
// newer. The source is never changed. Running it again stores the same again.

const fs = require('node:fs/promises');
const { isUint8Array } = require('node:util').types;

const { checkObject, checkOptionalBoolean, describe } = require('../arguments');
const { encodeJson } = require('../credential-json');
const { GuardError, invalidArgument } = require('../errors');
const { readFolder, writeFile } = require('./files');
const { CREDS, storedState } = require('./index');

const BATCH = 500; // entries a statement

/** Counts that only grow while a pairing lives; the larger ones belong to the newer state. */
const COUNTERS = ['nextPreKeyId', 'firstUnuploadedPreKeyId', 'accountSyncCounter'];

const isPaired = (creds) => Boolean(creds?.me?.id);

/** Whether `a` was saved after `b`, as far as credentials tell: they hold no time of saving. */
function isNewer(a, b) {
  if (isPaired(a) !== isPaired(b)) return isPaired(a);
  for (const counter of COUNTERS) {
    const difference = (a?.[counter] ?? 0) - (b?.[counter] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

/** Bytes in any form that JSON has for them; whatever else is there are none. */
function bytesOf(value) {
  if (isUint8Array(value)) return value;
  const data = value?.data ?? value; // numbers, or base64
  return Array.isArray(data) || typeof data === 'string' ? Buffer.from(data, 'base64') : undefined;
}

/** Two saves of one pairing, or two pairings? */
function sameIdentity(a, b) {
  const [one, other] = [a, b].map((creds) => bytesOf(creds?.noiseKey?.public));
  return Boolean(one && other) && Buffer.compare(one, other) === 0;
}

/**
 * @param {import('../claim').Claim} claim
 * @param {{ states: object, open: (stored: unknown, agentId: string) => any }} tools
 *   `open` reads `session_data`'s credentials in whatever form they are
 * @param {{ folder?: string, sessionData?: boolean | object, overwrite?: boolean }} options
 */
async function importAuthState(claim, { states, open }, options) {
  const { folder, sessionData, overwrite = false } = checkObject(options, 'options');
  if (folder !== undefined && (typeof folder !== 'string' || folder === '')) {
    throw invalidArgument('folder', `must be a path, got ${describe(folder)}`);
  }
  checkOptionalBoolean(overwrite, 'overwrite');
  const state = storedState(claim, states);
  const data =
    sessionData === false ? undefined : (objectOr(sessionData) ?? (await state.sessionData()));
  if (folder === undefined && !data) {
    throw new GuardError(
      'ERR_NOTHING_TO_IMPORT',
      `agent ${claim.agentId}: no folder is given and whatsapp_sessions has no session_data`,
      {
        agentId: claim.agentId,
      },
    );
  }

  const fromFolder = folder === undefined ? { entries: [], unknown: [] } : await readFolder(folder);
  const fromHost = data
    ? hostCredentials(data, (stored) => open(stored, claim.agentId))
    : undefined;
  const chosen = choose(fromFolder.creds, fromHost);
  if (!chosen) {
    throw new GuardError(
      'ERR_NOTHING_TO_IMPORT',
      `agent ${claim.agentId}: no credentials were found`,
      {
        agentId: claim.agentId,
      },
    );
  }

  const [kind, id] = CREDS;
  const stored = (await state.read(kind, [id])).get(id);
  const keepStored =
    stored && !overwrite && isNewer(stored, chosen.creds) && sameIdentity(stored, chosen.creds);
  if (stored && !overwrite && !sameIdentity(stored, chosen.creds) && isPaired(stored)) {
    throw new GuardError(
      'ERR_ALREADY_IMPORTED',
      `agent ${claim.agentId} is paired already, under another identity; pass overwrite to replace it`,
      { agentId: claim.agentId },
    );
  }
  // A state that went on since the import before is newer than the source: nothing to do.
  if (!keepStored) {
    for (let start = 0; start < fromFolder.entries.length; start += BATCH) {
      await state.write(fromFolder.entries.slice(start, start + BATCH));
    }
    // Last: a state that has credentials has its keys, whenever this process ends.
    await state.write([[...CREDS, chosen.creds]]);
  }
  return {
    credentials: keepStored ? 'stored' : chosen.from,
    paired: isPaired(keepStored ? stored : chosen.creds),
    keys: keepStored ? 0 : fromFolder.entries.length,
    resumable: keepStored || fromFolder.entries.length > 0,
    unknownFiles: fromFolder.unknown,
  };
}

function objectOr(value) {
  return value && typeof value === 'object' && !Array.isArray(value) ? value : undefined;
}

/** The credentials within a host's `session_data`: `{ creds }`, or the credentials themselves. */
function hostCredentials(data, open) {
  const wrapped = data.creds !== undefined && data.noiseKey === undefined;
  const creds = open(wrapped ? data.creds : data);
  // A wrapper may have been encrypted as a whole.
  return objectOr(creds?.creds && creds.noiseKey === undefined ? creds.creds : creds);
}

function choose(folder, host) {
  if (folder && host) {
    return isNewer(host, folder) && sameIdentity(host, folder)
      ? { creds: host, from: 'session_data' }
      : { creds: folder, from: 'folder' };
  }
  if (folder) return { creds: folder, from: 'folder' };
  return host ? { creds: host, from: 'session_data' } : undefined;
}

/** Writes the state into a folder that `useMultiFileAuthState` reads. */
async function exportAuthState(claim, folder, { states }) {
  if (typeof folder !== 'string' || folder === '') {
    throw invalidArgument('folder', `must be a path, got ${describe(folder)}`);
  }
  const state = storedState(claim, states);
  let files = 0;
  try {
    await fs.mkdir(folder, { recursive: true, mode: 0o700 });
    for await (const { kind, id, value } of state.all()) {
      await writeFile(folder, kind, id, encodeJson(value));
      files++;
    }
  } catch (cause) {
    if (cause instanceof GuardError) throw cause;
    const message = `cannot write folder ${folder}: ${cause.message}`;
    throw new GuardError('ERR_EXPORT_FAILED', message, { cause });
  }
  return { files };
}

module.exports = { exportAuthState, importAuthState };

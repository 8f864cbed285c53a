'use strict';

// Takes over what a host had before, and gives it back.
//
// A folder of `useMultiFileAuthState` has everything; a host's `session_data` has the credentials
// only. With both, the Signal keys come from the folder and the credentials from whichever is
// newer. The source is never changed. Running it again changes nothing: a state that a session has
// used since would go back to ratchets that its contacts have left behind.

const fs = require('node:fs/promises');
const { isUint8Array } = require('node:util').types;

const { checkObject, checkOptionalBoolean, describe } = require('../arguments');
const { encodeJson } = require('../credential-json');
const { DecryptionError, GuardError, invalidArgument } = require('../errors');
const { readFolder, writeFile } = require('./files');
const { CREDS, storedState } = require('./index');

const BATCH = 500; // entries a statement

/** Counts that only grow while a pairing lives; the larger ones belong to the newer state. */
const COUNTERS = [
  'nextPreKeyId',
  'firstUnuploadedPreKeyId',
  'accountSyncCounter',
  'lastAccountSyncTimestamp',
];

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

/** Two saves of one pairing, or two pairings? Where no key tells, the account does. */
function sameIdentity(a, b) {
  const [one, other] = [a, b].map((creds) => bytesOf(creds?.noiseKey?.public));
  if (!one && !other) return isPaired(a) && a.me.id === b?.me?.id;
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
  state.checkHeld();
  const data = await hostData(sessionData, state);
  if (folder === undefined && !data) {
    throw new GuardError(
      'ERR_NOTHING_TO_IMPORT',
      `agent ${claim.agentId}: no folder is given and whatsapp_sessions has no session_data`,
      { agentId: claim.agentId },
    );
  }

  const fromFolder = folder === undefined ? { entries: [], unknown: [] } : await readFolder(folder);
  const fromHost = data
    ? hostCredentials(data, (stored) => open(stored, claim.agentId))
    : undefined;
  const chosen = choose(credentialsOr(fromFolder.creds), fromHost, fromFolder.entries);
  if (!chosen) {
    throw new GuardError(
      'ERR_NOTHING_TO_IMPORT',
      `agent ${claim.agentId}: no credentials were found`,
      { agentId: claim.agentId },
    );
  }

  const stored = await storedCredentials(state, overwrite);
  const isSame = sameIdentity(stored, chosen.creds);
  if (stored && !overwrite && !isSame && isPaired(stored)) {
    throw new GuardError(
      'ERR_ALREADY_IMPORTED',
      `agent ${claim.agentId} is paired already, under another identity; pass overwrite to replace it`,
      { agentId: claim.agentId },
    );
  }
  const keepCreds = isSame && !overwrite && !isNewer(chosen.creds, stored);
  const keepKeys = keepCreds && (await hasKeys(state));
  const entries = keepKeys ? [] : chosen.entries;
  if (stored && !isSame) await state.clear(); // keys of another identity are of no use to this one
  for (let start = 0; start < entries.length; start += BATCH) {
    await state.write(entries.slice(start, start + BATCH));
  }
  // Last: a state that has credentials has its keys, whenever this process ends.
  if (!keepCreds) await state.write([[...CREDS, chosen.creds]]);
  return {
    credentials: keepCreds ? 'stored' : chosen.from,
    paired: isPaired(keepCreds ? stored : chosen.creds),
    keys: entries.length,
    resumable: keepKeys || entries.length > 0,
    unknownFiles: fromFolder.unknown,
  };
}

/** What the host had in `session_data`: as given, or as it stands in its table. */
function hostData(given, state) {
  if (given === undefined || given === true) return state.sessionData();
  if (given === false || typeof given === 'string' || objectOr(given)) return given;
  throw invalidArgument(
    'sessionData',
    `must be what session_data holds, true or false, got ${describe(given)}`,
  );
}

/** To be overwritten, what is stored need not open: its key may be lost. */
async function storedCredentials(state, overwrite) {
  const [kind, id] = CREDS;
  try {
    return (await state.read(kind, [id])).get(id);
  } catch (error) {
    if (overwrite && error instanceof DecryptionError) return {}; // of whatever identity
    throw error;
  }
}

async function hasKeys(state) {
  for await (const { kind } of state.all()) if (kind !== CREDS[0]) return true;
  return false;
}

function objectOr(value) {
  return value && typeof value === 'object' && !Array.isArray(value) ? value : undefined;
}

/** `{}` is a column's default and no credentials. */
function credentialsOr(value) {
  return objectOr(value) && Object.keys(value).length > 0 ? value : undefined;
}

/** The credentials within a host's `session_data`: `{ creds }`, or the credentials themselves. */
function hostCredentials(data, open) {
  const wrapped = data.creds !== undefined && data.noiseKey === undefined;
  const creds = open(wrapped ? data.creds : data);
  // A wrapper may have been encrypted as a whole.
  return credentialsOr(creds?.creds && creds.noiseKey === undefined ? creds.creds : creds);
}

/**
 * The credentials to take, and the keys that go with them. A folder that another pairing was begun
 * in says nothing about which is newer: its keys serve none but its own credentials.
 */
function choose(folder, host, entries) {
  const isSame = sameIdentity(folder, host);
  if (host && (!folder || (isSame ? isNewer(host, folder) : isPaired(host) && !isPaired(folder)))) {
    return { creds: host, from: 'session_data', entries: !folder || isSame ? entries : [] };
  }
  return folder && { creds: folder, from: 'folder', entries };
}

/** Writes the state into a folder that `useMultiFileAuthState` reads. */
async function exportAuthState(claim, folder, { states }) {
  if (typeof folder !== 'string' || folder === '') {
    throw invalidArgument('folder', `must be a path, got ${describe(folder)}`);
  }
  const state = storedState(claim, states);
  state.checkHeld();
  let files = 0;
  const write = async ({ kind, id, value }) => {
    await writeFile(folder, kind, id, encodeJson(value));
    files++;
  };
  try {
    await fs.mkdir(folder, { recursive: true, mode: 0o700 });
    const isCreds = ({ kind, id }) => kind === CREDS[0] && id === CREDS[1];
    let creds;
    for await (const item of state.all()) {
      if (isCreds(item)) creds = item;
      else await write(item);
    }
    if (creds) await write(creds); // last, as when importing
  } catch (cause) {
    if (cause instanceof GuardError) throw cause;
    const message = `cannot write folder ${folder}: ${cause.message}`;
    throw new GuardError('ERR_EXPORT_FAILED', message, { cause });
  }
  return { files };
}

module.exports = { exportAuthState, importAuthState };

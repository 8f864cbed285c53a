'use strict';

// The folder that Baileys' own `useMultiFileAuthState` keeps: one JSON file a key.

const fs = require('node:fs/promises');
const path = require('node:path');

const { decodeJson } = require('../credential-json');
const { GuardError } = require('../errors');

const CREDS_FILE = 'creds.json';

// Longest first: `app-state-sync-key-…` is no `app-state…` of a shorter type.
const KNOWN_TYPES = [
  'app-state-sync-version',
  'app-state-sync-key',
  'sender-key-memory',
  'identity-key',
  'lid-mapping',
  'device-list',
  'sender-key',
  'pre-key',
  'tctoken',
  'session',
].sort((a, b) => b.length - a.length);

/** A file name as Baileys makes it of a type and an id. */
function fileName(kind, id) {
  return `${kind}-${id}.json`.replace(/\//g, '__').replace(/:/g, '-');
}

/**
 * The type and id of a file name. Baileys writes `/` as `__` and `:` as `-`, and nothing tells
 * those from a `__` or a `-` of the id itself. What an id of its type looks like does.
 */
function parseFileName(name) {
  const stem = name.slice(0, -'.json'.length);
  const kind = KNOWN_TYPES.find((type) => stem.startsWith(`${type}-`)) ?? unknownType(stem);
  if (kind === undefined) return undefined;
  return { kind, id: originalId(kind, stem.slice(kind.length + 1)) };
}

/** A type that Baileys did not have yet: everything before the id, which has no hyphen. */
function unknownType(stem) {
  const end = stem.lastIndexOf('-');
  return end > 0 ? stem.slice(0, end) : undefined;
}

function originalId(kind, id) {
  switch (kind) {
    case 'sender-key': // group::user::device
      return id.replace(/^(.*?)--(.*)--(\d+)$/, '$1::$2::$3');
    case 'tctoken': // Baileys' list of them is called __index
      return id;
    default: // base64 has a slash and no underscore
      return id.replace(/__/g, '/');
  }
}

async function readJson(file) {
  let text;
  try {
    text = await fs.readFile(file, 'utf8');
  } catch (cause) {
    throw new GuardError('ERR_IMPORT_FAILED', `cannot read ${file}: ${cause.message}`, { cause });
  }
  try {
    return decodeJson(text);
  } catch (cause) {
    throw new GuardError('ERR_IMPORT_FAILED', `${file} is damaged: ${cause.message}`, { cause });
  }
}

/**
 * Reads a folder.
 *
 * @param {string} folder
 * @returns {Promise<{ creds?: object, entries: [string, string, unknown][], unknown: string[] }>}
 */
async function readFolder(folder) {
  let names;
  try {
    names = await fs.readdir(folder);
  } catch (cause) {
    throw new GuardError('ERR_IMPORT_FAILED', `cannot read folder ${folder}: ${cause.message}`, {
      cause,
    });
  }
  const read = { entries: [], unknown: [] };
  for (const name of names.sort()) {
    const file = path.join(folder, name);
    if (name === CREDS_FILE) {
      read.creds = await readJson(file);
      continue;
    }
    const key = name.endsWith('.json') ? parseFileName(name) : undefined;
    if (!key) {
      read.unknown.push(name);
      continue;
    }
    const value = await readJson(file);
    if (value !== null) read.entries.push([key.kind, key.id, value]);
  }
  return read;
}

/** Writes one value as Baileys would, whole or not at all. */
async function writeFile(folder, kind, id, text) {
  const file = path.join(folder, kind === 'creds' && id === '' ? CREDS_FILE : fileName(kind, id));
  await fs.writeFile(`${file}.tmp`, text, { mode: 0o600 });
  await fs.rename(`${file}.tmp`, file);
}

module.exports = { readFolder, writeFile };

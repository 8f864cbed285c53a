'use strict';

// What `makeWASocket({ auth })` takes, kept in the database.

const { checkObject, describe, problemOfText } = require('../arguments');
const { Claim } = require('../claim');
const { GuardError, invalidArgument } = require('../errors');
const { StoredState } = require('./state');

const CREDS = ['creds', '']; // where the credentials are stored

const states = new WeakMap(); // Claim -> StoredState, shared by all auth states of a claim

/** The stored state of a claim: one for all who use it, so that they see each other's writes. */
function storedState(claim, native) {
  if (!(claim instanceof Claim)) {
    throw invalidArgument('claim', `must be a claim of this guard, got ${describe(claim)}`);
  }
  let state = states.get(claim);
  if (!state) {
    state = new StoredState(claim, native.open(claim.native));
    states.set(claim, state);
  }
  return state;
}

/** Baileys itself: the user's, or the one that is installed. */
async function loadBaileys(given) {
  if (typeof given?.initAuthCreds === 'function' && typeof given.proto === 'object') return given;
  if (given !== undefined) {
    throw invalidArgument(
      'baileys',
      'must be what `import("baileys")` gives: initAuthCreds, proto',
    );
  }
  try {
    return await import('baileys');
  } catch (cause) {
    throw new GuardError(
      'ERR_BAILEYS_MISSING',
      'baileys cannot be loaded; install baileys 7, or pass it as the option baileys',
      { cause },
    );
  }
}

/**
 * @param {Claim} claim
 * @param {object} native NativeAuthStates of the guard
 * @param {{ baileys?: object }} [options]
 */
async function useGuardedAuthState(claim, native, options) {
  const stored = storedState(claim, native);
  const { initAuthCreds, proto } = await loadBaileys(checkObject(options, 'options').baileys);
  const revive = (kind, value) =>
    kind === 'app-state-sync-key' ? proto.Message.AppStateSyncKeyData.fromObject(value) : value;

  // A read that fails throws: taken for "none", it would make new credentials over a pairing.
  const creds = (await stored.read(CREDS[0], [CREDS[1]])).get(CREDS[1]) ?? initAuthCreds();

  // A socket that is ending goes on writing: what comes after clear() must not bring any of it back,
  // unless clear() fails.
  let cleared; // once it was called: a promise of whether it came through
  const write = (entriesOf) =>
    handled(
      (async () => {
        if (cleared && (await cleared)) return;
        await stored.write(entriesOf());
      })(),
    );

  const keys = {
    async get(type, ids) {
      if (!Array.isArray(ids)) {
        throw invalidArgument('ids', `must be an array, got ${describe(ids)}`);
      }
      checkName(type, 'type');
      const found = await stored.read(
        type,
        Array.from(ids, (id) => checkName(id, 'id')),
      );
      // An own property of each id, whatever its name.
      return Object.fromEntries(Array.from(found, ([id, value]) => [id, revive(type, value)]));
    },
    set: (data) => write(() => entriesOf(data)),
  };

  return {
    state: { creds, keys },
    saveCreds: () => write(() => [[...CREDS, creds]]),
    async clear() {
      const clearing = stored.clear();
      const before = cleared;
      cleared = clearing.then(
        () => true,
        () => before ?? false,
      );
      await clearing;
    },
  };
}

/** `{ type: { id: value } }` as `[type, id, value]`. */
function entriesOf(data) {
  return Object.entries(checkObject(data, 'data')).flatMap(([type, values]) => {
    const entries = Object.entries(checkObject(values, `data.${type}`));
    return entries.map(([id, value]) => [checkName(type, 'type'), checkName(id, 'id'), value]);
  });
}

/** Type or id of a value: text that both databases store as it is. */
function checkName(value, argument) {
  const problem = problemOfText(value);
  if (problem) throw invalidArgument(argument, problem);
  return value;
}

/** Baileys ignores the promises of its listeners: a rejection must not end the process. */
function handled(promise) {
  promise.catch(() => {});
  return promise;
}

/** Deletes the whole state of a claim, whether it opens or not. */
function clearAuthState(claim, native) {
  return storedState(claim, native).clear();
}

module.exports = { CREDS, clearAuthState, storedState, useGuardedAuthState };

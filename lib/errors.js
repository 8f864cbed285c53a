'use strict';

// The errors users see. Native code hands over plain `Error` objects with a code and fields;
// they become instances of these classes here, in the caller's own realm, with a stack that
// points at the call.

const { isNativeError } = require('node:util').types;

class GuardError extends Error {
  /**
   * @param {string} code stable, listed in docs/errors.md
   * @param {string} message
   * @param {object} [fields] copied onto the error; `cause` becomes its cause
   */
  constructor(code, message, { cause, ...fields } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    Object.assign(this, fields);
  }
}

/** Another live instance owns the agent. Has `agentId`, `owner`, `retryAfterMs`. */
class AgentInUseError extends GuardError {}

/** The claim is no longer held. Has `agentId` and `reason`. */
class ClaimLostError extends GuardError {}

/** A stored credential cannot be opened. */
class DecryptionError extends GuardError {}

const CLASSES = {
  ERR_AGENT_IN_USE: AgentInUseError,
  ERR_CLAIM_LOST: ClaimLostError,
  ERR_DECRYPT_FAILED: DecryptionError,
  ERR_LEGACY_REFUSED: DecryptionError,
  ERR_MALFORMED_ENVELOPE: DecryptionError,
  ERR_PLAINTEXT_REFUSED: DecryptionError,
  ERR_UNKNOWN_KEY: DecryptionError,
};

/** An error of native code as one of ours; anything unknown becomes ERR_INTERNAL. */
function fromNative(error) {
  const { code, message, ...fields } = error;
  if (typeof code !== 'string' || !code.startsWith('ERR_')) {
    return new GuardError('ERR_INTERNAL', `internal error: ${error.message}; please report it`);
  }
  if (fields.owner) fields.owner = ownerFrom(fields.owner);
  const Class = CLASSES[code] ?? GuardError;
  return new Class(code, error.message, fields);
}

/**
 * An owner as users see it. The token is a bigint, which JSON knows not: it can be read, and is
 * left out where an owner is sent as JSON.
 */
function ownerFrom({ fencingToken, lastHeartbeat, ...owner }) {
  return Object.defineProperty(
    { ...owner, lastHeartbeat: new Date(lastHeartbeat) },
    'fencingToken',
    { value: fencingToken, enumerable: false },
  );
}

/** The value of a native call, or its error thrown. */
function unwrap(outcome) {
  if (isNativeError(outcome)) throw fromNative(outcome);
  return outcome;
}

/** Like `unwrap` for a native call that returns a promise. */
async function settle(promise) {
  let outcome;
  try {
    outcome = await promise;
  } catch (error) {
    throw fromNative(error); // napi's own rejection: a panic, or an argument it could not convert
  }
  return unwrap(outcome);
}

function invalidArgument(argument, problem) {
  return new GuardError('ERR_INVALID_ARGUMENT', `argument ${argument}: ${problem}`, { argument });
}

/** @param {{ agentId: string, type?: string, id?: string }} [context] what the envelope is of */
function malformedEnvelope(problem, context) {
  const { agentId, type = '', id = '' } = context ?? {};
  const where = context ? `agent ${agentId}${type && `, ${type}`}${id && ` ${id}`}: ` : '';
  const fields = context ? { agentId, type, id } : {};
  const message = `${where}malformed envelope: ${problem}`;
  return new DecryptionError('ERR_MALFORMED_ENVELOPE', message, fields);
}

function invalidOption(option, problem) {
  return new GuardError('ERR_INVALID_OPTION', `option ${option}: ${problem}`, { option });
}

module.exports = {
  GuardError,
  AgentInUseError,
  ClaimLostError,
  DecryptionError,
  fromNative,
  ownerFrom,
  unwrap,
  settle,
  invalidArgument,
  invalidOption,
  malformedEnvelope,
};

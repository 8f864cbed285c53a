'use strict';

// What an error tells about the end of a connection, in the form the policy takes.

const { checkObject, describe } = require('../arguments');
const { GuardError, invalidArgument } = require('../errors');
const native = require('../native');
const { checkNumbers } = require('./options');

/** Deep enough for a Boom around a WebSocket error around a system error. */
const MAX_CAUSES = 5;

/**
 * @param {unknown} end Baileys' `lastDisconnect`, an error, a status code, or nothing where the
 *   socket was ended by its own user
 * @returns what `binding.d.ts` calls FactsObject
 */
function factsOf(end) {
  const error = errorOf(end);
  if (error === undefined || error === null) return { ended: true };
  if (typeof error === 'number') return { code: codeIn(error) };
  if (typeof error === 'string') return { text: error };
  if (typeof error !== 'object')
    throw invalidArgument('error', `must be an error, got ${describe(error)}`);
  const facts = { code: undefined, text: '', guardCode: undefined, loss: undefined };
  const seen = new Set();
  for (
    let one = error;
    isObject(one) && !seen.has(one) && seen.size < MAX_CAUSES;
    one = one.cause
  ) {
    seen.add(one);
    facts.code ??=
      codeIn(one.output?.statusCode) ?? codeIn(one.statusCode) ?? codeIn(one.data?.statusCode);
    const system = textIn(one.code) ?? textIn(one.data?.code) ?? '';
    facts.text += ` ${textIn(one.message) ?? ''} ${system}`;
    if (textIn(one.code) && (one instanceof GuardError || one.code.startsWith('ERR_'))) {
      facts.guardCode ??= one.code;
      facts.loss ??= typeof one.reason === 'string' ? one.reason : undefined;
    }
  }
  return facts;
}

/** The same of what a connect threw, which may be anything: what cannot be read is a failure, too. */
function factsOfThrown(error) {
  try {
    return factsOf(error);
  } catch {
    return { text: '' };
  }
}

/**
 * The error in what Baileys gives. A whole `connection.update`, which is easily passed on, must not
 * count as something unknown: a device that was logged out would be connected for ever.
 */
function errorOf(given) {
  const end = isObject(given) && 'lastDisconnect' in given ? given.lastDisconnect : given;
  return isLastDisconnect(end) ? end.error : end;
}

/** `{ error, date }` as Baileys gives it, where the error may be missing. */
function isLastDisconnect(end) {
  return (
    isObject(end) && !(end instanceof Error) && ('error' in end || 'date' in end || isEmpty(end))
  );
}

function isEmpty(object) {
  return Object.keys(object).length === 0 && Object.getPrototypeOf(object) === Object.prototype;
}

/** Errors come from everywhere, and carry anything. */
function textIn(value) {
  return typeof value === 'string' ? value : undefined;
}

function isObject(value) {
  return typeof value === 'object' && value !== null;
}

/** A whole number that a status code can be. */
function codeIn(value) {
  return Number.isInteger(value) && value >= 0 && value <= 65_535 ? value : undefined;
}

/**
 * What would be done about an end of a connection, on its own: of a session whose claim is held
 * and that has not failed before.
 *
 * @param {unknown} error as for `disconnected()`
 * @param {object} [options] the numbers of a scheduler; without jitter unless it is given
 */
function classifyDisconnect(error, options) {
  const facts = factsOf(error);
  const numbers = checkNumbers({ jitter: 0, ...checkObject(options, 'options') });
  const { news, ...decision } = native.classifyEnd(numbers, facts);
  return { ...decision, code: facts.code ?? null };
}

/** Why a connection ended. */
function reasonOf(facts) {
  return native.classifyEnd(checkNumbers({}), facts).reason;
}

/** The waits of a scheduler with these options: `[{ action, nth, baseMs, minMs, maxMs }]`. */
function reconnectDelays(count, options) {
  return native.reconnectDelays(checkNumbers(checkObject(options, 'options')), count);
}

module.exports = { classifyDisconnect, errorOf, factsOf, factsOfThrown, reasonOf, reconnectDelays };

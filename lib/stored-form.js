'use strict';

// Recognises a stored value. The same decisions as `recognise` in src/credentials/value.rs, made
// here for the sake of values that a JSON parser in Rust cannot hold (halves of surrogate pairs).
// Both are tested with the cases of __test__/fixtures/stored-forms.json.
//
// What looks like an envelope or like the form of before and is broken is malformed, never plain.

const MIN_TEXT_LENGTH = 80; // the shortest envelope, 60 bytes, in base64
const HEX = /^(?:[0-9a-f]{2})*$/i;

const malformed = (problem) => ({ form: 'malformed', problem });

/** `V0E` is how an envelope's first bytes look in base64; so much base64 is no plain value. */
function isEnvelopeText(text) {
  if (text.startsWith('V0E')) return true;
  return text.length >= MIN_TEXT_LENGTH && /^[\s\S]{3}[A-Za-z0-9+/=]*$/.test(text);
}

function legacyPart(stored, name, length) {
  const text = stored[name];
  if (typeof text !== 'string') return `${name} is not a string`;
  if (length !== undefined && text.length !== length) {
    return `${name} has ${text.length} characters instead of ${length}`;
  }
  return HEX.test(text) ? undefined : `${name} is not hexadecimal`;
}

function recogniseObject(stored) {
  const keys = Object.keys(stored);
  const has = (name) => Object.hasOwn(stored, name);
  const only = (...names) => keys.every((key) => names.includes(key));
  if ((has('ct') && (has('v') || has('kid') || keys.length === 1)) || (has('v') && has('kid'))) {
    if (!only('v', 'kid', 'ct')) return malformed('it has other properties beside v, kid and ct');
    if (typeof stored.ct !== 'string') return malformed('ct is not a string');
    return { form: 'envelope', ct: stored.ct, beside: stored };
  }
  if (has('encrypted') && (has('iv') || has('authTag'))) {
    if (!only('encrypted', 'iv', 'authTag')) {
      return malformed('it has other properties beside encrypted, iv and authTag');
    }
    const problem =
      legacyPart(stored, 'encrypted') ??
      legacyPart(stored, 'iv', 32) ??
      legacyPart(stored, 'authTag', 32);
    return problem ? malformed(problem) : { form: 'legacy', legacy: stored };
  }
  return { form: 'plain' };
}

/**
 * @returns {{ form: 'nothing' | 'plain' } |
 *   { form: 'envelope', ct: string, beside?: { v?: unknown, kid?: unknown } } |
 *   { form: 'legacy', legacy: { encrypted: string, iv: string, authTag: string } } |
 *   { form: 'json-text', object: object } | { form: 'malformed', problem: string }}
 */
function recognise(stored) {
  if (stored === null) return { form: 'nothing' };
  if (typeof stored === 'object') {
    return Array.isArray(stored) ? { form: 'plain' } : recogniseObject(stored);
  }
  if (typeof stored !== 'string') return { form: 'plain' };
  if (isEnvelopeText(stored)) return { form: 'envelope', ct: stored };
  if (!stored.trimStart().startsWith('{')) return { form: 'plain' };
  try {
    return { form: 'json-text', object: JSON.parse(stored) };
  } catch {
    return { form: 'plain' };
  }
}

module.exports = { recognise };

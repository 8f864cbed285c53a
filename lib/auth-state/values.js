'use strict';

// Baileys' values as stored bytes. What is bytes already is stored as it is, a third of the size
// and a tenth of the time; the rest is JSON in which bytes are kept (lib/credential-json.js).

const { isUint8Array } = require('node:util').types;

const { isDetached } = require('../credential-arguments');
const { decodeJson, encodeJson } = require('../credential-json');
const { GuardError } = require('../errors');

// Codes of the envelope's header (docs/envelope.md).
const BYTES = 0;
const JSON_TEXT = 1;
const TEXT = 2;

/** `{ content, bytes }` of a value; throws ERR_NOT_SERIALIZABLE naming the path. */
function encode(value) {
  if (isUint8Array(value)) {
    if (isDetached(value)) {
      const message = 'value has no bytes any more: its buffer was transferred';
      throw new GuardError('ERR_NOT_SERIALIZABLE', message, { path: 'value' });
    }
    // Copied: what the caller does with its buffer later must not reach the database.
    return { content: BYTES, bytes: Buffer.from(value) };
  }
  if (typeof value === 'string' && value.isWellFormed()) {
    return { content: TEXT, bytes: Buffer.from(value) };
  }
  return { content: JSON_TEXT, bytes: Buffer.from(encodeJson(value)) };
}

/** The value of stored bytes. */
function decode(content, bytes) {
  if (content === BYTES) return Buffer.from(bytes);
  const text = bytes.toString('utf8');
  return content === TEXT ? text : decodeJson(text);
}

module.exports = { decode, encode };

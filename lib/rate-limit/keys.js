'use strict';

// Keys are strings. A key generator may return something else, and then a Map would keep 1 and
// '1' apart, and two objects too. Native tables take a text and a number for its kind, which
// says the same.

const { KEY_KIND, NOW } = require('./numbers');

const STRING = 0;
const NUMBER = 1;
const UNDEFINED = 2;
const NULL = 3;
const BOOLEAN = 4;
const BIGINT = 5;
const IDENTITY = 6;
const SHARED_SYMBOL = 7;

/** @returns {number} the kind of a key */
function kindOf(key) {
  switch (typeof key) {
    case 'string':
      return STRING;
    case 'number':
      return NUMBER;
    case 'undefined':
      return UNDEFINED;
    case 'boolean':
      return BOOLEAN;
    case 'bigint':
      return BIGINT;
    case 'symbol':
      return Symbol.keyFor(key) === undefined ? IDENTITY : SHARED_SYMBOL;
    default:
      return key === null ? NULL : IDENTITY;
  }
}

const identities = new WeakMap();
let lastIdentity = 0;

/** @returns {string} the text of a key, one for each key of its kind */
function textOf(key) {
  switch (kindOf(key)) {
    case STRING:
      return key;
    case IDENTITY:
      if (!identities.has(key)) identities.set(key, String((lastIdentity += 1)));
      return identities.get(key);
    case SHARED_SYMBOL:
      return Symbol.keyFor(key);
    default:
      return String(key);
  }
}

/**
 * Lays down beside a key what a native table has to know of it.
 *
 * @param {Float64Array} numbers what is shared with the table
 * @returns {string} the key's text, which is what the table is called with
 */
function handOver(key, now, numbers) {
  numbers[NOW] = now;
  numbers[KEY_KIND] = kindOf(key);
  return textOf(key);
}

module.exports = { handOver, kindOf, textOf };

'use strict';

// Checks of what is given to encrypt and decrypt. In the fast path of small values: each costs a
// few nanoseconds where there is nothing to complain about.

const { isSharedArrayBuffer, isUint8Array } = require('node:util').types;

const { describe } = require('./arguments');
const { invalidArgument, invalidOption } = require('./errors');

const MAX_NAME_LENGTH = 1024;

function checkKey(key, option) {
  if (typeof key !== 'string') {
    throw invalidOption(option, `must be a string, got ${describe(key)}`);
  }
}

function checkKeys(keys, option) {
  if (!Array.isArray(keys)) {
    throw invalidOption(option, `must be an array of strings, got ${describe(keys)}`);
  }
  for (const [index, key] of keys.entries()) checkKey(key, `${option}[${index}]`);
}

/** Whether the bytes were transferred away, to a worker for instance; they look empty then. */
function isDetached(bytes) {
  if (bytes.byteLength > 0) return false;
  try {
    new Uint8Array(bytes.buffer);
    return false;
  } catch {
    return true;
  }
}

function checkBytes(bytes, argument) {
  if (!isUint8Array(bytes)) {
    throw invalidArgument(argument, `must be a Buffer or Uint8Array, got ${describe(bytes)}`);
  }
  // Another thread could change them between the check of the tag and decryption.
  if (isSharedArrayBuffer(bytes.buffer)) {
    throw invalidArgument(argument, 'must not be backed by a SharedArrayBuffer; copy it first');
  }
  if (isDetached(bytes)) {
    throw invalidArgument(argument, 'has no bytes any more: its buffer was transferred');
  }
  return bytes;
}

function isName(name) {
  return typeof name === 'string' && name.length <= MAX_NAME_LENGTH && name.isWellFormed();
}

/** Type or id: a string, which may be empty. Native code refuses NUL, which separates them. */
function checkName(name, argument) {
  if (isName(name)) return name;
  if (typeof name !== 'string') {
    throw invalidArgument(argument, `must be a string, got ${describe(name)}`);
  }
  const problem = name.isWellFormed()
    ? `must have at most ${MAX_NAME_LENGTH} characters, got ${name.length}`
    : 'must be well-formed Unicode';
  throw invalidArgument(argument, problem);
}

/** Types and ids of a batch as native code takes them: in one string, separated by NUL. */
function namesOf(items) {
  if (!Array.isArray(items)) {
    throw invalidArgument('items', `must be an array, got ${describe(items)}`);
  }
  let names = '';
  for (let i = 0; i < items.length; i++) {
    const item = items[i];
    if (typeof item !== 'object' || item === null) {
      throw invalidArgument(`items[${i}]`, `must be an object, got ${describe(item)}`);
    }
    const { type = '', id = '' } = item;
    if (!isName(type)) checkName(type, `items[${i}].type`);
    if (!isName(id)) checkName(id, `items[${i}].id`);
    names += i === 0 ? `${type}\0${id}` : `\0${type}\0${id}`;
  }
  return names;
}

/** Lengths within a batch are 32-bit numbers. */
function checkTotal(length) {
  if (length <= 0xffff_ffff) return length;
  throw invalidArgument('items', 'hold more than 4 GB together; split them');
}

module.exports = {
  checkBytes,
  checkKey,
  checkKeys,
  checkName,
  checkTotal,
  isDetached,
  namesOf,
};

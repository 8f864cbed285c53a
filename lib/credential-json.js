'use strict';

// JSON that keeps byte strings: a Buffer or Uint8Array is written as
// {"type":"Buffer","data":"<base64>"} and comes back as a Buffer. Everything else is as JSON has
// it, and what JSON would lose without a word is refused, with its path.
//
// A walk before `stringify` and one after `parse` are about twice as fast as Baileys'
// `BufferJSON.replacer` and `reviver`, which are called for every key. And they are exact where
// `reviver` guesses: it makes a Buffer of { '4915@s.whatsapp.net': 3 }.

const {
  isAnyArrayBuffer,
  isBoxedPrimitive,
  isMap,
  isPromise,
  isSet,
  isUint8Array,
  isWeakMap,
  isWeakSet,
} = require('node:util').types;

const { isDetached } = require('./credential-arguments');
const { GuardError } = require('./errors');

/** From this depth on a value is compared with what contains it; a cycle gets there soon. */
const CYCLE_CHECK_DEPTH = 32;

function notSerializable(path, problem) {
  const name = path.reduce(
    (text, key) =>
      typeof key === 'number'
        ? `${text}[${key}]`
        : /^[A-Za-z_$][\w$]*$/.test(key)
          ? `${text}.${key}`
          : `${text}[${JSON.stringify(key)}]`,
    'value',
  );
  return new GuardError('ERR_NOT_SERIALIZABLE', `${name} ${problem}`, { path: name });
}

/** Bytes as they are written into JSON. */
function bytesToJson(bytes) {
  const buffer = Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { type: 'Buffer', data: buffer.toString('base64') };
}

/** What `JSON.stringify` makes of a Buffer: the same bytes, as an array of numbers. */
function bytesOfNumbers(object) {
  if (object.type !== 'Buffer' || !Array.isArray(object.data)) return undefined;
  if (Object.keys(object).length !== 2) return undefined;
  const isByte = (n) => Number.isInteger(n) && n >= 0 && n <= 255;
  return object.data.every(isByte) ? Buffer.from(object.data) : undefined;
}

/** What an object is that JSON would write as something else without a word. */
function lossy(object) {
  if (ArrayBuffer.isView(object)) return 'is a binary view other than Buffer and Uint8Array';
  if (isAnyArrayBuffer(object)) return 'is an ArrayBuffer; wrap it in a Uint8Array';
  if (isMap(object) || isWeakMap(object)) return 'is a Map, which JSON cannot hold';
  if (isSet(object) || isWeakSet(object)) return 'is a Set, which JSON cannot hold';
  if (isPromise(object)) return 'is a Promise; await it first';
  return undefined;
}

class Encoder {
  #path = [];
  #ancestors = [];

  /** The value with its bytes replaced: itself where it holds none, else a copy. */
  walk(value, key) {
    switch (typeof value) {
      case 'object':
        break;
      case 'bigint':
        if (typeof value.toJSON === 'function') return this.walk(value.toJSON(String(key)), key);
        throw notSerializable(this.#path, 'is a BigInt, which JSON cannot hold');
      case 'function':
        throw notSerializable(this.#path, 'is a function, which JSON cannot hold');
      case 'symbol':
        throw notSerializable(this.#path, 'is a symbol, which JSON cannot hold');
      default:
        return value;
    }
    if (value === null) return value;
    if (isUint8Array(value)) {
      if (isDetached(value)) throw notSerializable(this.#path, 'has no bytes any more');
      return bytesToJson(value);
    }
    if (typeof value.toJSON === 'function') {
      const replaced = value.toJSON(String(key));
      if (replaced !== value) return this.walk(replaced, key);
    }
    const depth = this.#ancestors.length;
    if (depth >= CYCLE_CHECK_DEPTH && this.#ancestors.includes(value)) {
      throw notSerializable(this.#pathOfCycle(value), 'contains itself');
    }
    this.#ancestors.push(value);
    const walked = Array.isArray(value) ? this.#array(value) : this.#object(value);
    this.#ancestors.pop();
    return walked;
  }

  /** Where it first closed: the check comes only after it has gone round a few times. */
  #pathOfCycle(value) {
    const ancestors = this.#ancestors;
    const length = ancestors.length - ancestors.lastIndexOf(value);
    let end = ancestors.length;
    while (end > length && ancestors[end - 1] === ancestors[end - 1 - length]) end--;
    return this.#path.slice(0, end);
  }

  #array(array) {
    let copy;
    for (let i = 0; i < array.length; i++) {
      const walked = this.#member(array[i], i);
      if (walked !== array[i] && copy === undefined) copy = array.slice();
      if (copy !== undefined) copy[i] = walked;
    }
    return copy ?? array;
  }

  #object(object) {
    const prototype = Object.getPrototypeOf(object);
    if (prototype !== Object.prototype && prototype !== null) {
      const problem = lossy(object);
      if (problem) throw notSerializable(this.#path, problem);
      if (isBoxedPrimitive(object)) return this.walk(object.valueOf());
    }
    const bytes = bytesOfNumbers(object);
    if (bytes) return bytesToJson(bytes);
    let copy;
    for (const key of Object.keys(object)) {
      const member = object[key];
      const walked = this.#member(member, key);
      // A spread, unlike an assignment, makes an own property of a key like __proto__ too.
      if (walked !== member && copy === undefined) copy = { ...object };
      if (copy !== undefined) copy[key] = walked;
    }
    return copy ?? object;
  }

  #member(member, key) {
    // Most members: nothing to walk, nothing to remember.
    if (typeof member === 'string' || typeof member === 'number' || member === null) return member;
    this.#path.push(key);
    const walked = this.walk(member, key);
    this.#path.pop();
    return walked;
  }
}

/**
 * The JSON text of a value.
 * @throws {GuardError} ERR_NOT_SERIALIZABLE naming the path of what JSON cannot hold
 */
function encodeJson(value) {
  let text;
  try {
    text = JSON.stringify(new Encoder().walk(value, ''));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw notSerializable([], 'is nested too deeply');
  }
  if (text === undefined) throw notSerializable([], 'is undefined');
  return text;
}

/** The Buffer that an object of parsed JSON stands for, if it does. */
function bytesOfJson(object, keys) {
  const { data } = object;
  if (keys.length !== 2 || object.type !== 'Buffer' || typeof data !== 'string') return undefined;
  const bytes = Buffer.from(data, 'base64');
  const padding = data.endsWith('==') ? 2 : data.endsWith('=') ? 1 : 0;
  // Shorter where characters were skipped that are not base64: then it is just an object.
  const isBase64 = data.length % 4 === 0 && bytes.length === (data.length / 4) * 3 - padding;
  return isBase64 ? bytes : undefined;
}

function revive(value) {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      if (typeof value[i] === 'object') value[i] = revive(value[i]);
    }
    return value;
  }
  const keys = Object.keys(value);
  const bytes = bytesOfJson(value, keys);
  if (bytes) return bytes;
  for (const key of keys) {
    // The property is there already, so this assigns it, whatever its name.
    if (typeof value[key] === 'object') value[key] = revive(value[key]);
  }
  return value;
}

/**
 * The value of a JSON text, with Buffers.
 * @throws {SyntaxError} that shows nothing of the text: Node's own quotes it, and it may be secret
 */
function decodeJson(text) {
  try {
    const value = JSON.parse(text);
    return text.includes('"Buffer"') ? revive(value) : value;
  } catch (error) {
    if (error instanceof RangeError) throw new SyntaxError('it is nested too deeply');
    throw new SyntaxError('it is not JSON');
  }
}

module.exports = { encodeJson, decodeJson };

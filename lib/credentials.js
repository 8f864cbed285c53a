'use strict';

// Encryption of credentials. Keys stay on the native side, behind an opaque handle; bytes are
// allocated here and written there, which is the cheapest way across.

const { isSharedArrayBuffer, isUint8Array } = require('node:util').types;

const { checkId, checkObject, describe } = require('./arguments');
const { decodeJson, encodeJson } = require('./credential-json');
const { DecryptionError, fromNative, invalidArgument, invalidOption, unwrap } = require('./errors');
const defaultNative = require('./native');
const { recognise } = require('./stored-form');

const HEADER_LENGTH = 44;
const OVERHEAD = 60; // header and tag
const GENERATION_LENGTH = 8;
const CONTENT_AT = 4;
const FLAGS_AT = 5;
const BYTES = 0;
const JSON_TEXT = 1;
const TEXT = 2;
const CONTENT_NAMES = ['bytes', 'json', 'text'];

/** Bound to credentials as one value; other values bring type and id of their own. */
const CREDENTIALS = { type: 'creds', id: '' };
const MAX_NAME_LENGTH = 1024;

function checkKey(key, option) {
  if (typeof key !== 'string') {
    throw invalidOption(option, `must be a string, got ${describe(key)}`);
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
  return bytes;
}

/** Type or id: a string, which may be empty. NUL separates them on their way to native code. */
function checkName(name, argument) {
  if (typeof name !== 'string') {
    throw invalidArgument(argument, `must be a string, got ${describe(name)}`);
  }
  if (name.length > MAX_NAME_LENGTH) {
    throw invalidArgument(
      argument,
      `must have at most ${MAX_NAME_LENGTH} characters, got ${name.length}`,
    );
  }
  if (name.includes('\0')) throw invalidArgument(argument, 'must not contain a NUL character');
  if (!name.isWellFormed()) throw invalidArgument(argument, 'must be well-formed Unicode');
  return name;
}

function checkItems(items, argument) {
  if (!Array.isArray(items)) {
    throw invalidArgument(argument, `must be an array, got ${describe(items)}`);
  }
  items.forEach((item, index) => {
    const place = `${argument}[${index}]`;
    if (typeof item !== 'object' || item === null) {
      throw invalidArgument(place, `must be an object, got ${describe(item)}`);
    }
    if (item.type !== undefined) checkName(item.type, `${place}.type`);
    if (item.id !== undefined) checkName(item.id, `${place}.id`);
  });
  return items;
}

function malformed(problem, context) {
  const { agentId, type = '', id = '' } = context ?? {};
  const where = context ? `agent ${agentId}${type && `, ${type}`}${id && ` ${id}`}: ` : '';
  const fields = context ? { agentId, type, id } : {};
  const message = `${where}malformed envelope: ${problem}`;
  return new DecryptionError('ERR_MALFORMED_ENVELOPE', message, fields);
}

/** Content code and bytes of any value. The bytes are a copy unless the value is bytes itself. */
function encode(value) {
  if (isUint8Array(value)) return { content: BYTES, bytes: checkBytes(value, 'value') };
  if (value === undefined) throw invalidArgument('value', 'must not be undefined');
  // UTF-8 cannot hold half of a surrogate pair, JSON can.
  const isText = typeof value === 'string' && value.isWellFormed();
  const bytes = Buffer.from(isText ? value : encodeJson(value));
  return { content: isText ? TEXT : JSON_TEXT, bytes };
}

function decode(content, bytes) {
  if (content === BYTES) return bytes;
  const text = bytes.toString();
  bytes.fill(0);
  return content === TEXT ? text : decodeJson(text);
}

function headerLength(envelope, start = 0) {
  return HEADER_LENGTH + (envelope[start + FLAGS_AT] & 1 ? GENERATION_LENGTH : 0);
}

function plainLength(envelope) {
  return Math.max(envelope.length - headerLength(envelope) - (OVERHEAD - HEADER_LENGTH), 0);
}

/**
 * Encryption under one ring of keys.
 *
 * Safe to print: the keys are not in it.
 */
class Credentials {
  #native;
  #ring;
  #accept;
  #keyIds;
  #checkedAgent; // agent ids repeat; the same string is not checked twice

  constructor(options = {}, native = defaultNative) {
    const { encryptionKey, previousEncryptionKeys = [], acceptPlaintext, acceptLegacy } = options;
    if (encryptionKey !== undefined) checkKey(encryptionKey, 'encryptionKey');
    if (!Array.isArray(previousEncryptionKeys)) {
      throw invalidOption(
        'previousEncryptionKeys',
        `must be an array of strings, got ${describe(previousEncryptionKeys)}`,
      );
    }
    previousEncryptionKeys.forEach((key, index) =>
      checkKey(key, `previousEncryptionKeys[${index}]`),
    );
    this.#accept = {
      plaintext: checkBoolean(acceptPlaintext ?? true, 'acceptPlaintext'),
      legacy: checkBoolean(acceptLegacy ?? true, 'acceptLegacy'),
    };
    this.#native = native;
    this.#ring = unwrap(native.createKeyRing(encryptionKey, previousEncryptionKeys));
    const { current = null, previous } = native.keyIds(this.#ring);
    this.#keyIds = Object.freeze({ current, previous: Object.freeze(previous) });
  }

  /** The native handle, for native code that opens stored rows itself. */
  get keyRing() {
    return this.#ring;
  }

  /** Names of the keys, which say nothing about them: `{ current, previous }`. */
  get keyIds() {
    return this.#keyIds;
  }

  /** What has been done so far: `{ sealed, opened, refused }`. */
  stats() {
    return this.#native.keyRingStats(this.#ring);
  }

  encryptCredentials(value, options) {
    const context = { agentId: this.#agentId(options), ...CREDENTIALS };
    const { content, bytes } = encode(value);
    const envelope = this.#seal(context, content, bytes);
    if (bytes !== value) bytes.fill(0);
    return { v: 1, kid: this.#keyIds.current, ct: envelope.toString('base64') };
  }

  decryptCredentials(stored, options) {
    const context = { agentId: this.#agentId(options), ...CREDENTIALS };
    if (stored === undefined) throw invalidArgument('stored', 'must not be undefined');
    if (isUint8Array(stored)) return this.#openValue(context, checkBytes(stored, 'stored'));
    const recognised = recognise(stored);
    switch (recognised.form) {
      case 'nothing':
        return null;
      case 'envelope':
        return this.#openValue(context, this.#envelopeBytes(recognised, context));
      case 'legacy':
        return this.#openLegacy(context, recognised.legacy);
      case 'json-text':
        return this.decryptCredentials(recognised.object, options);
      case 'malformed':
        throw malformed(recognised.problem, context);
      default:
        return this.#readPlain(context, stored);
    }
  }

  encryptBytes(bytes, options) {
    const agentId = this.#agentId(options);
    const { type = '', id = '' } = options;
    if (type !== '') checkName(type, 'type');
    if (id !== '') checkName(id, 'id');
    return this.#seal({ agentId, type, id }, BYTES, checkBytes(bytes, 'bytes'));
  }

  decryptBytes(envelope, options) {
    const agentId = this.#agentId(options);
    const { type = '', id = '' } = options;
    if (type !== '') checkName(type, 'type');
    if (id !== '') checkName(id, 'id');
    const { content, bytes } = this.#open({ agentId, type, id }, checkBytes(envelope, 'envelope'));
    if (content === BYTES) return bytes;
    bytes.fill(0);
    throw invalidArgument(
      'envelope',
      `holds ${CONTENT_NAMES[content]}, not bytes; open it with decryptMany or decryptCredentials`,
    );
  }

  encryptMany(items, options) {
    const agentId = this.#agentId(options);
    const encoded = checkItems(items, 'items').map(({ value }) => encode(value));
    const layout = new Uint32Array(2 * items.length);
    let length = 0;
    encoded.forEach(({ content, bytes }, i) => {
      layout[2 * i] = bytes.length + OVERHEAD;
      layout[2 * i + 1] = content;
      length += layout[2 * i];
    });
    const slab = Buffer.allocUnsafeSlow(checkSlab(length));
    let start = 0;
    encoded.forEach(({ bytes }, i) => {
      slab.set(bytes, start + HEADER_LENGTH);
      if (bytes !== items[i].value) bytes.fill(0);
      start += layout[2 * i];
    });
    const error = this.#native.sealMany(this.#ring, agentId, names(items), layout, slab);
    if (error !== undefined) {
      slab.fill(0); // the plaintext stands in it
      throw fromNative(error);
    }
    start = 0;
    return encoded.map((_, i) => slab.subarray(start, (start += layout[2 * i])));
  }

  decryptMany(items, options) {
    const agentId = this.#agentId(options);
    checkItems(items, 'items');
    const lengths = new Uint32Array(items.length);
    let length = 0;
    items.forEach(({ envelope }, i) => {
      lengths[i] = checkBytes(envelope, `items[${i}].envelope`).length;
      length += lengths[i];
    });
    const slab = Buffer.allocUnsafeSlow(checkSlab(length));
    let start = 0;
    items.forEach(({ envelope }, i) => {
      slab.set(envelope, start);
      start += lengths[i];
    });
    const error = this.#native.openMany(this.#ring, agentId, names(items), lengths, slab);
    if (error !== undefined) throw fromNative(error);
    start = 0;
    return items.map((_, i) => {
      const from = start + headerLength(slab, start);
      const content = slab[start + CONTENT_AT];
      start += lengths[i];
      return decode(content, slab.subarray(from, start - (OVERHEAD - HEADER_LENGTH)));
    });
  }

  inspectEnvelope(stored) {
    if (stored === undefined) throw invalidArgument('stored', 'must not be undefined');
    if (isUint8Array(stored)) return this.#inspect(checkBytes(stored, 'stored'));
    const recognised = recognise(stored);
    switch (recognised.form) {
      case 'envelope':
        return this.#inspect(this.#envelopeBytes(recognised));
      case 'json-text':
        return this.inspectEnvelope(recognised.object);
      case 'malformed':
        throw malformed(recognised.problem);
      default:
        return { form: recognised.form };
    }
  }

  needsReencryption(stored) {
    const { form, keyId } = this.inspectEnvelope(stored);
    if (form === 'nothing') return false;
    return form !== 'envelope' || keyId !== this.#keyIds.current;
  }

  #agentId(options) {
    const agentId = options?.agentId;
    if (agentId !== this.#checkedAgent || agentId === undefined) {
      checkObject(options, 'options');
      this.#checkedAgent = checkId(agentId, 'agentId');
    }
    return agentId;
  }

  #seal({ agentId, type, id }, content, bytes) {
    const envelope = Buffer.allocUnsafe(bytes.length + OVERHEAD);
    const error = this.#native.sealBytes(this.#ring, agentId, type, id, content, bytes, envelope);
    if (error !== undefined) throw fromNative(error);
    return envelope;
  }

  #open({ agentId, type, id }, envelope) {
    const bytes = Buffer.allocUnsafe(plainLength(envelope));
    const content = this.#native.openBytes(this.#ring, agentId, type, id, envelope, bytes);
    if (typeof content !== 'number') throw fromNative(content);
    return { content, bytes };
  }

  #openValue(context, envelope) {
    const { content, bytes } = this.#open(context, envelope);
    return decode(content, bytes);
  }

  #openLegacy(context, { encrypted, iv, authTag }) {
    if (!this.#accept.legacy) {
      throw new DecryptionError(
        'ERR_LEGACY_REFUSED',
        `agent ${context.agentId}, ${context.type}: the stored value has the old form ` +
          '{ encrypted, iv, authTag } and acceptLegacy is false',
        context,
      );
    }
    const ring = this.#ring;
    return decodeJson(
      unwrap(this.#native.openLegacy(ring, context.agentId, encrypted, iv, authTag)),
    );
  }

  /** A plain value with its bytes restored: they went through JSON, perhaps without BufferJSON. */
  #readPlain(context, stored) {
    if (!this.#accept.plaintext) {
      throw new DecryptionError(
        'ERR_PLAINTEXT_REFUSED',
        `agent ${context.agentId}, ${context.type}: the stored value is not encrypted and ` +
          'acceptPlaintext is false',
        context,
      );
    }
    if (typeof stored === 'string') return stored;
    return decodeJson(unwrap(this.#native.restoreJson(encodeJson(stored))));
  }

  #inspect(envelope) {
    const { content, keyId, generation = null } = unwrap(this.#native.readHeader(envelope));
    return { form: 'envelope', version: 1, keyId, content: CONTENT_NAMES[content], generation };
  }

  /** Bytes of an envelope in base64. Node skips what is not base64; here it is an error. */
  #envelopeBytes({ ct, beside }, context) {
    const bytes = Buffer.from(ct, 'base64');
    if (bytes.toString('base64') !== ct) throw malformed('it is not valid base64', context);
    const { v, kid } = beside ?? {};
    if (v !== undefined && v !== 1) {
      throw malformed("v disagrees with the envelope's version 1", context);
    }
    // Too short an envelope has no key id; opening it says so.
    if (kid !== undefined && bytes.length >= OVERHEAD && kid !== bytes.toString('hex', 8, 16)) {
      throw malformed("kid disagrees with the envelope's key id", context);
    }
    return bytes;
  }
}

function checkBoolean(value, option) {
  if (typeof value !== 'boolean') {
    throw invalidOption(option, `must be true or false, got ${describe(value)}`);
  }
  return value;
}

/** Types and ids as native code takes them: in one string, separated by NUL. */
function names(items) {
  return items.map(({ type = '', id = '' }) => `${type}\0${id}`).join('\0');
}

/** Lengths within a batch are 32-bit numbers. */
function checkSlab(length) {
  if (length <= 0xffff_ffff) return length;
  throw invalidArgument('items', 'hold more than 4 GB together; split them');
}

/**
 * @param {object} [options] `encryptionKey`, `previousEncryptionKeys`, `acceptPlaintext`,
 *   `acceptLegacy`, as of `createGuard`
 */
function createCredentials(options, native) {
  return new Credentials(options, native);
}

module.exports = { createCredentials };

'use strict';

// Encryption of credentials. Keys stay on the native side, behind an opaque handle; bytes are
// allocated here and written there, which is the cheapest way across.

const { Buffer } = require('node:buffer'); // the global is a getter
const { isUint8Array } = require('node:util').types;

const { checkBooleanOption, checkId, checkObject } = require('./arguments');
const {
  checkBytes,
  checkKey,
  checkKeys,
  checkName,
  checkTotal,
  namesOf,
} = require('./credential-arguments');
const { decodeJson, encodeJson } = require('./credential-json');
const {
  DecryptionError,
  fromNative,
  invalidArgument,
  malformedEnvelope,
  unwrap,
} = require('./errors');
const defaultNative = require('./native');
const { recognise } = require('./stored-form');

const HEADER_LENGTH = 44;
const TAG_LENGTH = 16;
const OVERHEAD = HEADER_LENGTH + TAG_LENGTH;
const GENERATION_LENGTH = 8;
const CONTENT_AT = 4;
const FLAGS_AT = 5;
const BYTES = 0;
const JSON_TEXT = 1;
const TEXT = 2;
const SLAB_SIZE = 32 * 1024;
const MAX_POOLED = SLAB_SIZE / 4;
const CONTENT_NAMES = ['bytes', 'json', 'text'];

/** Bound to credentials as one value; other values bring type and id of their own. */
const CREDENTIALS = { type: 'creds', id: '' };

/** Content code and bytes of any value. The bytes are a copy unless the value is bytes itself. */
function encode(value) {
  if (isUint8Array(value)) return { content: BYTES, bytes: checkBytes(value, 'value') };
  if (value === undefined) throw invalidArgument('value', 'must not be undefined');
  // UTF-8 cannot hold half of a surrogate pair, JSON can.
  const isText = typeof value === 'string' && value.isWellFormed();
  const bytes = Buffer.from(isText ? value : encodeJson(value));
  return { content: isText ? TEXT : JSON_TEXT, bytes };
}

function decode(content, bytes, context) {
  if (content === BYTES) return bytes;
  const text = bytes.toString();
  bytes.fill(0);
  return content === TEXT ? text : parse(text, context);
}

/** JSON that was encrypted. Ours parses; what another writer has sealed may not. */
function parse(text, context) {
  try {
    return decodeJson(text);
  } catch (error) {
    throw malformedEnvelope(`what was encrypted: ${error.message}`, context);
  }
}

function headerLength(envelope, start = 0) {
  return HEADER_LENGTH + (envelope[start + FLAGS_AT] & 1 ? GENERATION_LENGTH : 0);
}

function plainLength(envelope) {
  return Math.max(envelope.length - headerLength(envelope) - TAG_LENGTH, 0);
}

/**
 * Encryption under one ring of keys.
 *
 * Safe to print: the keys are not in it.
 */
class Credentials {
  #native;
  #ring;
  #sealer;
  #accept;
  #keyIds;
  #slab = Buffer.alloc(0);
  #used = 0; // of the slab
  #checkedAgent; // agent ids repeat; the same string is not checked twice

  constructor(options = {}, native = defaultNative) {
    const { encryptionKey, previousEncryptionKeys = [], acceptPlaintext, acceptLegacy } = options;
    if (encryptionKey !== undefined) checkKey(encryptionKey, 'encryptionKey');
    checkKeys(previousEncryptionKeys, 'previousEncryptionKeys');
    this.#accept = {
      plaintext: checkBooleanOption(acceptPlaintext ?? true, 'acceptPlaintext'),
      legacy: checkBooleanOption(acceptLegacy ?? true, 'acceptLegacy'),
    };
    this.#native = native;
    this.#ring = unwrap(native.createKeyRing(encryptionKey, previousEncryptionKeys));
    this.#sealer = native.createSealer(this.#ring);
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
    const context = `${this.#agentId(options)}\0${CREDENTIALS.type}\0${CREDENTIALS.id}`;
    const { content, bytes } = encode(value);
    try {
      const envelope = this.#seal(context, bytes, content);
      return { v: 1, kid: this.#keyIds.current, ct: envelope.toString('base64') };
    } finally {
      if (bytes !== value) bytes.fill(0); // a copy of the plaintext
    }
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
        throw malformedEnvelope(recognised.problem, context);
      default:
        return this.#readPlain(context, stored);
    }
  }

  encryptBytes(bytes, options) {
    const context = this.#context(options);
    return this.#seal(context, checkBytes(bytes, 'bytes'), BYTES);
  }

  decryptBytes(envelope, options) {
    const context = this.#context(options);
    const bytes = Buffer.allocUnsafe(plainLength(checkBytes(envelope, 'envelope')));
    const content = this.#open(context, envelope, bytes);
    if (content === BYTES) return bytes;
    bytes.fill(0);
    throw invalidArgument(
      'envelope',
      `holds ${CONTENT_NAMES[content]}, not bytes; open it with decryptMany or decryptCredentials`,
    );
  }

  encryptMany(items, options) {
    const agentId = this.#agentId(options);
    const names = namesOf(items);
    const count = items.length;
    if (count === 0) return [];
    const contents = new Array(count);
    const layout = new Uint32Array(2 * count); // length and content code of each envelope
    let length = 0;
    for (let i = 0; i < count; i++) {
      const { value } = items[i];
      const { content, bytes } = encode(value);
      contents[i] = bytes;
      layout[2 * i] = bytes.length + OVERHEAD;
      layout[2 * i + 1] = content;
      length += bytes.length + OVERHEAD;
    }
    // The plaintext is put where the ciphertext will stand.
    const slab = Buffer.allocUnsafeSlow(checkTotal(length));
    const envelopes = new Array(count);
    let start = 0;
    for (let i = 0; i < count; i++) {
      slab.set(contents[i], start + HEADER_LENGTH);
      if (contents[i] !== items[i].value) contents[i].fill(0);
      envelopes[i] = slab.subarray(start, (start += layout[2 * i]));
    }
    const error = this.#native.sealMany(this.#ring, agentId, names, layout, slab);
    if (error === undefined) return envelopes;
    slab.fill(0);
    throw fromNative(error);
  }

  decryptMany(items, options) {
    const agentId = this.#agentId(options);
    const names = namesOf(items);
    const count = items.length;
    if (count === 0) return [];
    const lengths = new Uint32Array(count);
    let length = 0;
    for (let i = 0; i < count; i++) {
      const { envelope } = items[i];
      if (!isUint8Array(envelope)) checkBytes(envelope, `items[${i}].envelope`);
      lengths[i] = envelope.length;
      length += envelope.length;
    }
    // Each is opened where it stands.
    const slab = Buffer.allocUnsafeSlow(checkTotal(length));
    let start = 0;
    for (let i = 0; i < count; i++) {
      slab.set(items[i].envelope, start);
      start += lengths[i];
    }
    const error = this.#native.openMany(this.#ring, agentId, names, lengths, slab);
    if (error !== undefined) throw fromNative(error);
    const values = new Array(count);
    start = 0;
    for (let i = 0; i < count; i++) {
      const { type, id } = items[i];
      const from = start + headerLength(slab, start);
      const content = slab[start + CONTENT_AT];
      start += lengths[i];
      values[i] = decode(content, slab.subarray(from, start - TAG_LENGTH), { agentId, type, id });
    }
    return values;
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
        throw malformedEnvelope(recognised.problem);
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

  /** Agent, type and id as native code takes them. */
  #context(options) {
    const agentId = this.#agentId(options);
    const { type = '', id = '' } = options;
    return `${agentId}\0${checkName(type, 'type')}\0${checkName(id, 'id')}`;
  }

  #seal(context, bytes, content) {
    const envelope = this.#allocate(bytes.length + OVERHEAD);
    const sealed = this.#sealer.seal(context, bytes, envelope, content);
    if (typeof sealed !== 'number') throw fromNative(sealed);
    return envelope;
  }

  /**
   * Room for an envelope. Node shares memory among Buffers below 4 KB; one of its own costs as
   * much as encrypting 1 KB, so here sessions of 8 KB share too.
   */
  #allocate(length) {
    if (length > MAX_POOLED) return Buffer.allocUnsafeSlow(length);
    if (this.#used + length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_SIZE);
      this.#used = 0;
    }
    const start = this.#used;
    this.#used += (length + 7) & ~7;
    return this.#slab.subarray(start, start + length);
  }

  #open(context, envelope, bytes) {
    const content = this.#sealer.open(context, envelope, bytes);
    if (typeof content !== 'number') throw fromNative(content);
    return content;
  }

  #openValue(context, envelope) {
    const { agentId, type, id } = context;
    const bytes = Buffer.allocUnsafe(plainLength(envelope));
    return decode(this.#open(`${agentId}\0${type}\0${id}`, envelope, bytes), bytes, context);
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
    const text = unwrap(this.#native.openLegacy(ring, context.agentId, encrypted, iv, authTag));
    return parse(text, context);
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
    if (bytes.toString('base64') !== ct) throw malformedEnvelope('it is not valid base64', context);
    const { v, kid } = beside ?? {};
    if (v !== undefined && v !== 1) {
      throw malformedEnvelope("v disagrees with the envelope's version 1", context);
    }
    // Too short an envelope has no key id; opening it says so.
    if (kid !== undefined && bytes.length >= OVERHEAD && kid !== bytes.toString('hex', 8, 16)) {
      throw malformedEnvelope("kid disagrees with the envelope's key id", context);
    }
    return bytes;
  }
}

/**
 * @param {object} [options] `encryptionKey`, `previousEncryptionKeys`, `acceptPlaintext`,
 *   `acceptLegacy`, as of `createGuard`
 */
function createCredentials(options, native) {
  return new Credentials(options, native);
}

module.exports = { createCredentials };

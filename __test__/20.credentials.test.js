'use strict';

// Sealing and opening from JavaScript: what comes back is what went in, and nothing else opens.

const { execFile } = require('node:child_process');
const path = require('node:path');
const { promisify } = require('node:util');

const { GuardError, DecryptionError } = require('..');
const { createCredentials } = require('../lib/credentials');
const { KEY_A, KEY_B, thrown } = require('./support/credentials');

const agent = { agentId: 'agent-1' };
const credentials = createCredentials({ encryptionKey: KEY_A });

const roundTrip = (value) =>
  credentials.decryptCredentials(credentials.encryptCredentials(value, agent), agent);

describe('values round-trip', () => {
  const bytes = (...numbers) => Buffer.from(numbers);

  test.each([
    ['an empty object', {}],
    ['an empty array', []],
    ['null', null],
    ['a number', -1.5e-300],
    ['true', true],
    ['an empty string', ''],
    ['a string', 'ü 😀 \u0000 \u2028'],
    ['a string with half a surrogate pair', 'a\ud83d'],
    ['half a surrogate pair inside', { name: '\ude00', '\ud83d': 1 }],
    ['a Buffer', bytes(1, 2, 3)],
    ['an empty Buffer', bytes()],
    ['nested Buffers', { a: { b: [bytes(1), [bytes(2)], { c: bytes() }] } }],
    ['a jid as key', { '4915@s.whatsapp.net': 3 }],
    ['flags by jid', { '4915@s.whatsapp.net': true, '4916@s.whatsapp.net': true }],
    ['numeric keys', { 0: 1, 1: 2, 2: 3 }],
    ['many numeric keys', Object.fromEntries(Array.from({ length: 300 }, (_, i) => [i, i % 256]))],
    ['an object that is like a Buffer but is none', { type: 'Buffer', data: 'no base64!' }],
    ['another', { type: 'Buffer', data: 'AAAA', more: 1 }],
    ['another still', { type: 'Buffer', data: [1, 256] }],
    ['the word', { type: 'Buffer' }],
    ['an array with null', [null, 1]],
    ['zero bytes in keys', { '\u0000': 1 }],
  ])('%s', (_, value) => {
    expect(roundTrip(value)).toStrictEqual(value);
  });

  test('a Uint8Array comes back as a Buffer of the same bytes, as part of a larger one too', () => {
    const whole = new Uint8Array([9, 1, 2, 3, 9]);
    const value = roundTrip({ part: whole.subarray(1, 4), empty: new Uint8Array(0) });
    expect(value).toStrictEqual({ part: Buffer.from([1, 2, 3]), empty: Buffer.alloc(0) });
    expect(Buffer.isBuffer(value.part)).toBe(true);
    expect(roundTrip(new Uint8Array([7]))).toStrictEqual(Buffer.from([7]));
  });

  test('the JSON form of a Buffer comes back as a Buffer', () => {
    const buffer = Buffer.from([1, 2, 255]);
    expect(roundTrip(JSON.parse(JSON.stringify({ buffer })))).toStrictEqual({ buffer });
    expect(roundTrip({ type: 'Buffer', data: 'AQL/' })).toStrictEqual(buffer);
  });

  test('what JSON drops is dropped, and what JSON converts is converted', () => {
    const date = new Date(0);
    class Point {
      x = 1;
      #y = 2;
      get sum() {
        return this.x + this.#y;
      }
    }
    const value = { a: undefined, list: [undefined, NaN, -0], date, point: new Point() };
    const boxed = { n: Object(1), s: Object('s'), b: Object(false) };
    expect(roundTrip({ ...value, ...boxed })).toStrictEqual({
      list: [null, null, 0],
      date: date.toJSON(),
      point: { x: 1 },
      n: 1,
      s: 's',
      b: false,
    });
    const nested = { toJSON: (key) => ({ key, bytes: Buffer.from('x') }) };
    expect(roundTrip({ nested })).toStrictEqual({
      nested: { key: 'nested', bytes: Buffer.from('x') },
    });
    class Itself {
      bytes = Buffer.from('x');
      toJSON() {
        return this;
      }
    }
    expect(roundTrip([new Itself()])).toStrictEqual([{ bytes: Buffer.from('x') }]);
  });

  test('a key named __proto__ is a key', () => {
    const value = JSON.parse('{"__proto__":{"a":1},"constructor":{"prototype":2}}');
    Object.defineProperty(value, 'bytes', { value: Buffer.from('x'), enumerable: true });
    const back = roundTrip(value);
    expect(Object.keys(back)).toEqual(['__proto__', 'constructor', 'bytes']);
    expect(Object.getOwnPropertyDescriptor(back, '__proto__').value).toEqual({ a: 1 });
    expect(back.a).toBeUndefined();
    const inside = JSON.parse('{"__proto__":{"type":"Buffer","data":"AQ=="}}');
    const bytes = Object.getOwnPropertyDescriptor(roundTrip(inside), '__proto__').value;
    expect(bytes).toEqual(Buffer.from([1]));
  });

  test('the value given is not changed', () => {
    const value = Object.freeze({
      a: Object.freeze([Buffer.from('abc'), { b: Buffer.from('d') }]),
    });
    credentials.encryptCredentials(value, agent);
    expect(value).toStrictEqual({ a: [Buffer.from('abc'), { b: Buffer.from('d') }] });
    const bytes = Buffer.from('abc');
    credentials.encryptCredentials(bytes, agent);
    credentials.encryptMany([{ value: bytes }], agent);
    expect(bytes.toString()).toBe('abc');
  });

  test('1 MB of app state', () => {
    const indexValueMap = {};
    for (let i = 0; i < 10_000; i++) {
      indexValueMap[`${i}abc/+=`] = { valueMac: Buffer.alloc(32, i) };
    }
    const state = { version: 7, hash: Buffer.alloc(128, 3), indexValueMap };
    expect(JSON.stringify(state).length).toBeGreaterThan(1024 * 1024);
    expect(roundTrip(state)).toStrictEqual(state);
  });

  test('any size of bytes, and from any place in memory', () => {
    const source = Buffer.from(Array.from({ length: 70_000 }, (_, i) => i));
    for (const size of [0, 1, 15, 16, 17, 63, 64, 65, 4095, 4096, 65_536, 70_000]) {
      const bytes = source.subarray(70_000 - size);
      const envelope = credentials.encryptBytes(bytes, agent);
      expect(envelope.length).toBe(size + 60);
      expect(credentials.decryptBytes(envelope, agent).equals(bytes)).toBe(true);
      const asUint8Array = new Uint8Array(envelope);
      expect(credentials.decryptBytes(asUint8Array, agent).equals(bytes)).toBe(true);
    }
  });
});

describe('what JSON would lose is refused, with its path', () => {
  const cyclic = { a: [{}] };
  cyclic.a[0].back = cyclic;
  test.each([
    [1n, 'value', 'BigInt'],
    [{ a: [0, { 'b-c': 2n }] }, 'value.a[1]["b-c"]', 'BigInt'],
    [() => 1, 'value', 'function'],
    [{ f() {} }, 'value.f', 'function'],
    [{ s: Symbol('s') }, 'value.s', 'symbol'],
    [[Object(1n)], 'value[0]', 'BigInt'],
    [{ m: new Map([[1, 2]]) }, 'value.m', 'Map'],
    [{ s: new Set([1]) }, 'value.s', 'Set'],
    [Promise.resolve({}), 'value', 'Promise'],
    [{ b: new ArrayBuffer(8) }, 'value.b', 'ArrayBuffer'],
    [{ b: new DataView(new ArrayBuffer(8)) }, 'value.b', 'binary view'],
    [{ b: new Uint16Array(8) }, 'value.b', 'binary view'],
    [{ toJSON: () => 1n }, 'value', 'BigInt'],
  ])('%p', (value, path, problem) => {
    const error = thrown(() => credentials.encryptCredentials(value, agent));
    expect(error).toBeInstanceOf(GuardError);
    expect(error).toMatchObject({ code: 'ERR_NOT_SERIALIZABLE', path });
    expect(error.message).toContain(`${path} is a`);
    expect(error.message).toContain(problem);
  });

  test('a cycle', () => {
    const error = thrown(() => credentials.encryptCredentials(cyclic, agent));
    expect(error).toMatchObject({
      code: 'ERR_NOT_SERIALIZABLE',
      path: 'value.a[0].back',
      message: 'value.a[0].back contains itself',
    });
    const self = [];
    self.push(self);
    const inside = { x: [1, { self }] };
    expect(thrown(() => credentials.encryptCredentials(inside, agent)).path).toBe(
      'value.x[1].self[0]',
    );
  });

  test('the same object twice is no cycle, and deep is no cycle', () => {
    const shared = { bytes: Buffer.from('x') };
    expect(roundTrip([shared, shared])).toStrictEqual([shared, shared]);
    let deep = shared;
    for (let i = 0; i < 500; i++) deep = { deep };
    expect(roundTrip(deep)).toStrictEqual(deep);
  });

  test('nesting beyond all measure', () => {
    let deep = {};
    for (let i = 0; i < 200_000; i++) deep = [deep];
    expect(thrown(() => credentials.encryptCredentials(deep, agent))).toMatchObject({
      code: 'ERR_NOT_SERIALIZABLE',
    });
  });

  test('a BigInt that an application taught JSON is honoured', () => {
    BigInt.prototype.toJSON = function () {
      return this.toString();
    };
    try {
      expect(roundTrip({ n: 12345678901234567890n })).toEqual({ n: '12345678901234567890' });
    } finally {
      delete BigInt.prototype.toJSON;
    }
  });

  test('of a batch too, before anything is sealed', () => {
    const { sealed } = credentials.stats();
    const batch = () => credentials.encryptMany([{ value: 1 }, { value: { n: 1n } }], agent);
    expect(thrown(batch)).toMatchObject({ code: 'ERR_NOT_SERIALIZABLE', path: 'value.n' });
    expect(credentials.stats().sealed).toBe(sealed);
  });
});

describe('an envelope', () => {
  const secret = { secret: 'geheim' };
  const stored = credentials.encryptCredentials(secret, agent);

  test('fits a JSON column and shows no plaintext', () => {
    expect(stored).toEqual({
      v: 1,
      kid: expect.stringMatching(/^[0-9a-f]{16}$/),
      ct: expect.stringMatching(/^V0EBAQEAAAB[\w+/]+=*$/),
    });
    expect(JSON.stringify(stored)).not.toContain(Buffer.from('geheim').toString('base64'));
    expect(credentials.decryptCredentials(JSON.parse(JSON.stringify(stored)), agent)).toEqual(
      secret,
    );
  });

  test('opens from base64 text, from bytes, and from JSON text', () => {
    for (const form of [stored.ct, Buffer.from(stored.ct, 'base64'), JSON.stringify(stored)]) {
      expect(credentials.decryptCredentials(form, agent)).toEqual(secret);
    }
  });

  test('every flipped bit and every truncation is refused, in every form', () => {
    const bytes = Buffer.from(stored.ct, 'base64');
    const lenient = createCredentials({ encryptionKey: KEY_A, previousEncryptionKeys: [KEY_B] });
    const codes = new Set();
    const refused = (form) => {
      const error = thrown(() => lenient.decryptCredentials(form, agent));
      expect(error).toBeInstanceOf(DecryptionError);
      codes.add(error.code);
      expect(error.message).not.toContain('geheim');
    };
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3] ^= 1 << (bit & 7);
      for (const form of [flipped, flipped.toString('base64')]) refused(form);
      refused({ ...stored, ct: flipped.toString('base64') });
    }
    for (let length = 0; length < bytes.length; length++) refused(bytes.subarray(0, length));
    for (let length = 0; length < stored.ct.length; length++) {
      refused({ ...stored, ct: stored.ct.slice(0, length) });
    }
    // In the text itself, where a decoder could skip over what it does not know.
    for (let at = 0; at < stored.ct.length; at++) {
      const other = stored.ct[at] === 'A' ? 'B' : 'A';
      for (const character of [other, '*', '-', '\n', '=']) {
        if (character === stored.ct[at]) continue;
        refused({ ...stored, ct: stored.ct.slice(0, at) + character + stored.ct.slice(at + 1) });
      }
    }
    expect([...codes].sort()).toEqual([
      'ERR_DECRYPT_FAILED',
      'ERR_MALFORMED_ENVELOPE',
      'ERR_UNKNOWN_KEY',
    ]);
  });

  test('of another agent, type or id does not open', () => {
    const where = { agentId: 'agent-1', type: 'session', id: '1.0' };
    const envelope = credentials.encryptBytes(Buffer.from('x'), where);
    const others = [
      { ...where, agentId: 'agent-2' },
      { ...where, type: 'sender-key' },
      { ...where, id: '1.1' },
      { agentId: 'agent-1' },
    ];
    for (const other of others) {
      const error = thrown(() => credentials.decryptBytes(envelope, other));
      const { agentId, type = '', id = '' } = other;
      expect(error).toMatchObject({ code: 'ERR_DECRYPT_FAILED', agentId, type, id });
    }
    const error = thrown(() => credentials.decryptCredentials(stored, { agentId: 'agent-2' }));
    expect(error.code).toBe('ERR_DECRYPT_FAILED');
    expect(error.message).toMatch(/^agent agent-2, creds: /);
  });

  test.each([
    ['v', { v: 2 }],
    ['v', { v: '1' }],
    ['v', { v: null }],
    ['kid', { kid: '0123456789abcdef' }],
    ['kid', { kid: null }],
    ['other properties', { more: 1 }],
    ['ct', { ct: 5 }],
    ['base64', { ct: `${stored.ct}\n` }],
  ])('is malformed where %s is wrong: %j', (what, change) => {
    const error = thrown(() => credentials.decryptCredentials({ ...stored, ...change }, agent));
    expect(error).toMatchObject({ code: 'ERR_MALFORMED_ENVELOPE', agentId: 'agent-1' });
    expect(error.message).toContain(what);
  });

  test('may come without what stands beside it', () => {
    const { v, kid, ct } = stored;
    for (const form of [{ ct }, { v, ct }, { kid, ct }]) {
      expect(credentials.decryptCredentials(form, agent)).toEqual(secret);
    }
  });

  test('is never the same twice', () => {
    const again = credentials.encryptCredentials(secret, agent);
    expect(again.ct).not.toBe(stored.ct);
    expect(again.kid).toBe(stored.kid);
  });
});

describe('many at once', () => {
  const where = (i) => ({ type: 'pre-key', id: `${i}` });
  const values = [
    ...Array.from({ length: 300 }, (_, i) => Buffer.alloc(i, i)),
    { a: Buffer.from('x') },
    'text',
    '',
    null,
    [1],
  ];
  const items = values.map((value, i) => ({ value, ...where(i) }));
  const envelopes = credentials.encryptMany(items, agent);

  test('come back as they were', () => {
    const back = credentials.decryptMany(
      envelopes.map((envelope, i) => ({ envelope, ...where(i) })),
      agent,
    );
    expect(back).toStrictEqual(values);
  });

  test('are envelopes like any other', () => {
    const single = credentials.decryptBytes(envelopes[7], { ...agent, ...where(7) });
    expect(single).toEqual(Buffer.alloc(7, 7));
    const own = credentials.encryptBytes(Buffer.from('own'), { ...agent, ...where(0) });
    const mixed = [
      { envelope: own, ...where(0) },
      { envelope: envelopes[2], ...where(2) },
    ];
    expect(credentials.decryptMany(mixed, agent)).toEqual([Buffer.from('own'), Buffer.alloc(2, 2)]);
  });

  test('none', () => {
    expect(credentials.encryptMany([], agent)).toEqual([]);
    expect(credentials.decryptMany([], agent)).toEqual([]);
  });

  test('one damaged or exchanged fails the batch and is named', () => {
    const batch = envelopes.slice(0, 5).map((envelope, i) => ({ envelope, ...where(i) }));
    const damaged = Buffer.from(envelopes[3]);
    damaged[damaged.length - 1] ^= 1;
    for (const [envelope, code] of [
      [damaged, 'ERR_DECRYPT_FAILED'],
      [envelopes[4], 'ERR_DECRYPT_FAILED'],
      [Buffer.alloc(0), 'ERR_MALFORMED_ENVELOPE'],
      [damaged.subarray(0, 59), 'ERR_MALFORMED_ENVELOPE'],
    ]) {
      batch[3] = { envelope, ...where(3) };
      const error = thrown(() => credentials.decryptMany(batch, agent));
      expect(error).toMatchObject({ code, agentId: 'agent-1', type: 'pre-key', id: '3' });
    }
  });
});

describe('reading the header needs no key', () => {
  const blind = createCredentials({});
  const other = createCredentials({ encryptionKey: KEY_B, previousEncryptionKeys: [KEY_A] });
  const stored = credentials.encryptCredentials({ a: 1 }, agent);

  test('inspectEnvelope', () => {
    const header = {
      form: 'envelope',
      version: 1,
      keyId: credentials.keyIds.current,
      content: 'json',
      generation: null,
    };
    for (const form of [
      stored,
      stored.ct,
      Buffer.from(stored.ct, 'base64'),
      JSON.stringify(stored),
    ]) {
      expect(blind.inspectEnvelope(form)).toEqual(header);
    }
    const bytes = credentials.encryptCredentials(Buffer.from('x'), agent);
    expect(blind.inspectEnvelope(bytes).content).toBe('bytes');
    expect(blind.inspectEnvelope(credentials.encryptCredentials('x', agent)).content).toBe('text');
    expect(blind.inspectEnvelope(null)).toEqual({ form: 'nothing' });
    expect(blind.inspectEnvelope({ noiseKey: 1 })).toEqual({ form: 'plain' });
    for (const broken of [Buffer.from('WA'), { ...stored, ct: 'AAAA' }, { ...stored, v: 2 }]) {
      const error = thrown(() => blind.inspectEnvelope(broken));
      expect(error.code).toBe('ERR_MALFORMED_ENVELOPE');
    }
  });

  test('needsReencryption', () => {
    expect(credentials.needsReencryption(stored)).toBe(false);
    expect(other.needsReencryption(stored)).toBe(true);
    expect(blind.needsReencryption(stored)).toBe(true);
    expect(credentials.needsReencryption({ noiseKey: 1 })).toBe(true);
    expect(credentials.needsReencryption(null)).toBe(false);
    expect(thrown(() => credentials.needsReencryption({ ...stored, ct: '' })).code).toBe(
      'ERR_MALFORMED_ENVELOPE',
    );
  });

  test('a previous key opens, and does not seal', () => {
    expect(other.decryptCredentials(stored, agent)).toEqual({ a: 1 });
    const again = other.encryptCredentials({ a: 1 }, agent);
    expect(again.kid).toBe(other.keyIds.current);
    expect(other.needsReencryption(again)).toBe(false);
  });
});

test('values of Baileys itself', async () => {
  const script = path.join(__dirname, 'fixtures', 'baileys-values.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, [script, KEY_A]);
  expect(JSON.parse(stdout)).toEqual({
    creds: true,
    keys: true,
    plain: true,
    syncKey: true,
    syncKeyData: true,
  });
});

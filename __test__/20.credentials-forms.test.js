'use strict';

// What was stored before: the audit report's form and plain values, read where allowed.

const crypto = require('node:crypto');

const { DecryptionError } = require('..');
const { createCredentials } = require('../lib/credentials');
const { recognise } = require('../lib/stored-form');
const cases = require('./fixtures/stored-forms.json');
const { KEY_A, KEY_B, thrown } = require('./support/credentials');
const { sealLegacy } = require('./support/envelope-reference');

const agent = { agentId: 'agent-1' };
const credentials = createCredentials({ encryptionKey: KEY_A });
const strict = createCredentials({
  encryptionKey: KEY_A,
  acceptPlaintext: false,
  acceptLegacy: false,
});

/** Credentials as Baileys makes them: byte strings of both kinds. */
const creds = {
  noiseKey: { private: Buffer.alloc(32, 1), public: new Uint8Array(32).fill(2) },
  signedPreKey: { signature: new Uint8Array(64).map((_, i) => i), keyId: 1 },
  routingInfo: Buffer.from([8, 2]),
  registered: false,
  me: { id: '4915@s.whatsapp.net', name: 'half a pair \ud83d' },
  accountSettings: { unarchiveChats: false },
  flags: { '4915@s.whatsapp.net': true },
};
const asBuffers = {
  ...creds,
  noiseKey: { private: Buffer.alloc(32, 1), public: Buffer.alloc(32, 2) },
  signedPreKey: { signature: Buffer.from(creds.signedPreKey.signature), keyId: 1 },
};

describe('recognising', () => {
  test.each(cases)('$form: $stored', ({ form, stored }) => {
    expect(recognise(stored).form).toBe(form);
  });

  test.each(cases.filter(({ form }) => form === 'malformed'))(
    'what is broken never falls through to plain: $stored',
    ({ stored }) => {
      for (const call of ['decryptCredentials', 'inspectEnvelope', 'needsReencryption']) {
        const error = thrown(() => credentials[call](stored, agent));
        expect(error).toBeInstanceOf(DecryptionError);
        expect(error.code).toBe('ERR_MALFORMED_ENVELOPE');
      }
    },
  );

  test.each(cases.filter(({ form }) => form === 'envelope'))(
    'what is meant to be an envelope opens or fails: $stored',
    ({ stored }) => {
      const error = thrown(() => credentials.decryptCredentials(stored, agent));
      expect(error.code).toMatch(/^ERR_(MALFORMED_ENVELOPE|DECRYPT_FAILED)$/);
    },
  );
});

describe('the form of before', () => {
  const key = Buffer.from(KEY_A, 'hex');
  const stored = sealLegacy(key, creds);

  test('opens, with its byte strings restored', () => {
    expect(credentials.decryptCredentials(stored, agent)).toStrictEqual(asBuffers);
    expect(credentials.decryptCredentials(JSON.stringify(stored), agent)).toStrictEqual(asBuffers);
    const upper = { ...stored, encrypted: stored.encrypted.toUpperCase() };
    expect(credentials.decryptCredentials(upper, agent)).toStrictEqual(asBuffers);
  });

  test('opens with a previous key', () => {
    const rotated = createCredentials({ encryptionKey: KEY_B, previousEncryptionKeys: [KEY_A] });
    expect(rotated.decryptCredentials(stored, agent)).toStrictEqual(asBuffers);
    expect(rotated.needsReencryption(stored)).toBe(true);
    expect(rotated.inspectEnvelope(stored)).toEqual({ form: 'legacy' });
  });

  test('is refused where not allowed, and where no key opens it', () => {
    const error = thrown(() => strict.decryptCredentials(stored, agent));
    expect(error).toBeInstanceOf(DecryptionError);
    expect(error).toMatchObject({ code: 'ERR_LEGACY_REFUSED', agentId: 'agent-1' });
    const other = createCredentials({ encryptionKey: KEY_B });
    expect(thrown(() => other.decryptCredentials(stored, agent)).code).toBe('ERR_DECRYPT_FAILED');
    const none = createCredentials({});
    expect(thrown(() => none.decryptCredentials(stored, agent)).code).toBe('ERR_KEY_MISSING');
  });

  test('is refused with a short tag, which node:crypto would accept', () => {
    const short = { ...stored, authTag: stored.authTag.slice(0, 8) };
    const decipher = crypto.createDecipheriv('aes-256-gcm', key, Buffer.from(stored.iv, 'hex'));
    expect(() => decipher.setAuthTag(Buffer.from(short.authTag, 'hex'))).not.toThrow();
    const error = thrown(() => credentials.decryptCredentials(short, agent));
    expect(error.code).toBe('ERR_MALFORMED_ENVELOPE');
  });

  test('every flipped bit is refused', () => {
    for (const name of ['encrypted', 'iv', 'authTag']) {
      const bytes = Buffer.from(stored[name], 'hex').subarray(0, 64);
      const rest = stored[name].slice(bytes.length * 2);
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const flipped = Buffer.from(bytes);
        flipped[bit >> 3] ^= 1 << (bit & 7);
        const changed = { ...stored, [name]: flipped.toString('hex') + rest };
        const error = thrown(() => credentials.decryptCredentials(changed, agent));
        expect(error.code).toBe('ERR_DECRYPT_FAILED');
      }
    }
  });

  test('holding no JSON is malformed, and nothing of it is shown', () => {
    const iv = crypto.randomBytes(16);
    const cipher = crypto.createCipheriv('aes-256-gcm', key, iv);
    const encrypted = cipher.update('geheim', 'utf8', 'hex') + cipher.final('hex');
    const authTag = cipher.getAuthTag().toString('hex');
    const text = { encrypted, iv: iv.toString('hex'), authTag };
    const error = thrown(() => credentials.decryptCredentials(text, agent));
    expect(error.code).toBe('ERR_MALFORMED_ENVELOPE');
    expect(error.message).not.toContain('geheim');
  });
});

describe('plain values', () => {
  test.each([
    ['JSON without BufferJSON', JSON.parse(JSON.stringify(creds))],
    ['the same as text', JSON.stringify(creds)],
    ['JSON with BufferJSON', JSON.parse(JSON.stringify(asBuffers, bufferJson))],
    ['a value with Buffers', creds],
  ])('%s', (_, stored) => {
    expect(credentials.decryptCredentials(stored, agent)).toStrictEqual(asBuffers);
    expect(credentials.needsReencryption(stored)).toBe(true);
    const error = thrown(() => strict.decryptCredentials(stored, agent));
    expect(error).toBeInstanceOf(DecryptionError);
    expect(error).toMatchObject({ code: 'ERR_PLAINTEXT_REFUSED', agentId: 'agent-1' });
  });

  test.each([
    [{ '4915@s.whatsapp.net': 3 }],
    [{ 0: 1, 1: 2, 2: 3 }],
    [{ 1: true, 2: false }],
    [{}],
    [[1, 2, 3]],
    [7],
    [false],
    ['text'],
    [''],
    ['{ not json'],
  ])('%j stays what it is', (stored) => {
    expect(credentials.decryptCredentials(stored, agent)).toStrictEqual(stored);
  });

  test('null is nothing stored, with or without plain values allowed', () => {
    expect(credentials.decryptCredentials(null, agent)).toBeNull();
    expect(strict.decryptCredentials(null, agent)).toBeNull();
    const error = thrown(() => credentials.decryptCredentials(undefined, agent));
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARGUMENT', argument: 'stored' });
  });

  test('need no key to be read', () => {
    expect(createCredentials({}).decryptCredentials({ a: 1 }, agent)).toEqual({ a: 1 });
  });

  test('come under the key when they are encrypted anew', () => {
    const stored = JSON.parse(JSON.stringify(creds));
    const value = credentials.decryptCredentials(stored, agent);
    const sealed = credentials.encryptCredentials(value, agent);
    expect(strict.decryptCredentials(sealed, agent)).toStrictEqual(asBuffers);
  });
});

/** Baileys' `BufferJSON.replacer`. */
function bufferJson(key, value) {
  return value?.type === 'Buffer'
    ? { type: 'Buffer', data: Buffer.from(value.data).toString('base64') }
    : value;
}

'use strict';

// Keys: what is accepted, what is refused with which words, and that none is ever shown.

const crypto = require('node:crypto');
const util = require('node:util');

const { GuardError } = require('..');
const { createCredentials } = require('../lib/credentials');
const { KEY_A, KEY_B, thrown } = require('./support/credentials');

const agent = { agentId: 'agent-1' };
const HEX = crypto.randomBytes(32).toString('hex');
const BASE64 = Buffer.from(HEX, 'hex').toString('base64');

/** Every way to write a value down that a log might use. */
function written(value) {
  const options = { depth: null, showHidden: true, getters: true, maxStringLength: null };
  const json = JSON.stringify(value, (_, member) =>
    typeof member === 'bigint' ? String(member) : member,
  );
  return [
    util.inspect(value, options),
    util.format('%o %j', value, value),
    json,
    value instanceof Error ? String(value) : '',
  ].join('\n');
}

function expectNoKey(text, ...keys) {
  for (const key of keys) {
    const bytes = Buffer.from(key, key.length === 64 ? 'hex' : 'base64');
    for (const form of [key, bytes.toString('hex'), bytes.toString('base64')]) {
      for (let at = 0; at + 8 <= form.length; at += 4) {
        expect(text).not.toContain(form.slice(at, at + 8));
      }
    }
    expect(text).not.toContain([...bytes.subarray(0, 4)].join(', '));
  }
}

test('hex and base64 of the same bytes are the same key', () => {
  const stored = createCredentials({ encryptionKey: HEX }).encryptCredentials({ a: 1 }, agent);
  for (const encryptionKey of [BASE64, HEX.toUpperCase(), ` ${HEX}\n`]) {
    expect(createCredentials({ encryptionKey }).decryptCredentials(stored, agent)).toEqual({
      a: 1,
    });
  }
});

describe('a key that cannot be used', () => {
  test.each([
    ['62 characters', HEX.slice(2)],
    ['66 characters', `${HEX}00`],
    ['43 characters', BASE64.slice(0, 43)],
    ['hexadecimal', `${HEX.slice(0, 63)}g`],
    ['base64', `${BASE64.slice(0, 42)}!=`],
    ['quotes', `"${HEX}"`],
    ['quotes', `'${BASE64}'`],
    ['0x', `0x${HEX}`],
    ['31 bytes', Buffer.from(HEX, 'hex').subarray(1).toString('base64')],
    ['empty', ''],
    ['empty', '   '],
    ['a string', Buffer.from(HEX, 'hex')],
    ['a string', 5],
    ['a string', null],
  ])('is refused: %s', (problem, key) => {
    for (const [options, option] of [
      [{ encryptionKey: key }, 'encryptionKey'],
      [{ encryptionKey: KEY_A, previousEncryptionKeys: [KEY_B, key] }, 'previousEncryptionKeys'],
    ]) {
      const error = thrown(() => createCredentials(options));
      expect(error).toBeInstanceOf(GuardError);
      expect(error.code).toBe('ERR_INVALID_OPTION');
      expect(error.option).toMatch(new RegExp(`^${option}(\\[1\\])?$`));
      expect(error.message).toContain(problem);
      expectNoKey(`${written(error)}${error.stack}`, HEX, KEY_A, KEY_B);
    }
  });

  test('other options', () => {
    for (const option of ['acceptPlaintext', 'acceptLegacy']) {
      const error = thrown(() => createCredentials({ [option]: 'yes' }));
      expect(error).toMatchObject({ code: 'ERR_INVALID_OPTION', option });
    }
    const error = thrown(() => createCredentials({ previousEncryptionKeys: KEY_A }));
    expect(error).toMatchObject({ code: 'ERR_INVALID_OPTION', option: 'previousEncryptionKeys' });
    expectNoKey(error.message, KEY_A);
  });
});

test('no key is shown by anything that holds or used one', () => {
  const keys = [HEX, KEY_B];
  const options = { encryptionKey: HEX, previousEncryptionKeys: [KEY_B] };
  const credentials = createCredentials(options);
  const stored = credentials.encryptCredentials({ secret: 1 }, agent);
  const errors = [
    () => credentials.decryptCredentials(stored, { agentId: 'other' }),
    () => credentials.decryptCredentials({ ...stored, ct: '' }, agent),
    () => createCredentials({ encryptionKey: KEY_A }).decryptCredentials(stored, agent),
    () => createCredentials({}).encryptCredentials(1, agent),
  ].map(thrown);
  const stacks = errors.map((error) => error.stack).join('\n');
  const shown = [credentials, credentials.keyRing, credentials.keyIds, ...errors].map(written);
  expectNoKey(`${shown.join('\n')}${stacks}`, ...keys, KEY_A);
  expect(shown.join('\n')).toContain(credentials.keyIds.current);
});

test('without a key nothing is encrypted, and never with a random one', () => {
  const none = createCredentials({});
  const error = thrown(() => none.encryptCredentials({ a: 1 }, agent));
  expect(error).toMatchObject({ code: 'ERR_KEY_MISSING' });
  expect(error.message).toContain('CREDENTIALS_ENCRYPTION_KEY');
  expect(thrown(() => none.encryptBytes(Buffer.from('x'), agent)).code).toBe('ERR_KEY_MISSING');
  expect(thrown(() => none.encryptMany([{ value: 1 }], agent)).code).toBe('ERR_KEY_MISSING');
  expect(none.keyIds).toEqual({ current: null, previous: [] });

  const stored = createCredentials({ encryptionKey: KEY_A }).encryptCredentials({ a: 1 }, agent);
  expect(thrown(() => none.decryptCredentials(stored, agent)).code).toBe('ERR_KEY_MISSING');
  const reader = createCredentials({ previousEncryptionKeys: [KEY_A] });
  expect(reader.decryptCredentials(stored, agent)).toEqual({ a: 1 });
  expect(thrown(() => reader.encryptCredentials(1, agent)).code).toBe('ERR_KEY_MISSING');
});

test('an unknown key is named by its id, and so are the configured ones', () => {
  const other = createCredentials({ encryptionKey: KEY_B });
  const stored = createCredentials({ encryptionKey: KEY_A }).encryptCredentials({ a: 1 }, agent);
  const error = thrown(() => other.decryptCredentials(stored, agent));
  expect(error).toMatchObject({ code: 'ERR_UNKNOWN_KEY', keyId: stored.kid, agentId: 'agent-1' });
  expect(error.message).toContain(stored.kid);
  expect(error.message).toContain(other.keyIds.current);
});

describe('arguments', () => {
  const credentials = createCredentials({ encryptionKey: KEY_A });
  const bytes = Buffer.from('x');
  test.each([
    ['options', () => credentials.encryptCredentials({}, 5)],
    ['agentId', () => credentials.encryptCredentials({})],
    ['agentId', () => credentials.encryptCredentials({}, {})],
    ['agentId', () => credentials.decryptCredentials({}, { agentId: '' })],
    ['agentId', () => credentials.encryptBytes(bytes, { agentId: 'a\0b' })],
    ['agentId', () => credentials.encryptBytes(bytes, { agentId: 'a'.repeat(256) })],
    ['agentId', () => credentials.encryptMany([], { agentId: '\ud800' })],
    ['value', () => credentials.encryptCredentials(undefined, agent)],
    ['bytes', () => credentials.encryptBytes('text', agent)],
    ['bytes', () => credentials.encryptBytes(new ArrayBuffer(4), agent)],
    ['bytes', () => credentials.encryptBytes(new Uint16Array(4), agent)],
    ['bytes', () => credentials.encryptBytes(new Uint8Array(new SharedArrayBuffer(4)), agent)],
    ['envelope', () => credentials.decryptBytes('V0EB', agent)],
    ['type', () => credentials.encryptBytes(bytes, { ...agent, type: 5 })],
    ['type, id', () => credentials.encryptBytes(bytes, { ...agent, type: 'a\0' })],
    ['type, id', () => credentials.decryptBytes(bytes, { ...agent, id: '\0' })],
    ['type, id', () => credentials.encryptMany([{ value: 1, id: 'a\0b' }], agent)],
    ['type, id', () => credentials.encryptMany([{ value: 1, id: '\0\0' }, { value: 1 }], agent)],
    ['id', () => credentials.decryptBytes(bytes, { ...agent, id: null })],
    ['id', () => credentials.decryptBytes(bytes, { ...agent, id: '\udc00' })],
    ['items', () => credentials.encryptMany('x', agent)],
    ['items[1]', () => credentials.encryptMany([{ value: 1 }, null], agent)],
    ['items[0].id', () => credentials.encryptMany([{ value: 1, id: 7 }], agent)],
    ['items[0].envelope', () => credentials.decryptMany([{}], agent)],
    ['stored', () => credentials.inspectEnvelope(undefined)],
  ])('%s', (argument, call) => {
    const error = thrown(call);
    expect(error).toBeInstanceOf(GuardError);
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARGUMENT', argument });
  });

  test('a bad agent id is refused again and again', () => {
    const call = () => credentials.encryptBytes(bytes, { agentId: '' });
    expect(thrown(call).argument).toBe('agentId');
    expect(thrown(call).argument).toBe('agentId');
  });
});

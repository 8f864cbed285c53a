'use strict';

// The documented format is the real one: a second implementation, written from docs/envelope.md,
// opens what we seal, and we open what it seals.

const crypto = require('node:crypto');
const { inspect } = require('node:util');

const { createCredentials } = require('../lib/credentials');
const { thrown } = require('./support/credentials');
const reference = require('./support/envelope-reference');

const contexts = [
  { agentId: 'a' },
  { agentId: '7d444840-9dc0-11d1-b245-5ffdce74fad2', type: 'session', id: '4915.0' },
  { agentId: 'ü😀', type: 'typ ü', id: 'ид' },
  { agentId: 'x'.repeat(255), type: 'y'.repeat(1000), id: 'z'.repeat(1000) },
];
const sizes = [0, 1, 16, 44, 200, 5000];

describe.each(contexts.map((context) => [context.agentId.slice(0, 8), context]))(
  '%s',
  (_, context) => {
    const master = crypto.randomBytes(32);
    const credentials = createCredentials({ encryptionKey: master.toString('base64') });

    test.each(sizes)('%i bytes of ours open there, and theirs here', (size) => {
      const bytes = crypto.randomBytes(size);
      const ours = credentials.encryptBytes(bytes, context);
      expect(reference.open(master, context, ours)).toEqual({ content: 0, plain: bytes });
      const theirs = reference.seal(master, context, 0, bytes);
      expect(credentials.decryptBytes(theirs, context)).toEqual(bytes);
      const [many] = credentials.encryptMany([{ ...context, value: bytes }], context);
      expect(reference.open(master, context, many).plain).toEqual(bytes);
    });

    test('a generation is read and bound', () => {
      const theirs = reference.seal(master, context, 0, Buffer.from('x'), 2n ** 64n - 1n);
      expect(credentials.decryptBytes(theirs, context)).toEqual(Buffer.from('x'));
      const [opened] = credentials.decryptMany([{ ...context, envelope: theirs }], context);
      expect(opened).toEqual(Buffer.from('x'));
      expect(credentials.inspectEnvelope(theirs).generation).toBe(2n ** 64n - 1n);
      theirs[51] ^= 1;
      expect(thrown(() => credentials.decryptBytes(theirs, context)).code).toBe(
        'ERR_DECRYPT_FAILED',
      );
    });
  },
);

// Short names are read into memory of a fixed length, which must cut none of them.
test.each(['x', 'ü', '€', '😀'])('names of any length are bound whole: %s', (character) => {
  const master = crypto.randomBytes(32);
  const credentials = createCredentials({ encryptionKey: master.toString('hex') });
  const bytes = Buffer.from('plain');
  for (let length = 200; length < 300; length++) {
    const id = 'i'.repeat(length - Buffer.byteLength(character)) + character;
    const context = { agentId: 'agent-1', type: 'session', id };
    const ours = credentials.encryptBytes(bytes, context);
    expect(reference.open(master, context, ours).plain).toEqual(bytes);
  }
});

describe('credentials', () => {
  const master = crypto.randomBytes(32);
  const credentials = createCredentials({ encryptionKey: master.toString('hex') });
  const agent = { agentId: 'agent-1' };
  const context = { ...agent, type: 'creds', id: '' };

  test('are JSON as documented', () => {
    const { ct, kid } = credentials.encryptCredentials({ a: Buffer.from('x'), b: 'ü' }, agent);
    const { content, plain } = reference.open(master, context, Buffer.from(ct, 'base64'));
    expect(content).toBe(1);
    expect(plain.toString()).toBe('{"a":{"type":"Buffer","data":"eA=="},"b":"ü"}');
    expect(kid).toBe(Buffer.from(ct, 'base64').toString('hex', 8, 16));
  });

  test('of another writer are read as documented', () => {
    const text = '{ "a" : { "data" : "eA==", "type" : "Buffer" }, "0": {"0": 1} }';
    const envelope = reference.seal(master, context, 1, text);
    const expected = { a: Buffer.from('x'), 0: { 0: 1 } };
    expect(credentials.decryptCredentials(envelope, agent)).toStrictEqual(expected);
    expect(
      credentials.decryptCredentials({ ct: envelope.toString('base64') }, agent),
    ).toStrictEqual(expected);
    const string = reference.seal(master, context, 2, 'ü');
    expect(credentials.decryptCredentials(string, agent)).toBe('ü');
  });

  test('of another writer that are no JSON are malformed, and nothing of them is shown', () => {
    const envelope = reference.seal(master, context, 1, '{"private": secret');
    const item = reference.seal(master, { ...context, type: 'session' }, 1, '{"private": secret');
    for (const open of [
      () => credentials.decryptCredentials(envelope, agent),
      () => credentials.decryptMany([{ envelope: item, type: 'session' }], agent),
    ]) {
      const error = thrown(open);
      expect(error).toMatchObject({
        code: 'ERR_MALFORMED_ENVELOPE',
        message: expect.stringContaining('it is not JSON'),
        agentId: 'agent-1',
      });
      expect(inspect(error)).not.toContain('secret');
    }
  });

  test('are text and bytes where they can be', () => {
    const open = (value) => {
      const { ct } = credentials.encryptCredentials(value, agent);
      return reference.open(master, context, Buffer.from(ct, 'base64'));
    };
    expect(open('ü')).toEqual({ content: 2, plain: Buffer.from('ü') });
    expect(open('\ud83d')).toEqual({ content: 1, plain: Buffer.from('"\\ud83d"') });
    expect(open(Buffer.from('x'))).toEqual({ content: 0, plain: Buffer.from('x') });
  });

  test('JSON is not given out as bytes', () => {
    const envelope = reference.seal(master, agent, 1, '{}');
    const error = thrown(() => credentials.decryptBytes(envelope, agent));
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARGUMENT', argument: 'envelope' });
  });
});

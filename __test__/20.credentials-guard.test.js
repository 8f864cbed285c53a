'use strict';

// Encryption as a guard and the module offer it. No database is touched.

const { execFile } = require('node:child_process');
const path = require('node:path');
const { promisify } = require('node:util');
const util = require('node:util');

const { createGuard, GuardError } = require('..');
const { KEY_A, KEY_B, thrown } = require('./support/credentials');
const { temporaryFolder } = require('./support/databases');

const agent = { agentId: 'agent-1' };
const databaseUrl = `sqlite:${path.join(temporaryFolder(), 'never-opened.db')}`;
const options = { databaseUrl, encryptionKey: KEY_A };
const run = promisify(execFile);

test('a guard encrypts with its own keys', async () => {
  const guard = createGuard({ ...options, previousEncryptionKeys: [KEY_B] });
  const other = createGuard({ ...options, encryptionKey: KEY_B });
  const stored = other.encryptCredentials({ a: Buffer.from('x') }, agent);
  expect(guard.decryptCredentials(stored, agent)).toEqual({ a: Buffer.from('x') });
  expect(guard.needsReencryption(stored)).toBe(true);
  expect(guard.inspectEnvelope(stored).keyId).toBe(stored.kid);
  const envelope = guard.encryptBytes(Buffer.from('x'), agent);
  expect(guard.decryptBytes(envelope, agent)).toEqual(Buffer.from('x'));
  const [many] = guard.encryptMany([{ value: 'x' }], agent);
  expect(guard.decryptMany([{ envelope: many }], agent)).toEqual(['x']);
  expect(thrown(() => other.decryptBytes(envelope, agent)).code).toBe('ERR_UNKNOWN_KEY');
  expect(util.inspect(guard, { depth: null, showHidden: true })).not.toContain(KEY_A.slice(0, 16));
  await Promise.all([guard.shutdown(), other.shutdown()]);
});

test('acceptPlaintext and acceptLegacy are heeded', async () => {
  const guard = createGuard({ ...options, acceptPlaintext: false, acceptLegacy: false });
  const legacy = { encrypted: '', iv: '00'.repeat(16), authTag: '00'.repeat(16) };
  expect(thrown(() => guard.decryptCredentials({}, agent)).code).toBe('ERR_PLAINTEXT_REFUSED');
  expect(thrown(() => guard.decryptCredentials(legacy, agent)).code).toBe('ERR_LEGACY_REFUSED');
  await guard.shutdown();
});

test('after shutdown every call is refused', async () => {
  const guard = createGuard(options);
  const stored = guard.encryptCredentials({}, agent);
  const envelope = guard.encryptBytes(Buffer.from('x'), agent);
  await guard.shutdown();
  for (const call of [
    () => guard.encryptCredentials({}, agent),
    () => guard.decryptCredentials(stored, agent),
    () => guard.encryptBytes(Buffer.from('x'), agent),
    () => guard.decryptBytes(envelope, agent),
    () => guard.encryptMany([], agent),
    () => guard.decryptMany([], agent),
    () => guard.inspectEnvelope(stored),
    () => guard.needsReencryption(stored),
  ]) {
    const error = thrown(call);
    expect(error).toBeInstanceOf(GuardError);
    expect(error.code).toBe('ERR_SHUT_DOWN');
  }
});

test('a key that cannot be used is refused when the guard is made or configured', async () => {
  const bad = { ...options, encryptionKey: KEY_A.slice(2) };
  expect(thrown(() => createGuard(bad))).toMatchObject({
    code: 'ERR_INVALID_OPTION',
    option: 'encryptionKey',
  });
  const script = `
    const guard = require('./');
    try { guard.configure({ encryptionKey: '${KEY_A.slice(2)}' }); } catch (e) { console.log(e.code); }
    guard.configure({ encryptionKey: '${KEY_A}' });
    console.log(guard.decryptCredentials(guard.encryptCredentials('x', { agentId: 'a' }), { agentId: 'a' }));`;
  expect(await printed(script)).toEqual(['ERR_INVALID_OPTION', 'x']);
});

test('the module takes its keys from the environment', async () => {
  const script = `
    const { encryptCredentials, decryptCredentials } = require('./');
    const agent = { agentId: 'a' };
    const stored = encryptCredentials({ a: 1 }, agent);
    console.log(stored.kid);
    console.log(JSON.stringify(decryptCredentials(stored, agent)));`;
  const [kid, value] = await printed(script, {
    CREDENTIALS_ENCRYPTION_KEY: KEY_A,
    CREDENTIALS_ENCRYPTION_PREVIOUS_KEYS: ` ${KEY_B}, ${KEY_A},`,
  });
  expect([kid, value]).toEqual(['52c5476645d1c70f', '{"a":1}']);
  const missing = `
    try { require('./').encryptCredentials({}, { agentId: 'a' }); } catch (e) { console.log(e.code); }`;
  expect(await printed(missing)).toEqual(['ERR_KEY_MISSING']);
});

/** The lines that a fresh process prints. */
async function printed(script, env = {}) {
  const { CREDENTIALS_ENCRYPTION_KEY: _, ...inherited } = process.env;
  const { stdout } = await run(process.execPath, ['-e', script], {
    cwd: path.join(__dirname, '..'),
    env: { ...inherited, DATABASE_URL: databaseUrl, ...env },
  });
  return stdout.trim().split('\n');
}

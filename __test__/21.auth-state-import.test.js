'use strict';

// Taking over what a host had before, and giving it back.

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { inspect } = require('node:util');

const { KINDS, freshDatabase, guardsOn, temporaryFolder } = require('./support/databases');

const KEY = crypto.randomBytes(32).toString('hex');
const pair = (seed) => ({ public: Buffer.alloc(32, seed), private: Buffer.alloc(32, seed + 1) });

/** As much of Baileys as the auth state uses; jest on Node 20 cannot load the real one. */
const baileys = {
  initAuthCreds: () => ({ noiseKey: pair(200), fresh: true }),
  proto: {
    Message: { AppStateSyncKeyData: { fromObject: (value) => ({ ...value, revived: true }) } },
  },
};

const creds = (extra) => ({
  noiseKey: pair(40),
  me: { id: '49151@s.whatsapp.net' },
  nextPreKeyId: 31,
  ...extra,
});
const replacer = (_, value) =>
  value instanceof Uint8Array || value?.type === 'Buffer'
    ? { type: 'Buffer', data: Buffer.from(value.data ?? value).toString('base64') }
    : value;
const folderWith = (files) => {
  const folder = temporaryFolder();
  for (const [name, value] of Object.entries(files)) {
    fs.writeFileSync(
      path.join(folder, name),
      typeof value === 'string' ? value : JSON.stringify(value, replacer),
    );
  }
  return folder;
};
const files = {
  'creds.json': creds(),
  'session-49151.0.json': { _sessions: { a: 1 } },
  'pre-key-7.json': pair(3),
  'app-state-sync-key-AAA__b=.json': { keyData: Buffer.from('k') },
  'sender-key-1-2@g.us--49151--0.json': { k: 1 },
  'sender-key-memory-1-2@g.us.json': { '49151:1@s.whatsapp.net': true },
  'newtype-x.json': { n: 1 },
  'README.txt': 'not a key',
};

describe.each(KINDS)('import and export on %s', (kind) => {
  let database;
  let guardOf;
  let count = 0;

  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database, { encryptionKey: KEY });
  });

  const open = async (options, agentId = `agent-${++count}`) => {
    const guard = guardOf(options);
    guard.startHeartbeat();
    const claim = await guard.claimInstance(agentId);
    return { guard, claim, ...(await guard.useGuardedAuthState(claim, { baileys })) };
  };
  const rowsOf = async (agentId) => {
    const { rows } = await database.query(
      'SELECT kind, id FROM baileys_guard_auth WHERE agent_id = $1 ORDER BY kind, id',
      [agentId],
    );
    return rows.map((row) => `${row.kind} ${row.id}`.trim());
  };

  test('a folder, every type, and back; twice is the same; the source stays', async () => {
    const { guard, claim, clear } = await open();
    await clear();
    const folder = folderWith(files);
    const before = fs.readdirSync(folder);
    const report = await guard.importAuthState(claim, { folder });
    expect(report).toMatchObject({
      credentials: 'folder',
      paired: true,
      keys: 6,
      resumable: true,
      unknownFiles: ['README.txt'],
    });
    await guard.importAuthState(claim, { folder });
    expect(fs.readdirSync(folder)).toEqual(before);
    const { state } = await guard.useGuardedAuthState(claim, { baileys });
    expect(state.creds).toEqual(creds());
    expect(await state.keys.get('sender-key', ['1-2@g.us::49151::0'])).toEqual({
      '1-2@g.us::49151::0': { k: 1 },
    });
    expect(await state.keys.get('app-state-sync-key', ['AAA/b='])).toEqual({
      'AAA/b=': { keyData: Buffer.from('k'), revived: true },
    });
    const out = path.join(temporaryFolder(), 'export');
    await guard.exportAuthState(claim, out);
    await expect(guard.exportAuthState(claim, path.join(out, 'creds.json'))).rejects.toMatchObject({
      code: 'ERR_EXPORT_FAILED',
      cause: { code: 'EEXIST' },
    });
    for (const name of Object.keys(files).filter((file) => file !== 'README.txt')) {
      expect(JSON.parse(fs.readFileSync(path.join(out, name), 'utf8'))).toEqual(
        JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8')),
      );
    }
  });

  test('session_data in all forms; both: the newer credentials win, the keys come from the folder', async () => {
    const legacy = (value) => {
      const iv = crypto.randomBytes(16);
      const cipher = crypto.createCipheriv('aes-256-gcm', Buffer.from(KEY, 'hex'), iv);
      const encrypted =
        cipher.update(JSON.stringify(value, replacer), 'utf8', 'hex') + cipher.final('hex');
      return { encrypted, iv: iv.toString('hex'), authTag: cipher.getAuthTag().toString('hex') };
    };
    const forms = {
      plain: (value) => JSON.parse(JSON.stringify(value, replacer)),
      legacy,
      ours: (value, guard, agentId) => guard.encryptCredentials(value, { agentId }),
    };
    for (const [name, form] of Object.entries(forms)) {
      const { guard, claim, clear } = await open({}, `import-${name}`);
      await clear();
      const stored = { creds: form(creds({ nextPreKeyId: 99 }), guard, claim.agentId) };
      await database.query('UPDATE whatsapp_sessions SET session_data = $2 WHERE agent_id = $1', [
        claim.agentId,
        JSON.stringify(stored),
      ]);
      const report = await guard.importAuthState(claim, { folder: folderWith(files) });
      expect(report).toMatchObject({ credentials: 'session_data', keys: 6, resumable: true });
      const { state } = await guard.useGuardedAuthState(claim, { baileys });
      expect(state.creds).toEqual(creds({ nextPreKeyId: 99 }));
    }
    const { guard, claim } = await open();
    await database.query('UPDATE whatsapp_sessions SET session_data = $2 WHERE agent_id = $1', [
      claim.agentId,
      JSON.stringify({ creds: forms.plain(creds()) }),
    ]);
    expect(await guard.importAuthState(claim)).toMatchObject({
      credentials: 'session_data',
      resumable: false,
    });
  });

  test('a damaged file, a missing folder and nothing to import are errors, and nothing is stored', async () => {
    const { guard, claim } = await open();
    await expect(
      guard.importAuthState(claim, {
        folder: folderWith({ ...files, 'pre-key-7.json': '{"half' }),
      }),
    ).rejects.toMatchObject({ code: 'ERR_IMPORT_FAILED' });
    await expect(guard.importAuthState(claim, { folder: '/nowhere/at/all' })).rejects.toMatchObject(
      { code: 'ERR_IMPORT_FAILED' },
    );
    await expect(guard.importAuthState(claim)).rejects.toMatchObject({
      code: 'ERR_NOTHING_TO_IMPORT',
    });
    await expect(guard.importAuthState({}, {})).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    });
    expect(await rowsOf(claim.agentId)).toEqual([]);
  });

  test('an older folder does not overwrite a state that went on; another identity asks', async () => {
    const { guard, claim } = await open();
    await guard.importAuthState(claim, {
      folder: folderWith({ 'creds.json': creds({ nextPreKeyId: 500 }) }),
    });
    expect(await guard.importAuthState(claim, { folder: folderWith(files) })).toMatchObject({
      credentials: 'stored',
    });
    const stranger = folderWith({ 'creds.json': creds({ noiseKey: pair(90) }) });
    await expect(guard.importAuthState(claim, { folder: stranger })).rejects.toMatchObject({
      code: 'ERR_ALREADY_IMPORTED',
    });
    expect(await guard.importAuthState(claim, { folder: stranger, overwrite: true })).toMatchObject(
      { credentials: 'folder' },
    );
  });

  test('an import that is run again does not set back what a session has used since', async () => {
    const { guard, claim, state } = await open();
    const folder = folderWith(files);
    await guard.importAuthState(claim, { folder });
    await state.keys.set({
      session: { '49151.0': { _sessions: { a: 2 } } },
      'pre-key': { 7: null },
    });
    expect(await guard.importAuthState(claim, { folder })).toEqual({
      credentials: 'stored',
      paired: true,
      keys: 0,
      resumable: true,
      unknownFiles: ['README.txt'],
    });
    expect(await state.keys.get('session', ['49151.0'])).toEqual({
      '49151.0': { _sessions: { a: 2 } },
    });
    expect(await state.keys.get('pre-key', ['7'])).toEqual({});
    // Unless that is what is wanted.
    expect(await guard.importAuthState(claim, { folder, overwrite: true })).toMatchObject({
      credentials: 'folder',
      keys: 6,
    });
    expect(await state.keys.get('pre-key', ['7'])).toEqual({ 7: pair(3) });
  });

  test('keys come to credentials that were imported alone, and none stay of another identity', async () => {
    const { guard, claim } = await open();
    const sessionData = { creds: creds({ nextPreKeyId: 99 }) };
    const alone = { credentials: 'session_data', resumable: false };
    expect(await guard.importAuthState(claim, { sessionData })).toMatchObject(alone);
    expect(await guard.importAuthState(claim, { folder: folderWith(files) })).toMatchObject({
      credentials: 'stored',
      keys: 6,
      resumable: true,
    });
    const { state } = await guard.useGuardedAuthState(claim, { baileys });
    expect(state.creds.nextPreKeyId).toBe(99);
    const stranger = folderWith({
      'creds.json': creds({ noiseKey: pair(90) }),
      'pre-key-1.json': pair(5),
    });
    await guard.importAuthState(claim, { folder: stranger, overwrite: true });
    expect(await rowsOf(claim.agentId)).toEqual(['creds', 'pre-key 1']);
  });

  test('a state whose key is lost is replaced by who asks for that', async () => {
    const { claim: before, saveCreds, state } = await open();
    await state.keys.set({ session: { 'of before': { a: 1 } } });
    await saveCreds();
    await before.release();
    const guard = guardOf({ encryptionKey: crypto.randomBytes(32).toString('hex') });
    guard.startHeartbeat();
    const claim = await guard.claimInstance(before.agentId);
    const folder = folderWith({ 'creds.json': creds(), 'pre-key-1.json': pair(5) });
    await expect(guard.importAuthState(claim, { folder })).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_KEY',
    });
    expect(await rowsOf(claim.agentId)).toEqual(['creds', 'session of before']);
    await guard.importAuthState(claim, { folder, overwrite: true });
    expect(await rowsOf(claim.agentId)).toEqual(['creds', 'pre-key 1']);
  });

  test('which credentials are taken', async () => {
    const { guard, claim } = await open();
    const unpaired = { 'creds.json': { noiseKey: pair(60) }, 'pre-key-1.json': pair(5) };
    const cases = [
      [files, { lastAccountSyncTimestamp: 1_700_000_000 }, 'session_data', 6],
      [files, { noiseKey: pair(90), nextPreKeyId: 99 }, 'folder', 6], // another pairing
      // Keys of another identity are left where they are.
      [unpaired, {}, 'session_data', 0],
    ];
    for (const [folder, host, credentials, keys] of cases) {
      const options = { folder: folderWith(folder), overwrite: true };
      const sessionData = { creds: creds(host) };
      const report = { credentials, keys, resumable: keys > 0 };
      expect(await guard.importAuthState(claim, { ...options, sessionData })).toMatchObject(report);
      // A TEXT column gives text.
      const text = JSON.stringify(sessionData, replacer);
      expect(await guard.importAuthState(claim, { ...options, sessionData: text })).toMatchObject(
        report,
      );
    }
  });

  test('a lost claim imports and exports nothing, and makes no folder', async () => {
    const { guard, claim } = await open();
    const folder = path.join(temporaryFolder(), 'export');
    await claim.release();
    const lost = { code: 'ERR_CLAIM_LOST' };
    await expect(guard.importAuthState(claim, { sessionData: {} })).rejects.toMatchObject(lost);
    await expect(guard.exportAuthState(claim, folder)).rejects.toMatchObject(lost);
    expect(fs.existsSync(folder)).toBe(false);
  });

  test('credentials without a key are those of their account', async () => {
    const { guard, claim } = await open();
    const of = (id) => ({ sessionData: { creds: { me: { id }, nextPreKeyId: 2 } } });
    expect(await guard.importAuthState(claim, of('one'))).toMatchObject({ paired: true });
    expect(await guard.importAuthState(claim, of('one'))).toMatchObject({ credentials: 'stored' });
    await expect(guard.importAuthState(claim, of('two'))).rejects.toMatchObject({
      code: 'ERR_ALREADY_IMPORTED',
    });
  });

  test('what is empty is no credentials', async () => {
    const { guard, claim } = await open();
    for (const sessionData of [{}, { creds: {} }, { creds: null }, '{}', '']) {
      await expect(guard.importAuthState(claim, { sessionData })).rejects.toMatchObject({
        code: 'ERR_NOTHING_TO_IMPORT',
      });
    }
    for (const sessionData of [7, [], () => {}]) {
      await expect(guard.importAuthState(claim, { sessionData })).rejects.toMatchObject({
        code: 'ERR_INVALID_ARGUMENT',
        argument: 'sessionData',
      });
    }
    expect(await rowsOf(claim.agentId)).toEqual([]);
  });

  test('an id with two underscores of its own', async () => {
    const { guard, claim, state } = await open();
    const folder = folderWith({ 'creds.json': creds(), 'tctoken-__index.json': { token: 1 } });
    await guard.importAuthState(claim, { folder });
    expect(await state.keys.get('tctoken', ['__index'])).toEqual({ __index: { token: 1 } });
  });

  test('an error shows nothing of what a damaged file holds', async () => {
    const { guard, claim } = await open();
    const folder = folderWith({ ...files, 'pre-key-7.json': '{"private": secret' });
    const error = await guard.importAuthState(claim, { folder }).catch((reason) => reason);
    expect(error).toMatchObject({
      code: 'ERR_IMPORT_FAILED',
      message: expect.stringMatching(/pre-key-7\.json is damaged: it is not JSON$/),
    });
    expect(inspect(error)).not.toContain('secret');
  });

  test('an export that fails half way leaves no credentials without their keys', async () => {
    const { guard, claim } = await open();
    await guard.importAuthState(claim, { folder: folderWith(files) });
    const folder = temporaryFolder();
    fs.mkdirSync(path.join(folder, 'session-49151.0.json'));
    await expect(guard.exportAuthState(claim, folder)).rejects.toMatchObject({
      code: 'ERR_EXPORT_FAILED',
    });
    expect(fs.readdirSync(folder)).not.toContain('creds.json');
  });
});

'use strict';

// Baileys' auth state in the database: encrypted, fenced, ordered, nothing lost.

const crypto = require('node:crypto');

const { startChild } = require('./support/child');
const { KINDS, freshDatabase, guardsOn, lossOf, recordingLogger } = require('./support/databases');
const { ClaimLostError, DecryptionError, GuardError } = require('..');

const KEY = crypto.randomBytes(32).toString('hex');
const OTHER_KEY = crypto.randomBytes(32).toString('base64');
const pair = (seed) => ({ public: Buffer.alloc(32, seed), private: Buffer.alloc(32, seed + 1) });

let made = 0;

/** As much of Baileys as the auth state uses; jest on Node 20 cannot load the real one. */
const baileys = {
  initAuthCreds: () => ({ noiseKey: pair(made++ % 250), nextPreKeyId: 1, fresh: true }),
  proto: {
    Message: { AppStateSyncKeyData: { fromObject: (value) => ({ ...value, revived: true }) } },
  },
};

describe.each(KINDS)('auth state on %s', (kind) => {
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
  const hex = kind === 'sqlite' ? 'hex(value)' : "upper(encode(value, 'hex'))";
  const rowsOf = async (agentId) => {
    const { rows } = await database.query(
      `SELECT kind, id, ${hex} AS hex FROM baileys_guard_auth WHERE agent_id = $1 ORDER BY kind, id`,
      [agentId],
    );
    return rows.map((row) => ({ kind: row.kind, id: row.id, value: Buffer.from(row.hex, 'hex') }));
  };

  test('new credentials are made only where none are stored', async () => {
    const { guard, claim, state, saveCreds } = await open();
    expect(state.creds.fresh).toBe(true);
    state.creds.me = { id: '49151@s.whatsapp.net' };
    await saveCreds();
    const again = await guard.useGuardedAuthState(claim, { baileys });
    expect(again.state.creds).toEqual(state.creds);
    expect(Buffer.isBuffer(again.state.creds.noiseKey.private)).toBe(true);
  });

  test('a load sees a save that was called before it, finished or not', async () => {
    const { guard, claim, state, saveCreds } = await open();
    state.creds.me = { id: 'first' };
    void saveCreds();
    state.creds.me = { id: 'second' };
    void saveCreds();
    const again = await guard.useGuardedAuthState(claim, { baileys });
    expect(again.state.creds.me).toEqual({ id: 'second' });
  });

  test('what is under way when a claim is released is stored, and the next owner loads it', async () => {
    const { claim, state, saveCreds } = await open();
    state.creds.me = { id: 'in flight' };
    void saveCreds();
    void state.keys.set({ session: { '1.0': Buffer.from('s') } });
    await claim.release();
    const next = await open({}, claim.agentId);
    expect(next.state.creds.me).toEqual({ id: 'in flight' });
    expect(await next.state.keys.get('session', ['1.0'])).toEqual({ '1.0': Buffer.from('s') });
  });

  test('values come back as they were, of known and unknown types', async () => {
    const { claim, state } = await open();
    const values = {
      'pre-key': { 1: pair(7), 2: { public: new Uint8Array([1, 2]), private: Buffer.alloc(0) } },
      session: { '49151.0': Buffer.from([0, 255, 1]), 49152.3: new Uint8Array() },
      'sender-key-memory': { '1-2@g.us': { '4915@s.whatsapp.net': 3, 7: true } },
      'a-type-of-tomorrow': { 'ä/:🤖': ['x', null, { deep: { er: [Buffer.from('b')] } }, 1.5, ''] },
      'lid-mapping': { '49151_reverse': '12345' },
    };
    await state.keys.set(values);
    const buffers = (value) => {
      if (value instanceof Uint8Array) return Buffer.from(value);
      if (value === null || typeof value !== 'object') return value;
      if (Array.isArray(value)) return value.map(buffers);
      return Object.fromEntries(
        Object.entries(value).map(([key, member]) => [key, buffers(member)]),
      );
    };
    const check = async (keys) => {
      for (const [type, entries] of Object.entries(values)) {
        const got = await keys.get(type, [...Object.keys(entries), 'missing']);
        expect(got).toEqual(buffers(entries));
      }
    };
    await check(state.keys); // from what this claim knows
    await claim.release();
    const next = await open({}, claim.agentId);
    await check(next.state.keys); // from the database alone
  });

  test('an id named __proto__ is an id', async () => {
    const { state } = await open();
    const stored = JSON.parse('{"__proto__":{"a":1}}');
    await state.keys.set({ session: stored });
    expect(Object.entries(await state.keys.get('session', ['__proto__']))).toEqual(
      Object.entries(stored),
    );
  });

  test('null deletes; app-state-sync keys are revived; what is read cannot be changed from outside', async () => {
    const { state } = await open();
    const bytes = Buffer.from('mine');
    await state.keys.set({
      session: { a: bytes, b: Buffer.from('b') },
      'app-state-sync-key': { k: { keyData: Buffer.from('d') } },
    });
    bytes.fill(0);
    (await state.keys.get('session', ['a'])).a.fill(1);
    expect(await state.keys.get('session', ['a', 'b'])).toEqual({
      a: Buffer.from('mine'),
      b: Buffer.from('b'),
    });
    expect(await state.keys.get('app-state-sync-key', ['k'])).toEqual({
      k: { keyData: Buffer.from('d'), revived: true },
    });
    await state.keys.set({ session: { a: null } });
    expect(await state.keys.get('session', ['a', 'b'])).toEqual({ b: Buffer.from('b') });
  });

  test('the database holds no readable credential, and raw bytes cost no JSON', async () => {
    const { claim, state, saveCreds } = await open();
    state.creds.me = { id: '4915112345678@s.whatsapp.net', name: 'readable name' };
    await saveCreds();
    await state.keys.set({ session: { '1.0': Buffer.alloc(1000, 'S') } });
    const rows = await rowsOf(claim.agentId);
    expect(rows).toHaveLength(2);
    for (const { value } of rows) {
      const bytes = value;
      expect(bytes.subarray(0, 2).toString()).toBe('WA');
      expect(bytes.includes('4915112345678')).toBe(false);
      expect(bytes.includes('readable')).toBe(false);
      expect(bytes.includes('SSSS')).toBe(false);
    }
    expect(rows[1].value).toHaveLength(1060);
  });

  test('a write that cannot be serialised names the path and changes nothing', async () => {
    const { claim, state } = await open();
    await state.keys.set({ session: { a: Buffer.from('a') } });
    await expect(
      state.keys.set({ session: { a: Buffer.from('x'), b: { deep: [1n] } } }),
    ).rejects.toMatchObject({
      code: 'ERR_NOT_SERIALIZABLE',
      message: `agent ${claim.agentId}, session b: value.deep[0] is a BigInt, which JSON cannot hold`,
      path: 'value.deep[0]',
      type: 'session',
      id: 'b',
    });
    const bytes = new Uint8Array(8);
    structuredClone(bytes, { transfer: [bytes.buffer] });
    await expect(state.keys.set({ session: { a: bytes } })).rejects.toMatchObject({
      code: 'ERR_NOT_SERIALIZABLE',
      message: expect.stringContaining('session a: value has no bytes any more'),
    });
    expect(await state.keys.get('session', ['a', 'b'])).toEqual({ a: Buffer.from('a') });
    expect(await rowsOf(claim.agentId)).toHaveLength(1);
  });

  test('a superseded owner writes nothing, and its signal is aborted by the refusal', async () => {
    const { claim, state, saveCreds } = await open();
    await state.keys.set({ session: { a: Buffer.from('a') } });
    const before = await rowsOf(claim.agentId);
    // Another incarnation holds the lease; this one has not heard of it yet.
    await database.query('UPDATE baileys_guard_lease SET token = token + 1 WHERE agent_id = $1', [
      claim.agentId,
    ]);
    const lost = lossOf(claim);
    await expect(
      state.keys.set({ session: { a: Buffer.from('z'), c: null } }),
    ).rejects.toBeInstanceOf(ClaimLostError);
    expect(await lost).toMatchObject({ code: 'ERR_CLAIM_LOST' });
    await expect(saveCreds()).rejects.toBeInstanceOf(ClaimLostError);
    await expect(state.keys.get('session', ['a'])).rejects.toBeInstanceOf(ClaimLostError);
    expect(await rowsOf(claim.agentId)).toEqual(before);
  });

  test('a deleted lease row blocks writes too', async () => {
    const { claim, state } = await open();
    await database.query('DELETE FROM baileys_guard_lease WHERE agent_id = $1', [claim.agentId]);
    await expect(state.keys.set({ session: { a: Buffer.from('a') } })).rejects.toBeInstanceOf(
      ClaimLostError,
    );
    expect(await rowsOf(claim.agentId)).toEqual([]);
  });

  test('reads that fail are errors that name what they are about; other agents go on', async () => {
    const { claim, state, saveCreds } = await open();
    await saveCreds();
    await state.keys.set({ session: { good: Buffer.from('g'), bad: Buffer.from('b') } });
    await claim.release();
    await database.query(
      "UPDATE baileys_guard_auth SET value = (SELECT value FROM baileys_guard_auth WHERE agent_id = $1 AND id = 'good') WHERE agent_id = $1 AND id = 'bad'",
      [claim.agentId],
    );
    const next = await open({}, claim.agentId);
    await expect(next.state.keys.get('session', ['bad'])).rejects.toMatchObject({
      code: 'ERR_DECRYPT_FAILED',
      message: expect.stringMatching(new RegExp(`${claim.agentId}.*session.*bad`)),
    });
    expect(await next.state.keys.get('session', ['good'])).toEqual({ good: Buffer.from('g') });
    await next.claim.release();
    // Under a key that is not configured nothing opens, and nothing new is made in its place.
    for (const [encryptionKey, code] of [
      [OTHER_KEY, 'ERR_UNKNOWN_KEY'],
      [undefined, 'ERR_KEY_MISSING'],
    ]) {
      const guard = guardOf({ encryptionKey });
      const held = await guard.claimInstance(claim.agentId);
      await expect(guard.useGuardedAuthState(held, { baileys })).rejects.toMatchObject({
        code,
      });
      await guard.shutdown();
    }
    expect(await rowsOf(claim.agentId)).toHaveLength(3);
    await database.query('DELETE FROM baileys_guard_auth WHERE agent_id = $1', [claim.agentId]);
  });

  test('a damaged plain value is an error that names it and shows nothing of it', async () => {
    const { claim, state } = await open({ encryptionKey: undefined });
    const damaged = Buffer.from('WP\x01\x01{"private": secret').toString('hex');
    await state.keys.set({ session: { a: {}, b: { whole: true } } });
    await claim.release();
    await database.query(
      `UPDATE baileys_guard_auth SET value = ${kind === 'sqlite' ? `x'${damaged}'` : `'\\x${damaged}'`}
        WHERE agent_id = $1 AND id = 'a'`,
      [claim.agentId],
    );
    const next = await open({ encryptionKey: undefined }, claim.agentId);
    const error = await next.state.keys.get('session', ['a']).catch((reason) => reason);
    expect(error).toBeInstanceOf(DecryptionError);
    expect(error).toMatchObject({
      code: 'ERR_MALFORMED_ENVELOPE',
      message: `agent ${claim.agentId}, session a: malformed envelope: it is not JSON`,
      type: 'session',
      id: 'a',
    });
    expect(await next.state.keys.get('session', ['b'])).toEqual({ b: { whole: true } });
    await database.query('DELETE FROM baileys_guard_auth WHERE agent_id = $1', [claim.agentId]);
  });

  test('without a key it stores plain text, warns once, and rotation seals it', async () => {
    const logger = recordingLogger();
    const plain = await open({ encryptionKey: undefined, logger });
    await plain.saveCreds();
    await plain.state.keys.set({ session: { a: Buffer.from('readable') } });
    await plain.guard.useGuardedAuthState(plain.claim, { baileys });
    expect(logger.lines.filter(({ text }) => text.includes('plain text'))).toHaveLength(1);
    expect(
      (await rowsOf(plain.claim.agentId)).some(({ value }) => value.includes('readable')),
    ).toBe(true);
    await expect(plain.guard.rotateCredentials()).rejects.toMatchObject({
      code: 'ERR_KEY_MISSING',
    });
    await plain.claim.release();

    const strict = await guardOf({ acceptPlaintext: false });
    const refused = await strict.claimInstance(plain.claim.agentId);
    await expect(strict.useGuardedAuthState(refused, { baileys })).rejects.toMatchObject({
      code: 'ERR_PLAINTEXT_REFUSED',
    });
    const dry = await strict.rotateCredentials({ dryRun: true });
    expect(dry).toMatchObject({ rotated: 0, remaining: { plain: 2 } });
    const report = await strict.rotateCredentials();
    expect(report).toMatchObject({
      rotated: 2,
      remaining: { plain: 0, legacy: 0, previousKey: 0 },
    });
    const { state } = await strict.useGuardedAuthState(refused, { baileys });
    expect(await state.keys.get('session', ['a'])).toEqual({ a: Buffer.from('readable') });
  });

  test('clear deletes this agent only', async () => {
    const [one, two] = [await open(), await open()];
    await one.saveCreds();
    await two.saveCreds();
    await one.clear();
    expect(await rowsOf(one.claim.agentId)).toEqual([]);
    expect(await rowsOf(two.claim.agentId)).toHaveLength(1);
    expect((await one.guard.useGuardedAuthState(one.claim, { baileys })).state.creds).not.toEqual(
      one.state.creds,
    );
  });

  test('what a socket writes while clear fails is stored, unless an earlier one came through', async () => {
    const { guard, claim, ...cleared } = await open({}, 'not-cleared');
    await cleared.clear();
    const { state, clear } = await guard.useGuardedAuthState(claim, { baileys });
    await state.keys.set({ session: { a: Buffer.from('before') } });
    const when = "old.agent_id = 'not-cleared'";
    await database.query(
      kind === 'sqlite'
        ? `CREATE TRIGGER refuse BEFORE DELETE ON baileys_guard_auth WHEN ${when}
           BEGIN SELECT RAISE(ABORT, 'no'); END`
        : `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'no'; END $$;
           CREATE TRIGGER refuse BEFORE DELETE ON baileys_guard_auth
             FOR EACH ROW WHEN (${when}) EXECUTE FUNCTION refuse()`,
    );
    const clearing = clear();
    const writing = state.keys.set({ session: { a: Buffer.from('meanwhile') } });
    await expect(clearing).rejects.toBeInstanceOf(GuardError);
    await writing;
    await expect(cleared.clear()).rejects.toBeInstanceOf(GuardError);
    await cleared.state.keys.set({ session: { a: Buffer.from('of a socket that is over') } });
    expect(await state.keys.get('session', ['a'])).toEqual({ a: Buffer.from('meanwhile') });
  });

  test('what a socket writes after clear does not come back', async () => {
    const { claim, state, saveCreds, clear } = await open();
    await Promise.all([
      saveCreds(),
      clear(),
      saveCreds(),
      state.keys.set({ session: { a: Buffer.from('late') } }),
    ]);
    expect(await rowsOf(claim.agentId)).toEqual([]);
  });

  test('a process killed while it saves leaves a state that loads whole', async () => {
    const child = await startChild('auth-writer.js');
    await child.call('open', { databaseUrl: database.url, encryptionKey: KEY }, 'killed-writer');
    await child.event('written', { where: (n) => n > 20 });
    child.kill('SIGKILL');
    await child.exited;
    const { state } = await open({}, 'killed-writer');
    const ids = Array.from({ length: 50 }, (_, n) => String(n));
    const keys = await state.keys.get('session', ids);
    // Each set writes all fifty with one number: a state is of one set, never of two.
    expect(new Set(Object.values(keys).map((value) => value.toString())).size).toBe(1);
    expect(Object.keys(keys)).toHaveLength(50);
  });

  test('rotation brings everything under the current key while a session writes', async () => {
    const { claim, state, saveCreds, guard } = await open();
    await saveCreds();
    await state.keys.set({
      session: Object.fromEntries(Array.from({ length: 30 }, (_, n) => [n, Buffer.from(`v${n}`)])),
    });
    await database.query('UPDATE whatsapp_sessions SET session_data = $2 WHERE agent_id = $1', [
      claim.agentId,
      JSON.stringify({
        creds: guard.encryptCredentials({ me: { id: 'x' } }, { agentId: claim.agentId }),
        other: [1],
      }),
    ]);
    const rotating = guardOf({ encryptionKey: OTHER_KEY, previousEncryptionKeys: [KEY] });
    const seen = [];
    const writing = state.keys.set({ session: { 5: Buffer.from('newer') } });
    const report = await rotating.rotateCredentials({
      batchSize: 7,
      onProgress: ({ examined }) => seen.push(examined),
    });
    await writing;
    expect(seen.length).toBeGreaterThan(3);
    expect(report.failed).toEqual([]);
    await rotating.rotateCredentials();
    const left = await rotating.rotateCredentials({ dryRun: true });
    expect(left.remaining).toEqual({ plain: 0, legacy: 0, previousKey: 0, unreadable: 0 });
    await claim.release();
    const next = await open({ encryptionKey: OTHER_KEY }, claim.agentId);
    expect(await next.state.keys.get('session', ['4', '5'])).toEqual({
      4: Buffer.from('v4'),
      5: Buffer.from('newer'),
    });
    const { rows } = await database.query(
      'SELECT session_data FROM whatsapp_sessions WHERE agent_id = $1',
      [claim.agentId],
    );
    const data =
      typeof rows[0].session_data === 'string'
        ? JSON.parse(rows[0].session_data)
        : rows[0].session_data;
    expect(data.other).toEqual([1]);
    expect(next.guard.decryptCredentials(data.creds, { agentId: claim.agentId })).toEqual({
      me: { id: 'x' },
    });
  });

  test("rotation seals credentials in both of the host's columns, and leaves what else is there", async () => {
    const guard = guardOf();
    const creds = { noiseKey: { public: 'a' }, me: { id: 'readable' } };
    const hold = async (agentId, columns) => {
      const claim = await guard.claimInstance(agentId);
      for (const [column, value] of Object.entries(columns)) {
        await database.query(`UPDATE whatsapp_sessions SET ${column} = $2 WHERE agent_id = $1`, [
          agentId,
          value === null ? null : JSON.stringify(value),
        ]);
      }
      await claim.release();
    };
    const held = async (agentId) => {
      const { rows } = await database.query(
        'SELECT session_data, session_state FROM whatsapp_sessions WHERE agent_id = $1',
        [agentId],
      );
      const json = (value) => (typeof value === 'string' ? JSON.parse(value) : value);
      return Object.values(rows[0]).map(json);
    };
    await hold('older', { session_data: null, session_state: { creds } });
    await hold('other', { session_data: {}, session_state: { state: 'open' } });
    await hold('empty', { session_data: { creds: null, keys: {} }, session_state: [] });

    expect(await guard.rotateCredentials()).toMatchObject({
      rotated: 1,
      remaining: { plain: 0, legacy: 0 },
    });
    const [none, older] = await held('older');
    expect(none).toBeNull();
    expect(guard.decryptCredentials(older.creds, { agentId: 'older' })).toEqual(creds);
    expect(JSON.stringify(older)).not.toContain('readable');
    expect(await held('other')).toEqual([{}, { state: 'open' }]);
    expect(await held('empty')).toEqual([{ creds: null, keys: {} }, []]);

    // Credentials that are still where hosts kept them before are found there.
    const claim = await guard.claimInstance('older');
    expect(await guard.importAuthState(claim)).toMatchObject({ credentials: 'session_data' });
    const { state } = await guard.useGuardedAuthState(claim, { baileys });
    expect(state.creds).toEqual(creds);
    for (const agentId of ['other', 'empty']) {
      const nothing = await guard.claimInstance(agentId);
      await expect(guard.importAuthState(nothing)).rejects.toMatchObject({
        code: 'ERR_NOTHING_TO_IMPORT',
      });
    }
  });
});

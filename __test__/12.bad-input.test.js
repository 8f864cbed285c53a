'use strict';

const fs = require('node:fs');
const path = require('node:path');

const { KINDS, SILENT, freshDatabase, guardsOn, temporaryFolder } = require('./support/databases');
const { createGuard, GuardError } = require('..');
const { resolveOptions } = require('../lib/options');

const refusal = (code, fields = {}) => expect.objectContaining({ code, ...fields });

describe('options', () => {
  test.each([
    ['databaseUrl', 'mysql://localhost/x'],
    ['databaseUrl', 'just-a-name'],
    ['databaseUrl', 'sqlite:'],
    ['databaseUrl', 'sqlite::memory:'],
    ['databaseUrl', ''],
    ['databaseUrl', 42],
    ['leaseTtlMs', 0],
    ['leaseTtlMs', -1],
    ['leaseTtlMs', NaN],
    ['leaseTtlMs', Infinity],
    ['leaseTtlMs', '60000'],
    ['maxConnections', 0],
    ['maxConnections', 1.5],
    ['instanceId', ''],
    ['instanceId', 'x'.repeat(256)],
    ['instanceHostname', 'a\0b'],
    ['onStoreLost', 'panic'],
    ['logger', {}],
    ['acceptLegacy', 'yes'],
    ['encryptionKey', 'ab'.repeat(31)],
    ['leaseTTL', 1000],
  ])('%s: %p is refused and named', (option, value) => {
    let error;
    try {
      createGuard({ databaseUrl: 'sqlite:unused.db', [option]: value });
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(GuardError);
    expect(error).toEqual(refusal('ERR_INVALID_OPTION', { option }));
    expect(error.message).toContain(option);
  });

  test.each([
    ['LEASE_TTL_MS', '60s', 'leaseTtlMs'],
    ['LEASE_TTL_MS', '0', 'leaseTtlMs'],
    ['LEASE_TTL_MS', '-5', 'leaseTtlMs'],
    ['DATABASE_MAX_CONNECTIONS', '1e1', 'maxConnections'],
    ['DATABASE_MAX_CONNECTIONS', '1.5', 'maxConnections'],
  ])('%s=%s in the environment is refused and shown', (variable, text, option) => {
    expect(() => resolveOptions({}, { [variable]: text })).toThrow(
      refusal('ERR_INVALID_OPTION', { option, message: expect.stringContaining(text) }),
    );
  });

  test('a password in a URL that cannot be used is not repeated', () => {
    expect(() => createGuard({ databaseUrl: 'mysql://u:s3cret@h/x' })).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('s3cret') }),
    );
  });
});

describe.each(KINDS)('arguments on %s', (kind) => {
  let guard;

  beforeAll(async () => {
    guard = guardsOn(await freshDatabase(kind))();
  });

  test.each([
    [''],
    ['x'.repeat(256)],
    [undefined],
    [null],
    [42],
    [{}],
    [['a']],
    ['a\0b'],
    ['\ud800'],
  ])('agentId %p', async (agentId) => {
    const expected = refusal('ERR_INVALID_ARGUMENT', { argument: 'agentId' });
    await expect(guard.claimInstance(agentId)).rejects.toEqual(expected);
    await expect(guard.getOwner(agentId)).rejects.toEqual(expected);
    await expect(guard.claimInstances(['good', agentId])).rejects.toEqual(
      refusal('ERR_INVALID_ARGUMENT', { argument: 'agentIds[1]' }),
    );
  });

  test('an agent id of 255 characters and any script is fine', async () => {
    for (const agentId of ['x'.repeat(255), 'агент-🤖', "o'hara; DROP TABLE x", ' spaces ']) {
      expect((await guard.claimInstance(agentId)).agentId).toBe(agentId);
    }
  });

  test('other arguments', async () => {
    await expect(guard.claimInstance('a', { waitMs: -1 })).rejects.toEqual(
      refusal('ERR_INVALID_ARGUMENT', { argument: 'waitMs' }),
    );
    await expect(guard.claimInstance('a', { userId: 5 })).rejects.toEqual(
      refusal('ERR_INVALID_ARGUMENT', { argument: 'userId' }),
    );
    await expect(guard.claimInstance('a', 'soon')).rejects.toEqual(
      refusal('ERR_INVALID_ARGUMENT', { argument: 'options' }),
    );
    await expect(guard.claimInstances('a')).rejects.toEqual(
      refusal('ERR_INVALID_ARGUMENT', { argument: 'agentIds' }),
    );
    expect(() => guard.startHeartbeat({ intervalMs: 0 })).toThrow(
      refusal('ERR_INVALID_ARGUMENT', { argument: 'intervalMs' }),
    );
    expect(() => guard.startHeartbeat({ onLost: 'log' })).toThrow(
      refusal('ERR_INVALID_ARGUMENT', { argument: 'onLost' }),
    );
    expect(() => guard.watchOwnership()).toThrow(
      refusal('ERR_INVALID_ARGUMENT', { argument: 'listener' }),
    );
    const claim = await guard.claimInstance('bad-fields');
    for (const [fields, argument] of [
      [{ status: 'online' }, 'fields.status'],
      [{ phoneNumber: 49 }, 'fields.phoneNumber'],
      [{ qrCode: 'a\0b' }, 'fields.qrCode'],
      [{ isActive: 1 }, 'fields.isActive'],
      [{ lastConnected: 'yesterday-ish' }, 'fields.lastConnected'],
      [{ colour: 'green' }, 'fields.colour'],
      ['connected', 'fields'],
      [undefined, 'fields'],
      [null, 'fields'],
    ]) {
      await expect(claim.update(fields)).rejects.toEqual(
        refusal('ERR_INVALID_ARGUMENT', { argument }),
      );
    }
    expect(claim.held).toBe(true);
  });

  test('every call after shutdown', async () => {
    const ended = guardsOn(await freshDatabase(kind))();
    const claim = await ended.claimInstance('ended');
    await ended.shutdown();
    for (const call of [
      () => ended.claimInstance('a'),
      () => ended.claimInstances(['a']),
      () => ended.getOwner('a'),
      () => ended.listSessions(),
      () => ended.migrate(),
      () => ended.rollback(),
      async () => ended.startHeartbeat(),
      async () => ended.watchOwnership(() => {}),
    ]) {
      await expect(call()).rejects.toEqual(refusal('ERR_SHUT_DOWN'));
    }
    await expect(claim.update({ status: 'error' })).rejects.toEqual(refusal('ERR_SHUT_DOWN'));
    expect(claim.held).toBe(false);
  });

  test('a schema that is not migrated names the command', async () => {
    const bare = guardsOn(await freshDatabase(kind, { migrated: false }))();
    for (const call of [
      () => bare.claimInstance('a'),
      () => bare.claimInstances(['a']),
      () => bare.getOwner('a'),
      () => bare.listSessions(),
    ]) {
      await expect(call()).rejects.toEqual(refusal('ERR_MIGRATION_REQUIRED'));
    }
    await expect(bare.claimInstance('a')).rejects.toThrow('npx baileys-guard migrate');
    await bare.migrate();
    expect((await bare.claimInstance('a')).held).toBe(true);
  });
});

describe('a host table that is stricter than ours', () => {
  const { createDatabase } = require('./support/postgres');
  let database;
  let guard;
  const [USER, AGENT, OTHER] = [
    '0b6a3b0e-54b0-4b9c-9d7e-0a4a6f1c0001',
    '0b6a3b0e-54b0-4b9c-9d7e-0a4a6f1c0002',
    '0b6a3b0e-54b0-4b9c-9d7e-0a4a6f1c0003',
  ];

  beforeAll(async () => {
    database = await createDatabase();
    await database.query(`
      CREATE TABLE users (id uuid PRIMARY KEY);
      CREATE TABLE whatsapp_sessions (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        user_id uuid NOT NULL REFERENCES users (id),
        agent_id uuid,
        phone_number varchar(15),
        session_state jsonb,
        is_active boolean DEFAULT false,
        qr_code text,
        last_connected timestamp,
        created_at timestamp DEFAULT now(),
        updated_at timestamp DEFAULT now(),
        UNIQUE (user_id, phone_number)
      )`);
    await database.query('INSERT INTO users VALUES ($1)', [USER]);
    guard = guardsOn(database)();
    await guard.migrate();
  });

  test('an agent id that is no uuid', async () => {
    await expect(guard.claimInstance('agent-1')).rejects.toEqual(
      refusal('ERR_INVALID_ARGUMENT', { argument: 'agentId' }),
    );
  });

  test('a claim that needs a user id says so and leaves the agent free', async () => {
    await expect(guard.claimInstance(AGENT)).rejects.toEqual(
      refusal('ERR_USER_ID_REQUIRED', { agentId: AGENT }),
    );
    expect(await guard.getOwner(AGENT)).toBeNull();
    const claim = await guard.claimInstance(AGENT.toUpperCase(), { userId: USER });
    expect(claim.agentId).toBe(AGENT);
    expect(await guard.claimInstance(AGENT)).toBe(claim);
  });

  test('a user that does not exist, a user id that is no uuid, a phone number twice', async () => {
    await expect(guard.claimInstance(OTHER, { userId: AGENT })).rejects.toEqual(
      refusal('ERR_SESSION_ROW_REFUSED', { agentId: OTHER }),
    );
    await expect(guard.claimInstance(OTHER, { userId: 'me' })).rejects.toEqual(
      refusal('ERR_INVALID_ARGUMENT'),
    );
    const [one, two] = [
      await guard.claimInstance(AGENT, { userId: USER }),
      await guard.claimInstance(OTHER, { userId: USER }),
    ];
    await one.update({ phoneNumber: '4915100000001' });
    await expect(two.update({ phoneNumber: '4915100000001' })).rejects.toEqual(
      refusal('ERR_SESSION_ROW_REFUSED', { agentId: OTHER }),
    );
    await expect(two.update({ phoneNumber: '4'.repeat(16) })).rejects.toEqual(
      refusal('ERR_SESSION_ROW_REFUSED', { agentId: OTHER }),
    );
    expect(two.held).toBe(true);
  });
});

describe('a database that is not there', () => {
  const gone = refusal('ERR_DATABASE_UNAVAILABLE');

  test('a PostgreSQL server that nobody runs', async () => {
    const guard = createGuard({ databaseUrl: 'postgres://u:s3cret@127.0.0.1:1/x', logger: SILENT });
    for (const call of [
      () => guard.claimInstance('a'),
      () => guard.getOwner('a'),
      () => guard.migrate(),
      () => guard.watchOwnership(() => {}).ready,
    ]) {
      const error = await call().catch((caught) => caught);
      expect(error).toEqual(gone);
      expect(error.message).not.toContain('s3cret');
    }
    await guard.shutdown();
  });

  test('a PostgreSQL server without that database, and one that refuses the login', async () => {
    const { url } = await freshDatabase('postgres');
    const [nowhere, nobody] = [new URL(url), new URL(url)];
    nowhere.pathname = '/no_such_database';
    nobody.username = 'no_such_role';
    for (const { href } of [nowhere, nobody]) {
      const guard = createGuard({ databaseUrl: href, logger: SILENT });
      const error = await guard.claimInstance('a').catch((caught) => caught);
      expect(error).toEqual(gone);
      expect(error.message).toContain('no_such');
      await guard.shutdown();
    }
  });

  test('a folder, a text file, a file below a file, a file in a folder that is missing', async () => {
    const folder = temporaryFolder();
    const text = path.join(folder, 'text.db');
    fs.writeFileSync(text, 'no database at all, just a text that is long enough'.repeat(100));
    for (const [file, code] of [
      [folder, 'ERR_DATABASE_UNAVAILABLE'],
      [path.join(text, 'below.db'), 'ERR_DATABASE_UNAVAILABLE'],
      [path.join(folder, 'not-mounted', 'text.db'), 'ERR_DATABASE_UNAVAILABLE'],
      [text, 'ERR_DATABASE'],
    ]) {
      const guard = createGuard({ databaseUrl: `sqlite:${file}`, logger: SILENT });
      const error = await guard.claimInstance('a').catch((caught) => caught);
      expect(error).toEqual(refusal(code));
      expect(error.message).toContain('text.db'.slice(0, file === folder ? 0 : 7));
      await guard.shutdown();
    }
  });
});

'use strict';

// Ends that are asked for wrongly, too late, or while somebody throws.

const {
  SILENT,
  claimBriefly,
  freshDatabase,
  guardsOn,
  lossOf,
  recordingLogger,
} = require('./support/databases');
const { createDatabase, withClient } = require('./support/postgres');
const { startProxy } = require('./support/proxy');
const { createGuard } = require('..');

const until = async (check, timeoutMs = 10_000) => {
  for (const end = Date.now() + timeoutMs; !(await check());) {
    if (Date.now() > end) throw new Error(`not within ${timeoutMs} ms: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

test('a shutdown with options it does not understand has not happened', async () => {
  const database = await freshDatabase('sqlite');
  const guard = createGuard({ databaseUrl: database.url, logger: SILENT });
  const claim = await guard.claimInstance('goes-on');
  await expect(guard.shutdown({ timeoutMs: -1 })).rejects.toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
  });
  await claim.update({ status: 'connected' });
  await guard.shutdown();
  expect(claim.held).toBe(false);
});

test('a listener that throws stops neither the abort nor the guard', async () => {
  const database = await freshDatabase('sqlite');
  const logger = recordingLogger();
  const guard = guardsOn(database, { leaseTtlMs: 1000, logger })();
  guard.on('claimLost', () => {
    throw new Error('of the user');
  });
  const claim = await claimBriefly(guard, 'lost');
  expect(await lossOf(claim)).toMatchObject({ reason: 'expired' });
  expect(logger.lines).toContainEqual({
    level: 'warn',
    text: '[BAILEYS] a listener of claimLost failed: of the user',
  });
});

test('timeoutMs bounds all of a shutdown, sockets that do not close and a silent database', async () => {
  const database = await createDatabase({ template: 'migrated' });
  const proxy = await startProxy(database.url);
  const guard = createGuard({ databaseUrl: proxy.url, logger: SILENT });
  await guard.claimInstance('stuck');
  proxy.blackhole(true);
  const start = performance.now();
  await guard.shutdown({ timeoutMs: 4000, beforeRelease: () => new Promise(() => {}) });
  expect(performance.now() - start).toBeLessThan(7500); // not once for each of the two
  await proxy.close();
});

test('a first claim that a shutdown overtakes leaves no live instance behind', async () => {
  const database = await createDatabase({ template: 'migrated' });
  const proxy = await startProxy(database.url);
  const guard = createGuard({ databaseUrl: proxy.url, logger: SILENT });
  await guard.listSessions(); // connected
  proxy.delay(100);
  let registering = false;
  proxy.onClientBytes((bytes) => {
    registering ||= bytes.includes(guard.instanceId);
  });
  const claim = guard.claimInstance('too-late').catch((error) => error);
  await until(() => registering);
  await guard.shutdown();
  expect(await claim).toMatchObject({ code: 'ERR_SHUT_DOWN' });
  const { rows } = await database.query(
    'SELECT instance_id FROM baileys_guard_instance WHERE dead_at IS NULL',
  );
  expect(rows).toEqual([]);
  await proxy.close();
});

test('a claim that a shutdown overtakes is refused, and no trouble', async () => {
  const database = await createDatabase({ template: 'migrated' });
  const proxy = await startProxy(database.url);
  const guard = guardsOn({ url: proxy.url })();
  const trouble = [];
  guard.on('trouble', ({ error }) => trouble.push(error.message));
  await guard.claimInstance('before'); // a claim that is shut down, and an instance that is there
  const held = new Set();
  proxy.onClientBytes((bytes, connection) => {
    if (held.size > 0 && !bytes.includes('late')) return;
    connection.hold('server');
    held.add(connection);
  });
  const list = guard.listSessions().catch(({ code }) => code);
  await until(() => held.size === 1);
  const claim = guard.claimInstance('late').catch(({ code }) => code);
  await until(() => held.size === 2);
  const shutdown = guard.shutdown();
  const retired = async () =>
    (await database.query('SELECT 1 FROM baileys_guard_instance WHERE dead_at IS NULL'))
      .rowCount === 0;
  await until(retired); // and now the pool waits for the connections that are at work
  const [listing, claiming] = held;
  claiming.release('server');
  expect(await claim).toBe('ERR_SHUT_DOWN');
  listing.release('server');
  await Promise.all([list, shutdown]);
  expect(trouble).toEqual([]);
});

test('a write that arrives late does not undo what the same owner has written since', async () => {
  const database = await createDatabase({ template: 'migrated' });
  const proxy = await startProxy(database.url);
  const guard = guardsOn({ url: proxy.url })();
  guard.startHeartbeat();
  const claim = await guard.claimInstance('late-write');
  const { state } = await guard.useGuardedAuthState(claim, {
    baileys: { initAuthCreds: () => ({}), proto: {} }, // an ES module, which jest cannot load
  });
  const set = (text) => state.keys.set({ 'sender-key': { k: Buffer.from(text) } });
  const update = (text) => claim.update({ qrCode: text });
  for (const write of [set, update]) {
    await write('first');
    const before = claim.fencingToken;
    let late;
    proxy.onClientBytes((bytes, connection) => {
      if (late || !bytes.includes('second')) return;
      late = connection;
      connection.hold('client');
      connection.proxy.once('held', () => connection.abandon());
    });
    await write('second'); // again, by another connection
    expect(late).toBeDefined();
    expect(claim.fencingToken).toBeGreaterThan(before);
    await write('third');
    const answered = new Promise((resolve) =>
      proxy.on('server-bytes', (_, connection) => connection === late && resolve()),
    );
    late.release('client');
    await answered;
  }
  const { rows } = await database.query(
    `SELECT qr_code, encode(value, 'escape') AS value FROM whatsapp_sessions, baileys_guard_auth
      WHERE kind = 'sender-key'`,
  );
  expect(rows).toEqual([{ qr_code: 'third', value: expect.stringContaining('third') }]);
  expect(claim.held).toBe(true);
  await claim.release();
  expect(await database.query('SELECT 1 FROM baileys_guard_lease WHERE held')).toMatchObject({
    rows: [],
  });
});

test('a write whose answer is lost does not bring back a lease that is gone', async () => {
  const database = await createDatabase({ template: 'migrated' });
  const proxy = await startProxy(database.url);
  const guard = guardsOn({ url: proxy.url })();
  guard.startHeartbeat();
  const claim = await guard.claimInstance('gone-meanwhile');
  await claim.update({ qrCode: 'first' });
  let cut = false;
  proxy.onClientBytes((bytes, connection) => {
    if (cut || !bytes.includes('second')) return;
    cut = true;
    connection.cut();
  });
  await database.query('DELETE FROM baileys_guard_lease');
  await expect(claim.update({ qrCode: 'second' })).rejects.toMatchObject({
    reason: expect.stringMatching(/^(refused|row-gone)$/), // a beat may see it first
  });
  expect(cut).toBe(true);
  expect(claim.held).toBe(false);
  expect((await database.query('SELECT 1 FROM baileys_guard_lease')).rows).toEqual([]);
});

test('a release names the token that its claim was given without an answer', async () => {
  const database = await createDatabase({ template: 'migrated' });
  const proxy = await startProxy(database.url);
  const guard = guardsOn({ url: proxy.url })();
  guard.startHeartbeat();
  const claim = await guard.claimInstance('half-told');
  await claim.update({ status: 'connected' });
  const before = claim.fencingToken;
  const preparing = new Set();
  let cut = false;
  proxy.onClientBytes((bytes, connection) => {
    if (!cut && bytes.includes('second')) {
      cut = true;
      connection.cut();
    } else if (bytes.includes('advanced AS')) {
      preparing.add(connection);
    } else if (preparing.delete(connection)) {
      connection.hold('server');
      proxy.once('held', () => connection.cut());
    }
  });
  await expect(claim.update({ qrCode: 'second' })).rejects.toMatchObject({
    code: 'ERR_DATABASE_UNAVAILABLE',
  });
  proxy.onClientBytes(() => {});
  expect(claim.fencingToken).toBe(before);
  const lease = 'SELECT held, token FROM baileys_guard_lease';
  const [{ token }] = (await database.query(lease)).rows;
  expect(BigInt(token)).toBeGreaterThan(before);
  expect(claim.held).toBe(true);
  await claim.release({ deactivate: true });
  expect((await database.query(lease)).rows[0].held).toBe(false);
  const shown = await database.query('SELECT is_active, status FROM whatsapp_sessions');
  expect(shown.rows).toEqual([{ is_active: false, status: 'disconnected' }]);
});

test('a claim that waits for its turn does not outwait the shutdown', async () => {
  const database = await createDatabase({ template: 'migrated' });
  await guardsOn(database)().claimInstance('held-elsewhere');
  const guard = createGuard({ databaseUrl: database.url, logger: SILENT }); // looks every 12 s
  const waiting = guard.claimInstance('held-elsewhere', { waitMs: 60_000 }).catch((error) => error);
  const lookedSinceItListens = () =>
    database.query(`
      SELECT 1 FROM pg_stat_activity look JOIN pg_stat_activity listening USING (datname)
       WHERE datname = current_database() AND look.state = 'idle'
         AND look.query LIKE '%beat_age_ms%' AND listening.query LIKE 'LISTEN%'
         AND look.query_start > listening.query_start`);
  await until(async () => (await lookedSinceItListens()).rows.length > 0);
  const start = performance.now();
  await guard.shutdown();
  expect(await waiting).toMatchObject({ code: 'ERR_SHUT_DOWN' });
  expect(performance.now() - start).toBeLessThan(5000);
});

test("with onStoreLost: 'keep' a refusal of the old term does not end the new one", async () => {
  const database = await createDatabase({ template: 'migrated' });
  const proxy = await startProxy(database.url);
  const guard = guardsOn({ url: proxy.url }, { leaseTtlMs: 5000, onStoreLost: 'keep' })();
  guard.startHeartbeat();
  const claim = await guard.claimInstance('kept');
  const before = claim.fencingToken;
  let writing;
  proxy.onClientBytes((bytes, connection) => {
    if (!bytes.includes('of the old term')) return;
    writing = connection;
    connection.hold('client'); // it arrives late
  });
  const late = claim.update({ qrCode: 'of the old term' }).catch((error) => error);
  await until(() => writing);
  await database.query("UPDATE baileys_guard_instance SET dead_at = now(), death = 'silent'");
  await until(() => claim.fencingToken > before);
  writing.release('client');
  expect(await late).toMatchObject({ code: 'ERR_DATABASE_UNAVAILABLE' });
  expect(claim.signal.reason).toBeUndefined();
  expect(claim.held).toBe(true);
  await claim.update({ status: 'connected' });
});

test("with onStoreLost: 'keep' a list from before a claim was taken up again does not end it", async () => {
  const database = await createDatabase({ template: 'migrated' });
  const proxy = await startProxy(database.url);
  const guard = guardsOn({ url: proxy.url }, { leaseTtlMs: 5000, onStoreLost: 'keep' })();
  guard.startHeartbeat();
  const claim = await guard.claimInstance('listed');
  const before = claim.fencingToken;
  const preparing = new Set();
  const late = new Set();
  proxy.onClientBytes((bytes, connection) => {
    if (late.size > 0) return;
    if (bytes.includes('SELECT agent_id, token FROM baileys_guard_lease')) {
      preparing.add(connection);
    } else if (preparing.delete(connection)) {
      late.add(connection);
      connection.hold('server'); // the list is made now and arrives late
    }
  });
  const listed = new Promise((resolve) => proxy.on('held', resolve));
  await withClient(database.url, async (client) => {
    await client.query('BEGIN');
    await client.query('SELECT FROM baileys_guard_lease FOR UPDATE'); // not before the list is made
    await database.query("UPDATE baileys_guard_instance SET dead_at = now(), death = 'silent'");
    await listed;
    await client.query('COMMIT');
  });
  await until(() => claim.fencingToken > before);
  for (const connection of late) connection.release('server');
  await guard.listSessions(); // behind the list, which has been looked at
  await claim.update({ status: 'connected' });
  expect(claim.held).toBe(true);
});

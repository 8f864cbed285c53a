'use strict';

// The tools of these tests: an instrument that lies makes every test after it worthless.

const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const { Client } = require('pg');

const { startChild, startScript } = require('./support/child');
const { describeWithPgBouncer, startPgBouncer } = require('./support/pgbouncer');
const { createDatabase, startPostgres } = require('./support/postgres');
const { startProxy } = require('./support/proxy');

/** Resolves when the server has closed the connection; its error may come before. */
function ended(client) {
  return new Promise((resolve) => client.once('end', resolve));
}

async function connect(url, options) {
  const client = new Client({ connectionString: url, ...options });
  client.on('error', () => {}); // a query or 'end' tells
  await client.connect();
  return client;
}

describe('createDatabase', () => {
  test('gives an empty database of its own', async () => {
    const [one, other] = await Promise.all([createDatabase(), createDatabase()]);
    await one.query('CREATE TABLE mark (a int)');
    const { rows } = await other.query(`SELECT to_regclass('mark') AS mark`);
    expect(rows).toEqual([{ mark: null }]);
  });

  test('drops it even while somebody is connected', async () => {
    const database = await createDatabase();
    const client = await connect(database.url);
    const end = ended(client);
    await database.drop();
    await end;
    await expect(connect(database.url)).rejects.toMatchObject({ code: '3D000' });
  });
});

describe('startPostgres', () => {
  test('has the time zone, password and TLS that were asked for', async () => {
    const server = await startPostgres({
      timezone: 'Asia/Karachi',
      password: 'secret',
      tls: true,
      settings: { max_connections: 7 },
    });
    const ca = fs.readFileSync(server.certificate);
    const client = await connect(server.url(), { ssl: { ca } });
    const { rows } = await client.query(
      `SELECT current_setting('TimeZone') AS zone, current_setting('max_connections') AS most, ssl
       FROM pg_stat_ssl WHERE pid = pg_backend_pid()`,
    );
    expect(rows).toEqual([{ zone: 'Asia/Karachi', most: '7', ssl: true }]);
    await client.end();
    const wrong = server.url().replace('secret', 'guess');
    await expect(connect(wrong, { ssl: { ca } })).rejects.toMatchObject({ code: '28P01' });
  });

  test('keeps what was committed over a crash, and can be stopped and started', async () => {
    const server = await startPostgres();
    const before = await connect(server.url());
    await before.query('CREATE TABLE mark AS SELECT 1 AS a');
    const end = ended(before);
    await server.restart('immediate');
    await end;
    const after = await connect(server.url());
    expect((await after.query('SELECT a FROM mark')).rows).toEqual([{ a: 1 }]);
    expect(server.log).toMatch(/not properly shut down/);
    await after.end();
    await server.stop();
    await expect(connect(server.url())).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await server.start();
    await (await connect(server.url())).end();
  });
});

describeWithPgBouncer('startPgBouncer', () => {
  test('shares few server connections between many clients', async () => {
    const database = await createDatabase();
    const bouncer = await startPgBouncer({ poolSize: 3 });
    const clients = await Promise.all(
      Array.from({ length: 10 }, () => connect(bouncer.through(database.url))),
    );
    // No statement ends before as many are at work as ever will be.
    const gate = await connect(database.url);
    await gate.query('SELECT pg_advisory_lock(1)');
    const answers = Promise.all(
      clients.map((client) =>
        client.query(
          'SELECT pg_backend_pid() AS pid, pg_sleep(0.02) FROM pg_advisory_xact_lock_shared(1)',
        ),
      ),
    );
    const waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    while ((await database.query(waiting)).rowCount < 3);
    await gate.end();
    const pids = new Set((await answers).map(({ rows }) => rows[0].pid));
    expect(pids.size).toBe(3);
    const pools = await bouncer.show('pools');
    expect(pools).toContainEqual(
      expect.objectContaining({ database: database.name, pool_mode: 'transaction' }),
    );
    await Promise.all(clients.map((client) => client.end()));
    await bouncer.stop();
    await expect(connect(bouncer.through(database.url))).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    });
  });
});

describe('startProxy', () => {
  let proxy;
  let client;

  beforeEach(async () => {
    const database = await createDatabase();
    proxy = await startProxy(database.url);
    client = await connect(proxy.url);
  });

  test('passes everything on', async () => {
    const text = 'x'.repeat(1_000_000);
    const { rows } = await client.query('SELECT $1::text AS text', [text]);
    expect(rows[0].text === text).toBe(true);
    await client.end();
  });

  test('loses the answer of a statement that was committed', async () => {
    proxy.onClientBytes((bytes, connection) => {
      if (bytes.includes('CREATE TABLE')) connection.hold('server');
    });
    const held = once(proxy, 'held');
    const created = client.query('CREATE TABLE mark ()').catch((error) => error);
    await held;
    proxy.cut();
    expect(await created).toMatchObject({ code: 'ECONNRESET' });
    proxy.onClientBytes(undefined);
    const again = await connect(proxy.url);
    await expect(again.query('CREATE TABLE mark ()')).rejects.toMatchObject({ code: '42P07' });
    await again.end();
  });

  test('leaves no handle of a connection that is cut while its end is passed on', async () => {
    await client.end();
    const sockets = () => process.getActiveResourcesInfo().filter((name) => name.includes('TCP'));
    const before = sockets();
    const stranger = net.connect(proxy.port, '127.0.0.1').on('error', () => {});
    const closed = new Promise((resolve) => stranger.once('close', resolve));
    const [connection] = await once(proxy, 'connection');
    await once(connection.sockets.server, 'connect');
    connection.sockets.client.once('end', () => connection.cut());
    stranger.end();
    await closed;
    await new Promise(setImmediate);
    expect(sockets()).toEqual(before);
  });

  test('cuts in the middle of a statement', async () => {
    proxy.cutAfterBytes(20);
    const created = client.query('CREATE TABLE mark ()').catch((error) => error);
    await once(proxy, 'close');
    expect(await created).toMatchObject({ message: expect.any(String) });
    proxy.cutAfterBytes(Infinity);
    const again = await connect(proxy.url);
    await again.query('CREATE TABLE mark ()');
    await again.end();
  });

  test('refuses, and listens again on the same port', async () => {
    await proxy.refuse();
    await expect(connect(proxy.url)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await client.query('SELECT 1');
    await proxy.refuse(false);
    await (await connect(proxy.url)).end();
    await client.end();
  });

  test('delays each way', async () => {
    proxy.delay(60);
    const start = performance.now();
    await client.query('SELECT 1');
    expect(performance.now() - start).toBeGreaterThanOrEqual(119);
    proxy.delay(0);
    await client.end();
  });

  test('is silent as a black hole, and late afterwards', async () => {
    proxy.blackhole();
    const { port } = new URL(proxy.url);
    const stranger = net.connect(port, '127.0.0.1');
    await once(stranger, 'connect');
    const held = once(proxy, 'held');
    const answer = client.query('SELECT 1 AS a');
    await held;
    proxy.blackhole(false);
    expect((await answer).rows).toEqual([{ a: 1 }]);
    stranger.destroy();
    await client.end();
  });

  test('drops what the hook drops', async () => {
    proxy.onServerBytes(() => null);
    const answer = client.query('SELECT 1').catch((error) => error);
    await once(proxy, 'server-bytes');
    proxy.cut();
    expect(await answer).toMatchObject({ code: 'ECONNRESET' });
  });
});

describe('startChild', () => {
  test('answers calls, with bigints and errors, and tells events', async () => {
    const child = await startChild('echo.js');
    await expect(child.call('echo', { a: [1n, null] })).resolves.toEqual({ a: [1n, null] });
    await expect(child.call('fail')).rejects.toMatchObject({
      name: 'RangeError',
      message: 'too far',
      code: 'ERR_TOO_FAR',
      agentId: 'a',
    });
    await child.call('tell', 'first', 1);
    await child.call('tell', 'second', 2);
    await expect(child.event('second')).resolves.toBe(2);
    await expect(child.event('first')).resolves.toBe(1);
  });

  test('fails with what the child wrote', async () => {
    const child = await startChild('echo.js');
    await expect(child.call('leave', 3)).rejects.toThrow(
      /ended before it answered leave[^]*I leave/,
    );
    await expect(child.exit()).resolves.toEqual({ code: 3, signal: null });
    await expect(child.event('any')).rejects.toThrow(/told no event any and ended[^]*I leave/);
    await expect(child.call('echo', 1)).rejects.toThrow('is gone');
  });

  test('freezes and thaws it', async () => {
    const child = await startChild('echo.js');
    child.kill('SIGSTOP');
    const answer = child.call('tell', 'thawed');
    await expect(child.event('thawed', { timeoutMs: 200 })).rejects.toThrow('within 200 ms');
    child.kill('SIGCONT');
    await answer;
    await child.event('thawed');
    child.kill('SIGKILL');
    await expect(child.exit()).resolves.toEqual({ code: null, signal: 'SIGKILL' });
  });

  test('ends with its parent', async () => {
    const parent = startScript(require.resolve('./fixtures/parent.js'));
    const [, pid] = await parent.output(/child (\d+)/);
    parent.kill('SIGKILL');
    await parent.exit();
    const gone = () => {
      try {
        process.kill(Number(pid), 0);
        return false;
      } catch {
        return true;
      }
    };
    for (let tries = 0; tries < 2000 && !gone(); tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(gone()).toBe(true);
  });
});

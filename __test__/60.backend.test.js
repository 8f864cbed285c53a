'use strict';

// The reference backend: two real server processes with real Baileys, one agent at a time, on both
// databases, against the offline endpoint. What happens when WhatsApp or a process fails.

const { randomBytes, randomUUID } = require('node:crypto');
const { setTimeout: sleep } = require('node:timers/promises');

const { Server } = require('../examples/demo/server');
const { spawnEndpoint } = require('../examples/whatsapp-endpoint');
const { defer } = require('./support/cleanup');
const { KINDS, freeze, freshDatabase } = require('./support/databases');

const AGENT_IN_USE = 'Agent is already in use by another server instance';

jest.setTimeout(120_000);

/** Tries again until `check` does not throw; fails with what it threw last. */
async function eventually(check, timeoutMs = 10_000) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await sleep(50);
    }
  }
}

/** A time as either database writes it out: UTC, with or without a zone behind it. */
function utc(text) {
  const [, time] = /^([\d-]+[ T][\d:.]+)/.exec(text);
  return new Date(`${time.replace(' ', 'T')}Z`);
}

const KEY = randomBytes(32).toString('hex');

describe.each(KINDS)('two backends on %s', (kind) => {
  let database;
  let endpoint;
  let a;
  let b;

  function startServer(name, more) {
    const server = new Server(name, {
      DATABASE_URL: database.url,
      CREDENTIALS_ENCRYPTION_KEY: KEY,
      WA_WEBSOCKET_URL: endpoint.url,
      LEASE_TTL_MS: '10000',
      WHATSAPP_INIT_LIMIT: '1000', // all tests come from one address
      ...more,
    });
    defer(() => server.end('SIGKILL'));
    return server;
  }

  beforeAll(async () => {
    database = await freshDatabase(kind, { migrated: false });
    endpoint = await spawnEndpoint();
    defer(() => endpoint.close());
    a = startServer('server-A');
    b = startServer('server-B');
    await Promise.all([a.ready, b.ready]);
  });

  afterEach(async () => {
    await endpoint.heal();
  });

  /** Pairs an agent on a server; gives its id and the address of its device. */
  async function connect(server, agentId = randomUUID()) {
    const route = encodeURIComponent(agentId);
    const { http } = await server.call(route, 'init-whatsapp', {});
    expect(http).toBe(200);
    const { qrCode } = await server.statusWhere(route, (status) => status.qrCode, 'QR code');
    const { jid } = await endpoint.scan(qrCode);
    await server.connected(route);
    await eventually(async () =>
      expect(await rowOf(agentId)).toMatchObject({ status: 'connected' }),
    );
    return { agentId, jid };
  }

  async function rowOf(agentId) {
    const { rows } = await database.query(
      'SELECT status, is_active, phone_number, instance_id FROM whatsapp_sessions WHERE agent_id = $1',
      [agentId],
    );
    expect(rows).toHaveLength(1);
    return { ...rows[0], is_active: Boolean(rows[0].is_active) };
  }

  /** How many values are stored for an agent; none of them readable. */
  async function storedValues(agentId) {
    const { rows } = await database.query(
      'SELECT count(*) AS n FROM baileys_guard_auth WHERE agent_id = $1',
      [agentId],
    );
    return Number(rows[0].n);
  }

  test('one connects the agent, and the session row shows who and that it lives', async () => {
    const { agentId, jid } = await connect(a);
    expect(await a.call(agentId, 'whatsapp-status')).toMatchObject({
      status: 'connected',
      qrCode: null,
      phoneNumber: jid.split(':')[0],
    });
    const { rows } = await database.query(
      'SELECT agent_id, instance_id, instance_hostname, last_heartbeat FROM whatsapp_sessions WHERE is_active = true',
    );
    const mine = rows.filter((row) => row.agent_id === agentId);
    expect(mine).toMatchObject([
      { instance_id: 'server-A', instance_hostname: expect.stringMatching(/./) },
    ]);
    const beat = await database.query(
      'SELECT last_heartbeat::text AS beat FROM whatsapp_sessions WHERE agent_id = $1',
      [agentId],
    );
    const age = Date.now() - utc(beat.rows[0].beat);
    expect(age).toBeLessThan(60_000);
    expect(age).toBeGreaterThan(-1_000);
    await a.call(agentId, 'disconnect', {});
  });

  test('the other is refused, and is told who has it', async () => {
    const { agentId } = await connect(a);
    const owner = { instanceId: 'server-A', pid: a.pid };

    const refused = await b.call(agentId, 'init-whatsapp', {});
    expect(refused).toMatchObject({
      http: 409,
      error: AGENT_IN_USE,
      code: 'ERR_AGENT_IN_USE',
      owner,
    });
    expect(refused.retryAfterMs).toBeGreaterThan(0);
    expect(
      await b.call(agentId, 'send-message', { to: '4917600000001', message: 'no' }),
    ).toMatchObject({
      http: 409,
      error: AGENT_IN_USE,
      owner,
    });
    expect(await b.call(agentId, 'disconnect', {})).toMatchObject({
      http: 409,
      error: AGENT_IN_USE,
    });
    expect(await b.call(agentId, 'whatsapp-status')).toMatchObject({ http: 200, owner });

    const sent = await a.call(agentId, 'send-message', {
      to: '+49 176 00000001',
      message: `from ${agentId}`,
    });
    expect(sent).toMatchObject({ http: 200, messageId: expect.stringMatching(/./) });
    expect(await endpoint.waitFor(({ text }) => text === `from ${agentId}`)).not.toBeNull();
    await a.call(agentId, 'disconnect', {});
  });

  test('a user disconnects it: nobody resumes it, and the other can connect it without a QR code', async () => {
    const { agentId } = await connect(a);
    expect(await a.call(agentId, 'disconnect', {})).toMatchObject({
      http: 200,
      status: 'disconnected',
    });
    expect(await rowOf(agentId)).toMatchObject({
      status: 'disconnected',
      is_active: false,
      instance_id: null,
    });
    expect(await a.call(agentId, 'whatsapp-status')).toMatchObject({ status: 'disconnected' });

    const { registrations } = await endpoint.stats();
    await b.call(agentId, 'init-whatsapp', {});
    await b.connected(agentId);
    expect((await endpoint.stats()).registrations).toBe(registrations);
    await b.call(agentId, 'disconnect', {});
  });

  test('logging out unlinks the device; the next connection is paired anew', async () => {
    const { agentId, jid } = await connect(a);
    expect(await a.call(agentId, 'disconnect', { logout: true })).toMatchObject({ http: 200 });
    expect(
      await endpoint.waitFor(({ type, jid: whose }) => type === 'logout' && whose === jid),
    ).not.toBeNull();
    expect(await storedValues(agentId)).toBe(0);
    await b.call(agentId, 'init-whatsapp', {});
    await b.statusWhere(agentId, (status) => status.qrCode, 'QR code');
    await b.call(agentId, 'disconnect', {});
  });

  test('440: it does not fight, keeps the credentials, and waits for somebody to ask', async () => {
    const { agentId, jid } = await connect(a);
    const { logins } = (await endpoint.stats()).devices[jid];
    await endpoint.fail('conflict', { jid });
    await eventually(async () =>
      expect(await rowOf(agentId)).toMatchObject({
        status: 'conflict',
        is_active: true,
        instance_id: null,
      }),
    );
    expect(await a.call(agentId, 'whatsapp-status')).toMatchObject({
      status: 'conflict',
      reason: expect.stringMatching(/^440/),
    });
    expect(await storedValues(agentId)).toBeGreaterThan(800);
    expect((await endpoint.stats()).devices[jid].logins).toBe(logins);

    await b.call(agentId, 'init-whatsapp', {});
    await b.connected(agentId);
    await b.call(agentId, 'disconnect', {});
  });

  test('401: it stops and keeps the credentials until somebody pairs anew', async () => {
    const { agentId, jid } = await connect(a);
    await endpoint.removeDevice(jid);
    await eventually(async () =>
      expect(await rowOf(agentId)).toMatchObject({
        status: 'disconnected',
        is_active: false,
        instance_id: null,
      }),
    );
    expect(await storedValues(agentId)).toBeGreaterThan(800);
    await connect(b, agentId);
    await b.call(agentId, 'disconnect', {});
  });

  test('405: it keeps the credentials and does not ask again soon', async () => {
    const { agentId, jid } = await connect(a);
    await endpoint.fail('failure', { jid, code: 405 });
    const { loginFailures } = await endpoint.stats();
    await endpoint.fail('drop', { jid });
    await a.statusWhere(agentId, ({ reason }) => reason?.startsWith('405'), 'refusal');
    expect(await storedValues(agentId)).toBeGreaterThan(800);
    await sleep(2_500); // longer than the first delays of the ordinary backoff
    expect((await endpoint.stats()).loginFailures).toBe(loginFailures + 1);
    await a.call(agentId, 'disconnect', {});
  });

  test('a lost connection and an HTTP refusal are tried again', async () => {
    const { agentId, jid } = await connect(a);
    const { refused, lastSeq: since } = await endpoint.stats();
    await endpoint.fail('http', { count: 1 });
    await endpoint.fail('drop', { jid });
    const isLogin = ({ type, jid: whose }) => type === 'login' && whose === jid;
    expect(await endpoint.waitFor(isLogin, { since, timeoutMs: 30_000 })).not.toBeNull();
    await a.connected(agentId);
    expect((await endpoint.stats()).refused).toBe(refused + 1);
    await a.call(agentId, 'disconnect', {});
  });

  test('damaged credentials are not written over by a new pairing', async () => {
    const { agentId } = await connect(a);
    await a.call(agentId, 'disconnect', {});
    // Another agent's bytes in place of these: they do not open here.
    const other = await connect(a);
    await a.call(other.agentId, 'disconnect', {});
    await database.query(
      `UPDATE baileys_guard_auth SET value =
         (SELECT value FROM baileys_guard_auth WHERE agent_id = $2 AND kind = 'creds')
       WHERE agent_id = $1 AND kind = 'creds'`,
      [agentId, other.agentId],
    );
    const before = await storedValues(agentId);
    await a.call(agentId, 'init-whatsapp', {});
    await a.statusWhere(agentId, ({ reason }) => /does not open/.test(reason), 'reason');
    expect(await storedValues(agentId)).toBe(before);
    await a.call(agentId, 'disconnect', {});
  });

  test('bad requests are answered, not crashed on', async () => {
    const id = randomUUID();
    expect(await a.call(id, 'send-message', { to: '4917600000001' })).toMatchObject({ http: 400 });
    expect(await a.call(id, 'send-message', { to: '49', message: 'x' })).toMatchObject({
      http: 409,
      error: 'WhatsApp is not connected',
    });
    expect(await a.call('x'.repeat(256), 'init-whatsapp', {})).toMatchObject({
      http: 400,
      code: 'ERR_INVALID_ARGUMENT',
    });
    expect(await a.call(id, 'whatsapp-status')).toMatchObject({
      http: 200,
      status: 'disconnected',
    });
  });

  test('a stopped server closes its sockets, and the other goes on with the sessions', async () => {
    const c = startServer('server-C');
    await c.ready;
    const agents = [await connect(c), await connect(c)];
    const { conflicts, registrations } = await endpoint.stats();
    expect(await c.end('SIGTERM')).toBe(0);
    for (const { agentId } of agents) {
      const owner = await eventually(async () => {
        for (const server of [a, b]) {
          if ((await server.call(agentId, 'whatsapp-status')).status === 'connected') return server;
        }
        throw new Error('nobody took it over');
      });
      await owner.call(agentId, 'disconnect', {});
    }
    expect(await endpoint.stats()).toMatchObject({ conflicts, registrations });
  });

  test('a frozen server loses the agent, and neither writes nor reconnects when it is thawed', async () => {
    // The others are not to fall silent on a busy machine.
    const frozen = startServer('server-frozen', { LEASE_TTL_MS: '5000' });
    await frozen.ready;
    const { agentId, jid } = await connect(frozen);
    // After its pre-keys, and not in the middle of a write.
    await eventually(async () => expect(await storedValues(agentId)).toBeGreaterThan(800));
    await freeze({ kill: (signal) => process.kill(frozen.pid, signal) }, database);
    const owner = await eventually(async () => {
      const { instance_id: instanceId } = await rowOf(agentId);
      expect(['server-A', 'server-B']).toContain(instanceId);
      return instanceId === 'server-A' ? a : b;
    }, 20_000);
    await owner.connected(agentId);
    // WhatsApp sees one replacement, of a socket whose process does not run: it cannot close it.
    expect(
      await endpoint.waitFor(({ type, jid: whose }) => type === 'conflict' && whose === jid),
    ).toMatchObject({
      kickedAnswering: false,
    });
    process.kill(frozen.pid, 'SIGCONT');
    await frozen.statusWhere(
      agentId,
      ({ owner: now }) => now?.instanceId === owner.name,
      'new owner',
    );

    const { logins } = (await endpoint.stats()).devices[jid];
    await sleep(2_000); // longer than its first delays before a reconnect
    expect((await endpoint.stats()).devices[jid]).toMatchObject({
      logins,
      conflicts: 1,
      conflictsAnswering: 0,
      online: true,
    });
    expect(await rowOf(agentId)).toMatchObject({ status: 'connected', instance_id: owner.name });
    await owner.call(agentId, 'disconnect', {});
    expect(await frozen.end('SIGTERM')).toBe(0);
  });
});

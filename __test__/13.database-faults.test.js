'use strict';

// PostgreSQL restarted, stopped, cut off, slow and in other time zones, under a guard that works.

const { defer } = require('./support/cleanup');
const { startChild } = require('./support/child');
const { SILENT, guardsOn, lossOf } = require('./support/databases');
const { createDatabase, startPostgres, withClient } = require('./support/postgres');
const { startProxy } = require('./support/proxy');
const { createGuard } = require('..');

const TTL = 3000; // a beat may take a third of it, and a claim end when the machine stands still for it

/** Runs `action` until it succeeds; the database is coming back meanwhile. */
async function eventually(action, timeoutMs = 10_000) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

describe('a server of its own', () => {
  let server;
  const open = (options) => guardsOn({ url: server.url() }, { leaseTtlMs: TTL })(options);

  beforeAll(async () => {
    server = await startPostgres();
    const guard = createGuard({ databaseUrl: server.url(), logger: SILENT });
    await guard.migrate();
    await guard.shutdown();
  });

  test.each(['fast', 'immediate'])('a %s restart moves no lease', async (mode) => {
    const ttl = 8000; // longer than a restart on a busy machine
    const [owner, other] = [open({ leaseTtlMs: ttl }), open({ leaseTtlMs: ttl })];
    const failures = [];
    owner.startHeartbeat({ onError: (error) => failures.push(error.code) });
    other.startHeartbeat();
    const claim = await owner.claimInstance(`restart-${mode}`);
    await server.restart(mode);
    await eventually(() => claim.update({ status: 'connected' }));
    await new Promise((resolve) => setTimeout(resolve, 1.2 * ttl));
    expect(claim.held).toBe(true);
    expect(await other.getOwner(claim.agentId)).toMatchObject({ fencingToken: claim.fencingToken });
    expect(new Set(failures)).toEqual(new Set(failures.length ? ['ERR_DATABASE_UNAVAILABLE'] : []));
  });

  test('an outage longer than the TTL loses claims with a reason; nobody steals; all goes on', async () => {
    const [owner, other] = [open(), open()];
    owner.startHeartbeat();
    other.startHeartbeat();
    const claim = await owner.claimInstance('outage');
    await server.stop();
    expect(await lossOf(claim)).toMatchObject({ code: 'ERR_CLAIM_LOST', reason: 'expired' });
    await expect(claim.update({ status: 'connected' })).rejects.toMatchObject({
      code: 'ERR_CLAIM_LOST',
    });
    await server.start();
    const again = await eventually(() => owner.claimInstance('outage'));
    expect(again.fencingToken).toBeGreaterThan(claim.fencingToken);
    // The heartbeat recovered by itself: the new claim outlives its time to live.
    await new Promise((resolve) => setTimeout(resolve, 1.2 * TTL));
    expect(again.held).toBe(true);
  });

  test('nobody is buried for a time in which nobody could beat', async () => {
    const [owner, other] = [open({ onStoreLost: 'keep' }), open()];
    owner.startHeartbeat();
    other.startHeartbeat();
    const claim = await owner.claimInstance('unburied');
    const token = claim.fencingToken;
    await server.stop();
    await new Promise((resolve) => setTimeout(resolve, 1.2 * TTL));
    await server.start();
    // The other one reads again, at the latest by now, and has no fresh sign of the owner's life.
    await eventually(() => other.claimInstance('meanwhile'));
    await eventually(() => claim.update({ status: 'connected' }));
    expect(claim.fencingToken).toBe(token); // it is the same incarnation
  });

  test("with onStoreLost: 'keep' an outage ends nothing until somebody else owns the agent", async () => {
    const owner = open({ onStoreLost: 'keep' });
    owner.startHeartbeat();
    const agents = ['kept', 'taken', 'returned'];
    const claims = (await owner.claimInstances(agents)).claims;
    const [kept, taken, returned] = agents.map((id) => claims.find((c) => c.agentId === id));
    await server.stop();
    await new Promise((resolve) => setTimeout(resolve, 1.2 * TTL));
    expect(kept.held && taken.held && returned.held).toBe(true);
    await expect(kept.update({ status: 'connected' })).rejects.toMatchObject({
      code: 'ERR_DATABASE_UNAVAILABLE',
    });
    await server.start();
    // While the owner was away it was buried; somebody took one of them, and had another for a while.
    const before = kept.fencingToken;
    await withClient(server.url(), async (client) => {
      await client.query(
        `WITH other AS (
           INSERT INTO baileys_guard_instance (incarnation, instance_id, hostname, pid, started_at, ttl_ms, beat, beat_at)
           VALUES ('somebody', 'somebody', 'elsewhere', 1, now(), 60000, 1, now()) RETURNING incarnation),
         dead AS (
           UPDATE baileys_guard_instance SET dead_at = now(), death = 'silent'
           WHERE incarnation = (SELECT incarnation FROM baileys_guard_lease WHERE agent_id = 'taken'))
         UPDATE baileys_guard_lease
            SET incarnation = 'somebody', token = token + 1, held = agent_id = 'taken'
         FROM other WHERE agent_id IN ('taken', 'returned')`,
      );
    });
    expect(await lossOf(taken)).toMatchObject({ reason: 'taken' });
    expect(await lossOf(returned)).toMatchObject({ reason: 'taken' });
    await eventually(() => kept.update({ status: 'connected' }));
    expect(kept.held).toBe(true);
    expect(kept.fencingToken).toBeGreaterThan(before);
  });

  test('claims acknowledged before a crash are there after it, and no token is given twice', async () => {
    await withClient(server.url(), (client) =>
      client.query("ALTER SYSTEM SET synchronous_commit = 'off'"),
    );
    await server.restart('fast');
    const guard = open({ leaseTtlMs: 60_000 });
    const { claims } = await guard.claimInstances(
      Array.from({ length: 200 }, (_, n) => `crash-${n}`),
    );
    const tokens = new Map(claims.map((claim) => [claim.agentId, claim.fencingToken]));
    await server.restart('immediate');
    await withClient(server.url(), async (client) => {
      const { rows } = await client.query(
        "SELECT agent_id, token FROM baileys_guard_lease WHERE agent_id LIKE 'crash-%' AND held",
      );
      expect(new Map(rows.map((row) => [row.agent_id, BigInt(row.token)]))).toEqual(tokens);
      await client.query('ALTER SYSTEM RESET synchronous_commit');
    });
    await server.restart('fast');
  });
});

describe('behind a proxy that misbehaves', () => {
  let database;
  let proxy;
  let direct;
  const through = (options) => guardsOn({ url: proxy.url }, { leaseTtlMs: TTL })(options);

  beforeAll(async () => {
    database = await createDatabase({ template: 'migrated' });
    direct = guardsOn(database, { leaseTtlMs: TTL });
  });
  beforeEach(async () => {
    proxy = await startProxy(database.url);
  });
  afterEach(() => proxy.close());

  test('connections cut again and again do not end a claim', async () => {
    const guard = through();
    guard.startHeartbeat();
    const claim = await guard.claimInstance('cut');
    for (let n = 0; n < 8; n++) {
      await new Promise((resolve) => setTimeout(resolve, TTL / 6));
      proxy.cut();
    }
    expect(claim.held).toBe(true);
    await eventually(() => claim.update({ status: 'connected' }));
  });

  test('a claim whose answer is lost is recognised as the one that was granted', async () => {
    const guard = through({ leaseTtlMs: 20_000 });
    guard.startHeartbeat();
    await guard.claimInstance('warm-up');
    let armed = true;
    proxy.onServerBytes((bytes, connection) => {
      // The answer to the claim of this agent: it carries the agent's id back.
      if (armed && bytes.includes('lost-answer')) {
        armed = false;
        connection.cut();
      }
    });
    const claim = await guard.claimInstance('lost-answer');
    expect(armed).toBe(false);
    expect(claim.held).toBe(true);
    await claim.update({ status: 'connected' });
    expect(await direct().getOwner('lost-answer')).toMatchObject({
      instanceId: guard.instanceId,
      fencingToken: claim.fencingToken,
    });
  });

  test('of 300 claims in one statement whose answer is cut off, all are recognised', async () => {
    const guard = through({ leaseTtlMs: 20_000 });
    guard.startHeartbeat();
    await guard.claimInstance('warm-up-300');
    let cuts = 0;
    proxy.onServerBytes((bytes, connection) => {
      if (cuts < 2 && bytes.includes('cut-off-')) {
        cuts++;
        connection.cut();
      }
    });
    const agents = Array.from({ length: 300 }, (_, n) => `cut-off-${n}`);
    const { claims, inUse } = await guard.claimInstances(agents);
    expect([cuts, claims.length, inUse.length]).toEqual([2, 300, 0]);
    const { rows } = await database.query(
      `SELECT agent_id, token FROM baileys_guard_lease l JOIN baileys_guard_instance i USING (incarnation)
        WHERE agent_id LIKE 'cut-off-%' AND held AND instance_id = $1`,
      [guard.instanceId],
    );
    const granted = new Map(claims.map((claim) => [claim.agentId, String(claim.fencingToken)]));
    expect(new Map(rows.map((row) => [row.agent_id, String(row.token)]))).toEqual(granted);
    await Promise.all(claims.map((claim) => claim.update({ status: 'connected' })));
  });

  test('a claim given up in the middle leaves nothing behind', async () => {
    const guard = through();
    guard.startHeartbeat();
    await guard.claimInstance('warm-up-2');
    let cuts = 0;
    proxy.onServerBytes((bytes, connection) => {
      if (bytes.includes('given-up')) {
        cuts++;
        connection.cut();
      }
    });
    await expect(guard.claimInstance('given-up')).rejects.toMatchObject({
      code: 'ERR_DATABASE_UNAVAILABLE',
    });
    expect(cuts).toBeGreaterThan(1);
    proxy.onServerBytes(undefined);
    // Whatever the database granted in vain is found at a beat and given back.
    const claim = await direct().claimInstance('given-up', { waitMs: 10 * TTL });
    expect(claim.held).toBe(true);
  });

  test('an owner cut off for longer than its TTL knows before its successor wins', async () => {
    const guard = through();
    guard.startHeartbeat();
    const claim = await guard.claimInstance('cut-off');
    const successor = direct();
    successor.startHeartbeat();
    await successor.claimInstance('watching-cut-off');
    let told = false;
    claim.signal.addEventListener('abort', () => (told = true));
    proxy.blackhole(true);
    const next = await successor.claimInstance('cut-off', { waitMs: 10 * TTL });
    await new Promise(setImmediate); // what was told before is heard by now, if not in that order
    expect(told).toBe(true);
    proxy.blackhole(false);
    proxy.cut();
    const again = () => guard.claimInstance('cut-off').catch((error) => error);
    const inUse = expect.objectContaining({ code: 'ERR_AGENT_IN_USE' });
    await eventually(async () => expect(await again()).toEqual(inUse));
    expect(next.held).toBe(true);
  });

  test('a claim is trusted from when its last beat was sent, however late the answer came', async () => {
    const DELAY = 300; // each way; together more than the margin, a twentieth of the time to live
    const ttl = 6000; // a third of it is enough for such a beat on a busy machine
    const guard = through({ leaseTtlMs: ttl });
    let heartbeat;
    let sent;
    let answered;
    proxy.onClientBytes((bytes, connection) => {
      if (bytes.includes('UPDATE baileys_guard_instance SET beat')) heartbeat = connection;
      if (connection === heartbeat) sent = performance.now();
    });
    proxy.on('server-bytes', (bytes, connection) => {
      if (connection === heartbeat) answered = sent;
    });
    guard.startHeartbeat();
    const claim = await guard.claimInstance('slow-answers');
    proxy.delay(DELAY);
    // Two beats with the delay, the second of which has just come back.
    for (let beat = 0; beat < 2; beat++) {
      const before = answered;
      await eventually(async () => expect(answered).not.toBe(before));
    }
    await new Promise((resolve) => setTimeout(resolve, DELAY + 50));
    const trusted = answered;
    proxy.blackhole(true);
    await new Promise((resolve) => setTimeout(resolve, trusted + ttl - performance.now()));
    expect(claim.held).toBe(false);
    expect(await lossOf(claim)).toMatchObject({ reason: 'expired' });
  });

  test('a slow database delays but does not end ownership', async () => {
    const ttl = 6000; // a beat may take a third of it; the machine that runs this is busy, too
    const guard = through({ leaseTtlMs: ttl });
    const heartbeat = guard.startHeartbeat();
    const claim = await guard.claimInstance('slow');
    proxy.delay(100); // each way
    const { beats } = heartbeat.stats();
    await new Promise((resolve) => setTimeout(resolve, 1.5 * ttl));
    expect(claim.held).toBe(true);
    // Held by beats that took that long, not by a window that is still open.
    expect(heartbeat.stats().beats).toBeGreaterThan(beats + 2);
    expect(heartbeat.stats().lastRoundTripMs).toBeGreaterThanOrEqual(200);
    proxy.delay(0);
  });
});

describe('load of the application', () => {
  test('a pool that is full of slow queries delays no beat', async () => {
    const database = await createDatabase({ template: 'migrated' });
    const ttl = 6000;
    const guard = guardsOn(database, { leaseTtlMs: ttl, maxConnections: 2 })();
    const heartbeat = guard.startHeartbeat({ intervalMs: 60_000 });
    const claims = (await guard.claimInstances(['busy-1', 'busy-2', 'busy-3'])).claims;
    await withClient(database.url, async (client) => {
      await client.query('BEGIN');
      await client.query('LOCK TABLE whatsapp_sessions IN ACCESS EXCLUSIVE MODE');
      const stuck = claims.map((claim) => claim.update({ status: 'connected' }));
      const before = heartbeat.stats().beats;
      await new Promise((resolve) => setTimeout(resolve, 1.2 * ttl));
      expect(heartbeat.stats().beats).toBeGreaterThan(before + 2);
      expect(heartbeat.stats().failures).toBe(0);
      expect(claims.every(({ held }) => held)).toBe(true);
      await client.query('ROLLBACK');
      await Promise.all(stuck);
    });
  });

  test('one locked session row delays no other claim', async () => {
    const database = await createDatabase({ template: 'migrated' });
    const guard = guardsOn(database)();
    guard.startHeartbeat({ intervalMs: 100 });
    const claim = await guard.claimInstance('locked');
    await withClient(database.url, async (client) => {
      await client.query('BEGIN');
      await client.query("SELECT 1 FROM whatsapp_sessions WHERE agent_id = 'locked' FOR UPDATE");
      const start = performance.now();
      const others = await guard.claimInstances(['free-1', 'locked', 'free-2']);
      await others.claims
        .find(({ agentId }) => agentId === 'free-1')
        .update({ status: 'connected' });
      expect(performance.now() - start).toBeLessThan(10_000); // who waits for the row does so for ever
      await client.query('ROLLBACK');
    });
    expect(claim.held).toBe(true);
  });
});

describe('clocks and time zones', () => {
  test.each(['America/New_York', 'Asia/Karachi'])('a server and a process in %s', async (zone) => {
    const server = await startPostgres({ timezone: zone });
    await withClient(server.url(), (client) =>
      client.query(`
        CREATE TABLE whatsapp_sessions (
          id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid, agent_id varchar(64),
          phone_number varchar(15), is_active boolean DEFAULT false, qr_code text,
          last_connected timestamp, created_at timestamp DEFAULT now(), updated_at timestamp)`),
    );
    const child = await startChild('instance.js', { env: { TZ: zone } });
    const setup = createGuard({ databaseUrl: server.url(), logger: SILENT });
    await setup.migrate();
    await setup.shutdown();
    await child.call('open', { databaseUrl: server.url(), leaseTtlMs: TTL }, { intervalMs: 500 });
    await child.call('claim', 'zoned');
    await child.call('update', 'zoned', {
      status: 'connected',
      lastConnected: '2026-01-02T03:04:05.678Z',
    });
    await withClient(server.url(), async (client) => {
      const { rows } = await client.query(
        `SELECT abs(extract(epoch FROM (clock_timestamp() AT TIME ZONE 'utc') - last_heartbeat)) AS age,
                to_char(last_connected, 'YYYY-MM-DD HH24:MI:SS.MS') AS connected
         FROM whatsapp_sessions`,
      );
      expect(Number(rows[0].age)).toBeLessThan(10);
      expect(rows[0].connected).toBe('2026-01-02 03:04:05.678');
    });
    const other = guardsOn({ url: server.url() }, { leaseTtlMs: TTL })();
    await expect(other.claimInstance('zoned', { waitMs: 1.2 * TTL })).rejects.toMatchObject({
      code: 'ERR_AGENT_IN_USE',
    });
    const [session] = await other.listSessions();
    expect(session.lastConnected).toEqual(new Date('2026-01-02T03:04:05.678Z'));
    expect(session.owner.heartbeatAgeMs).toBeLessThan(60_000); // and by no hour older
    await child.end();
    await server.remove?.();
  });

  test('a wall clock that jumps by an hour, of the process, changes nothing', async () => {
    const database = await createDatabase({ template: 'migrated' });
    const guard = guardsOn(database, { leaseTtlMs: TTL })();
    guard.startHeartbeat();
    const claim = await guard.claimInstance('jumped');
    const realNow = Date.now;
    defer(() => (Date.now = realNow));
    for (const jump of [3_600_000, -3_600_000]) {
      Date.now = () => realNow() + jump;
      await new Promise((resolve) => setTimeout(resolve, 0.7 * TTL));
      expect(claim.held).toBe(true);
    }
    Date.now = realNow;
  });
});

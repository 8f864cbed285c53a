'use strict';

// What a guard shows of itself: counters, Prometheus, prom-client, health, events to alert on.

const { execFile } = require('node:child_process');
const crypto = require('node:crypto');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { promisify } = require('node:util');

const express = require('express');
const { AggregatorRegistry, Gauge, Registry } = require('prom-client');

const { Tallies } = require('../lib/rate-limit/tallies');
const { Uptime } = require('../lib/reconnect/uptime');
const { startChild } = require('./support/child');
const { KINDS, SILENT, freshDatabase, guardsOn, lossOf } = require('./support/databases');
const { createDatabase } = require('./support/postgres');
const { parse, valuesOf } = require('./support/prometheus');
const { startProxy } = require('./support/proxy');
const { QUICK, Recorder, boom, until } = require('./support/reconnect');

const KEY = crypto.randomBytes(32).toString('hex');

/** As much of Baileys as the auth state uses. */
const baileys = {
  initAuthCreds: () => ({ fresh: true }),
  proto: { Message: { AppStateSyncKeyData: { fromObject: (value) => value } } },
};

/** For a database that answers, be it late: by itself `health()` waits for 2 s. */
const PATIENT = { timeoutMs: 30_000 };

/** Resolves with what an event tells; fails after a while. */
async function told(guard, event, { timeoutMs = 30_000 } = {}) {
  const [details] = await once(guard, event, { signal: AbortSignal.timeout(timeoutMs) });
  return details;
}

/** A server that answers with this handler, until the test is over. */
async function serving(handler, use) {
  const server = http.createServer(handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await use(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

describe.each(KINDS)('what is counted on %s', (kind) => {
  let database;
  let guardOf;
  let number = 0;
  const agent = () => `agent-${++number}`;

  beforeAll(async () => {
    database = await freshDatabase(kind);
    guardOf = guardsOn(database, { encryptionKey: KEY });
  });

  test('claims, refusals and releases', async () => {
    const [one, two] = [guardOf(), guardOf()];
    const id = agent();
    const claim = await one.claimInstance(id);
    expect(one.metrics().claims).toMatchObject({ held: 1, granted: 1, released: 0 });
    const conflict = told(two, 'conflict');
    await expect(two.claimInstance(id)).rejects.toMatchObject({ code: 'ERR_AGENT_IN_USE' });
    expect(await conflict).toMatchObject({
      agentId: id,
      kind: 'claimRefused',
      owner: { instanceId: one.instanceId },
    });
    await expect(two.claimInstance(id, { waitMs: 300 })).rejects.toMatchObject({
      code: 'ERR_AGENT_IN_USE',
    });
    const own = agent();
    await two.claimInstances([id, own]);
    // A claim that waits looks many times and is refused once.
    expect(two.metrics()).toMatchObject({
      conflicts: { claimRefused: 3, connectionReplaced: 0 },
      claims: { held: 1, granted: 1 },
    });
    await claim.release();
    expect(one.metrics().claims).toMatchObject({ held: 0, granted: 1, released: 1 });
  });

  test('losses by reason', async () => {
    const leaseTtlMs = 8000; // a beat may take a third of it: none is to fail
    const guard = guardOf({ leaseTtlMs });
    guard.startHeartbeat({ intervalMs: 200 });
    const [gone, refused] = await Promise.all([
      guard.claimInstance(agent()),
      guard.claimInstance(agent()),
    ]);
    const lost = told(guard, 'claimLost');
    await database.query('DELETE FROM baileys_guard_lease WHERE agent_id = $1', [gone.agentId]);
    await lossOf(gone);
    expect(await lost).toMatchObject({ agentId: gone.agentId, error: { reason: 'row-gone' } });
    await database.query('UPDATE baileys_guard_lease SET token = token + 1 WHERE agent_id = $1', [
      refused.agentId,
    ]);
    await refused.update({ status: 'error' }).catch(() => {});
    const { claims, sessionRow, heartbeat } = guard.metrics();
    expect(claims.held).toBe(0);
    expect(claims.lost['row-gone'] + claims.lost.refused).toBe(2);
    expect(claims.lost).toMatchObject({ taken: 0, expired: 0, stalled: 0, buried: 0 });
    expect(sessionRow.writes).toBe(sessionRow.refused);
    expect(heartbeat).toMatchObject({ running: true, failures: 0, consecutiveFailures: 0 });
    expect(heartbeat.beats).toBeGreaterThan(0);
    expect(heartbeat.duration.count).toBe(heartbeat.beats);
    expect(heartbeat.duration.sumMs).toBeGreaterThan(0);
    expect(heartbeat.ageMs).toBeLessThan(leaseTtlMs);
  });

  test('a takeover is told and counted by who took over', async () => {
    const id = agent();
    const quiet = await freshDatabase(kind); // nobody else here who could bury the owner
    const owner = await startChild('instance.js');
    await owner.call('open', { databaseUrl: quiet.url, leaseTtlMs: 60_000 });
    await owner.call('claim', id);
    owner.kill('SIGKILL');
    await owner.exited;
    const guard = guardsOn(quiet)();
    const takeover = told(guard, 'takeover');
    const claim = await guard.claimInstance(id);
    expect((await takeover).claim).toBe(claim);
    expect(guard.metrics()).toMatchObject({ claims: { takeovers: 1 }, instancesBuried: 1 });
    // An agent that was given back is free, not taken over.
    await claim.release();
    await guard.claimInstance(id);
    expect(guard.metrics().claims.takeovers).toBe(1);
  });

  test('auth state, encryption and writes that the fence refuses', async () => {
    const guard = guardOf();
    const claim = await guard.claimInstance(agent());
    const { state, saveCreds } = await guard.useGuardedAuthState(claim, { baileys });
    const before = guard.metrics();
    await saveCreds();
    await state.keys.set({ session: { a: Buffer.from([1]), b: Buffer.from([2]) } });
    await state.keys.get('session', ['a', 'b']);
    const sealed = guard.encryptCredentials({ a: 1 }, { agentId: 'x' });
    guard.decryptCredentials(sealed, { agentId: 'x' });
    expect(() => guard.decryptCredentials(sealed, { agentId: 'y' })).toThrow();
    const after = guard.metrics();
    expect(after.authState.writes - before.authState.writes).toBe(2); // a call, not a key
    expect(after.encryption.sealed - before.encryption.sealed).toBe(4); // a value
    expect(after.encryption.opened).toBeGreaterThan(before.encryption.opened);
    expect(after.encryption.failed - before.encryption.failed).toBe(1);
    await database.query('UPDATE baileys_guard_lease SET token = token + 1 WHERE agent_id = $1', [
      claim.agentId,
    ]);
    await expect(state.keys.set({ session: { a: null } })).rejects.toMatchObject({
      code: 'ERR_CLAIM_LOST',
    });
    expect(guard.metrics()).toMatchObject({
      authState: { writes: after.authState.writes + 1, refused: 1 },
      sessionRow: { refused: 0 },
      claims: { lost: { refused: 1 } },
    });
  });

  test('connects, how long they took and held, 440 and 401', async () => {
    const guard = guardOf();
    guard.startHeartbeat();
    const events = new Recorder();
    const [replaced, out, stays] = [agent(), agent(), agent()];
    const scheduler = guard.createReconnectScheduler({
      ...QUICK,
      onEvent: events.tell,
      connect: (agentId) => scheduler.connected(agentId),
    });
    for (const agentId of [replaced, out, stays]) {
      scheduler.schedule(agentId);
      await events.next('connected');
    }
    await until(() => guard.metrics().sessions.byAgent[stays].connectedMs >= 20);
    const conflict = told(guard, 'conflict');
    scheduler.disconnected(replaced, boom(440, 'conflict'));
    expect(await conflict).toEqual({
      agentId: replaced,
      kind: 'connectionReplaced',
      owner: null,
    });
    const loggedOut = told(guard, 'loggedOut');
    scheduler.disconnected(out, boom(401, 'logged out'));
    expect(await loggedOut).toMatchObject({ agentId: out, code: 401 });
    const began = performance.now();
    const { sessions, reconnects, conflicts } = guard.metrics();
    const tookMs = performance.now() - began;
    expect(conflicts).toEqual({ claimRefused: 0, connectionReplaced: 1 });
    expect(sessions).toMatchObject({ connected: 1, loggedOut: 1 });
    expect(sessions.byAgent[replaced]).toMatchObject({ connected: false, connectedMs: 0 });
    expect(sessions.byAgent[replaced].totalMs).toBeGreaterThanOrEqual(20);
    expect(sessions.byAgent[stays].connectedMs).toBeGreaterThanOrEqual(20);
    const sum = Object.values(sessions.byAgent).reduce((total, { totalMs }) => total + totalMs, 0);
    expect(Math.abs(sum - sessions.connectedMs)).toBeLessThanOrEqual(tookMs + 1);
    expect(reconnects).toMatchObject({
      connects: 3,
      connected: 3,
      disconnects: { 401: 1, 440: 1 },
      connectTime: { count: 3 },
    });
    const series = valuesOf(guard.metricsText());
    expect(series['baileys_guard_disconnects_total{code="440"}']).toBe(1);
    expect(series['baileys_guard_connect_duration_seconds_count']).toBe(3);
    expect(series['baileys_guard_sessions_connected_seconds_total']).toBeGreaterThan(0.04);
    await scheduler.stop();
    expect(guard.metrics().sessions.connected).toBe(0);
    expect(guard.metrics().reconnects).toEqual(reconnects); // counters never fall
    const another = guard.createReconnectScheduler({ ...QUICK, connect() {} });
    await another.stop();
    expect(guard.metrics().reconnects).toEqual(reconnects);
  });

  test('instances that resume the same sessions at once are in no conflict', async () => {
    const crowded = await freshDatabase(kind);
    const crowdOf = guardsOn(crowded);
    const before = crowdOf();
    const { claims } = await before.claimInstances(Array.from({ length: 30 }, agent));
    await Promise.all(claims.map((claim) => claim.update({ isActive: true })));
    await before.shutdown();
    const crowd = Array.from({ length: 4 }, () => crowdOf());
    await Promise.all(
      crowd.map((guard) => {
        guard.startHeartbeat();
        const scheduler = guard.createReconnectScheduler({
          ...QUICK,
          connect: (agentId) => scheduler.connected(agentId),
        });
        return scheduler.resumeAll();
      }),
    );
    const sum = (count) => crowd.reduce((total, guard) => total + count(guard.metrics()), 0);
    await until(() => sum(({ claims: { held } }) => held) === 30);
    expect(sum(({ reconnects }) => reconnects.resumed)).toBe(30);
    expect(sum(({ conflicts }) => conflicts.claimRefused)).toBe(0);
  });

  test('decisions of limiters, by name', async () => {
    const guard = guardOf();
    const memory = guard.createRateLimiter({ limit: 1, name: 'messages' });
    await memory.consume('k');
    await memory.consume('k');
    await memory.acquire('other');
    const shared = guard.createRateLimiter({ limit: 2, store: 'database', name: `db-${kind}` });
    for (let n = 0; n < 5; n++) await shared.consume('k');
    const app = express();
    const validate = false;
    app.use(guard.rateLimit({ limit: 2, windowMs: 60_000, validate }));
    app.use(guard.rateLimit({ limit: 3, algorithm: 'gcra', name: 'gcra "quoted"\\', validate }));
    app.use((request, response) => response.end('ok'));
    await serving(app, async (url) => {
      for (let n = 0; n < 4; n++) await (await fetch(url)).text();
    });
    expect(guard.metrics().rateLimits).toEqual({
      messages: { allowed: 2, refused: 1 },
      [`db-${kind}`]: { allowed: 2, refused: 3 },
      'fixed-window/60000/2/': { allowed: 2, refused: 2 },
      'gcra "quoted"\\': { allowed: 2, refused: 0 },
    });
    const series = valuesOf(guard.metricsText());
    const key = 'baileys_guard_rate_limit_decisions_total{decision="refused",limiter="messages"}';
    expect(series[key]).toBe(1);
  });

  test('the pool', async () => {
    const guard = guardOf({ maxConnections: 2 });
    const max = kind === 'sqlite' ? 3 : 2; // readers and the one writer
    expect(guard.metrics().pool).toEqual({ size: 0, idle: 0, inUse: 0, max });
    await until(async () => {
      const busy = Promise.all(Array.from({ length: 200 }, () => guard.listSessions()));
      let most = 0;
      for (let look = 0; look < 20; look++) {
        await new Promise(setImmediate);
        most = Math.max(most, guard.metrics().pool.inUse);
      }
      await busy;
      return most > 0;
    });
    await until(() => guard.metrics().pool.inUse === 0);
    const { size } = guard.metrics().pool;
    expect(size).toBeGreaterThan(0);
    expect(size).toBeLessThanOrEqual(max);
  });
});

describe('Prometheus', () => {
  let guardOf;

  beforeAll(async () => {
    guardOf = guardsOn(await freshDatabase('sqlite'));
  });

  test('the strict reader refuses what it is there to refuse', () => {
    const head = '# HELP a_total A.\n# TYPE a_total counter\n';
    expect(valuesOf(`${head}a_total{x="1"} 2\n`)).toEqual({ 'a_total{x="1"}': 2 });
    for (const text of [
      `${head}a_total 1`,
      `${head}a_total 1\na_total 1\n`,
      `${head}b 1\n`,
      `${head}a_total{x="1"y="2"} 1\n`,
      `${head}a_total{x="1",} 1\n`,
      `${head}a_total{x="\\t"} 1\n`,
      `${head}a_total -1\n`,
      `${head}a_total 1e\n`,
      `${head}${head}`,
      '# HELP a A.\n# TYPE a counter\n',
      '# HELP a_ms A.\n# TYPE a_ms gauge\n',
      '# HELP a A.\na 1\n',
      '# HELP h H.\n# TYPE h histogram\nh_bucket{le="1"} 1\nh_sum 1\nh_count 1\n',
      '# HELP h H.\n# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 2\n',
    ]) {
      expect(() => parse(text)).toThrow();
    }
  });

  test('the text is valid, and each name is in docs/metrics.md', async () => {
    const guard = guardOf();
    guard.startHeartbeat();
    await guard.claimInstance('text');
    const families = parse(guard.metricsText({ perAgent: true }));
    expect([...families.keys()].every((name) => name.startsWith('baileys_guard_'))).toBe(true);
    const docs = fs.readFileSync(path.join(__dirname, '..', 'docs', 'metrics.md'), 'utf8');
    const rows = [...docs.matchAll(/^\| `(baileys_guard_\w+)` \| (\w+) \|/gm)];
    expect(rows.map(([, name, type]) => [name, type])).toEqual(
      [...families.values()].map(({ name, type }) => [name, type]),
    );
  });

  test('agents are labels only where that is asked for', async () => {
    const guard = guardOf();
    const scheduler = guard.createReconnectScheduler({
      ...QUICK,
      connect: (agentId) => scheduler.connected(agentId),
    });
    scheduler.schedule('named "agent"');
    await until(() => guard.metrics().sessions.connected === 1);
    expect(guard.metricsText()).not.toContain('agent=');
    const series = valuesOf(guard.metricsText({ perAgent: true }));
    const key = 'baileys_guard_agent_connected_seconds{agent="named \\"agent\\""}';
    expect(series[key]).toBeGreaterThanOrEqual(0);
    await scheduler.stop();
  });

  test('a registry of prom-client shows the same, read when it is scraped', async () => {
    const guard = guardOf();
    const registry = new Registry();
    const other = new Gauge({ name: 'of_the_application', help: 'x', registers: [registry] });
    other.set(1);
    guard.registerMetrics(registry);
    guard.registerMetrics(registry); // again: no harm
    expect(valuesOf(await registry.metrics())['baileys_guard_claims_held']).toBe(0);
    await guard.claimInstance('scraped');
    await until(() => guard.metrics().pool.inUse === 0); // given back beside the answer
    const scraping = registry.metrics(); // reads before it returns, as the next line does
    const text = guard.metricsText();
    const scraped = valuesOf(await scraping);
    expect(scraped['of_the_application']).toBe(1);
    delete scraped['of_the_application'];
    expect(scraped['baileys_guard_claims_held']).toBe(1);
    expect(scraped).toEqual(valuesOf(text));
    const json = await registry.getMetricsAsJSON();
    expect(json.find(({ name }) => name === 'baileys_guard_takeovers_total')).toMatchObject({
      type: 'counter',
      values: [{ value: 0 }],
    });
    registry.resetMetrics();
    expect(valuesOf(await registry.metrics())['baileys_guard_claims_held']).toBe(1);
  });

  test('the workers of a cluster add up', async () => {
    const workers = [guardOf(), guardOf()];
    const scraped = [];
    for (const guard of workers) {
      const registry = new Registry();
      guard.registerMetrics(registry);
      await guard.claimInstances(['a', 'b', 'c'].map((name) => `${name}-${scraped.length}`));
      guard.startHeartbeat();
      await until(() => guard.metrics().heartbeat.beats > 0);
      scraped.push(JSON.parse(JSON.stringify(await registry.getMetricsAsJSON())));
    }
    const ageIn = (metrics) =>
      metrics.find(({ name }) => name === 'baileys_guard_heartbeat_age_seconds').values[0].value;
    const series = valuesOf(await AggregatorRegistry.aggregate(scraped).metrics());
    expect(series['baileys_guard_claims_held']).toBe(6);
    expect(series['baileys_guard_heartbeat_age_seconds']).toBe(Math.max(...scraped.map(ageIn)));
    expect(series['baileys_guard_heartbeat_duration_seconds_count']).toBeGreaterThanOrEqual(2);
  });

  test('OpenMetrics spells counters its own way', async () => {
    const registry = new Registry(Registry.OPENMETRICS_CONTENT_TYPE);
    guardOf().registerMetrics(registry);
    for (let scrape = 0; scrape < 2; scrape++) {
      const text = await registry.metrics();
      expect(text).toContain('# TYPE baileys_guard_takeovers counter\n');
      expect(text).toContain('\nbaileys_guard_takeovers_total 0\n');
      expect(text).toContain('baileys_guard_heartbeat_duration_seconds_bucket{le="+Inf"} 0');
      expect(text).not.toContain('_total_total');
    }
  });

  test('several guards in one registry have a label each', async () => {
    const [one, two] = [guardOf(), guardOf()];
    const registry = new Registry();
    one.registerMetrics(registry, { guard: 'one' });
    const clash = { code: 'ERR_ALREADY_CONFIGURED' };
    expect(() => two.registerMetrics(registry, { guard: 'one' })).toThrow(
      expect.objectContaining(clash),
    );
    expect(() => one.registerMetrics(registry, { guard: 'uno' })).toThrow(
      expect.objectContaining(clash),
    );
    two.registerMetrics(registry, { guard: 'two', perAgent: true });
    await two.claimInstance('of-two');
    const series = valuesOf(await registry.metrics());
    expect(series['baileys_guard_claims_held{guard="one"}']).toBe(0);
    expect(series['baileys_guard_claims_held{guard="two"}']).toBe(1);
    const histogram = 'baileys_guard_heartbeat_duration_seconds_bucket{guard="two",le="+Inf"}';
    expect(series[histogram]).toBeDefined();
    // One that was shut down makes way for its successor.
    await one.shutdown();
    const successor = guardOf();
    successor.registerMetrics(registry, { guard: 'one' });
    await successor.claimInstance('of-the-successor');
    const now = valuesOf(await registry.metrics());
    expect(now['baileys_guard_claims_held{guard="one"}']).toBe(1);
    expect(() => one.registerMetrics(new Registry())).toThrow(
      expect.objectContaining({ code: 'ERR_SHUT_DOWN' }),
    );
    // A registry that was cleared is an empty one.
    registry.clear();
    successor.registerMetrics(registry);
    expect(valuesOf(await registry.metrics())['baileys_guard_claims_held']).toBe(1);
  });

  test.each([
    [undefined, undefined, 'registry'],
    [{}, undefined, 'registry'],
    [new Registry(), { guard: '' }, 'guard'],
    [new Registry(), { guard: 7 }, 'guard'],
    [new Registry(), { perAgent: 'yes' }, 'perAgent'],
    [new Registry(), 'x', 'options'],
  ])('wrong arguments are refused by name %#', (registry, options, argument) => {
    const refusal = expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', argument });
    expect(() => guardOf().registerMetrics(registry, options)).toThrow(refusal);
  });
});

describe('health', () => {
  test.each(KINDS)('of a guard from its start to its end on %s', async (kind) => {
    const database = await freshDatabase(kind, { migrated: false });
    const guard = guardsOn(database)();
    expect(await guard.health(PATIENT)).toMatchObject({
      ok: false,
      database: { ok: false, latencyMs: null, error: { code: 'ERR_MIGRATION_REQUIRED' } },
    });
    await guard.migrate();
    expect(await guard.health(PATIENT)).toEqual({
      ok: true,
      shutDown: false,
      database: { ok: true, latencyMs: expect.any(Number) },
      heartbeat: { ok: true, running: false, ageMs: null, consecutiveFailures: 0 },
      claims: { held: 0 },
      sessions: { connected: 0, pending: 0 },
    });
    // Claims that nobody renews run out.
    await guard.claimInstance('renewed');
    expect(await guard.health(PATIENT)).toMatchObject({
      ok: false,
      database: { ok: true },
      heartbeat: { ok: false, running: false },
      claims: { held: 1 },
    });
    guard.startHeartbeat();
    expect(await guard.health(PATIENT)).toMatchObject({
      ok: true,
      heartbeat: { ok: true, running: true },
    });
    await guard.shutdown();
    expect(await guard.health()).toMatchObject({
      ok: false,
      shutDown: true,
      database: { ok: false, error: { code: 'ERR_SHUT_DOWN' } },
      claims: { held: 0 },
    });
    expect(guard.metrics().claims.granted).toBe(1);
    expect(valuesOf(guard.metricsText())['baileys_guard_claims_held']).toBe(0);
    await expect(guard.health({ timeoutMs: 0 })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      argument: 'timeoutMs',
    });
  });

  describe('while the database is away', () => {
    let proxy;
    let guard;
    let password;

    beforeAll(async () => {
      const database = await createDatabase({ template: 'migrated' });
      proxy = await startProxy(database.url);
      password = new URL(proxy.url).password;
      guard = guardsOn({ url: proxy.url }, { leaseTtlMs: 3000 })();
    });
    afterAll(() => proxy.close());

    test('it says so in bounded time, and so do events and the handler', async () => {
      guard.startHeartbeat();
      await guard.claimInstance('away');
      const count = { databaseUnavailable: 0, databaseRecovered: 0 };
      for (const event of Object.keys(count)) guard.on(event, () => count[event]++);
      const failing = told(guard, 'heartbeatFailing');
      const lost = told(guard, 'claimLost');
      proxy.blackhole(true);
      const start = performance.now();
      const health = await guard.health();
      expect(performance.now() - start).toBeLessThan(10_000);
      expect(health).toMatchObject({
        ok: false,
        database: { ok: false, latencyMs: null, error: { code: 'ERR_DATABASE_UNAVAILABLE' } },
      });
      expect(await failing).toMatchObject({ error: { code: 'ERR_DATABASE_UNAVAILABLE' } });
      expect(await lost).toMatchObject({ agentId: 'away', error: { reason: 'expired' } });
      // Before somebody else who has asked already, and waits as long as one does by itself.
      const usual = guardsOn({ url: proxy.url })().health();
      const quick = guard.health({ timeoutMs: 100 });
      expect(await Promise.race([usual.then(() => 'usual'), quick.then(() => 'quick')])).toBe(
        'quick',
      );
      const app = express();
      app.get('/health', guard.healthHandler({ timeoutMs: 200 }));
      await serving(app, async (url) => {
        const response = await fetch(`${url}/health`);
        expect(response.status).toBe(503);
        const body = await response.text();
        expect(JSON.parse(body)).toMatchObject({
          ok: false,
          database: { ok: false, code: 'ERR_DATABASE_UNAVAILABLE' },
        });
        expect(body).not.toContain('127.0.0.1');
        expect(body).not.toContain('message');
        if (password) expect(body).not.toContain(password);
      });
      const { heartbeat, claims } = guard.metrics();
      expect(heartbeat.failures).toBeGreaterThan(0);
      expect(claims.lost.expired).toBe(1);
      expect(await usual).toMatchObject({ ok: false });
      const recovered = told(guard, 'heartbeatRecovered');
      proxy.blackhole(false);
      proxy.cut();
      await recovered;
      expect(await until(async () => (await guard.health()).ok)).toBe(true);
      expect(count).toEqual({ databaseUnavailable: 1, databaseRecovered: 1 });
    });

    test('without a heartbeat health() is who notices', async () => {
      const idle = guardsOn({ url: proxy.url })();
      expect(await idle.health(PATIENT)).toMatchObject({ ok: true });
      const seen = [];
      for (const event of ['databaseUnavailable', 'databaseRecovered']) {
        idle.on(event, () => seen.push(event));
      }
      await proxy.refuse();
      proxy.cut();
      for (let n = 0; n < 2; n++) {
        expect(await idle.health({ timeoutMs: 300 })).toMatchObject({
          ok: false,
          database: { error: { code: 'ERR_DATABASE_UNAVAILABLE' } },
        });
      }
      expect(seen).toEqual(['databaseUnavailable']);
      await proxy.refuse(false);
      expect(await idle.health(PATIENT)).toMatchObject({ ok: true });
      expect(seen).toEqual(['databaseUnavailable', 'databaseRecovered']);
    });
  });

  test('the handler answers without a framework, and is not to be kept', async () => {
    const guard = guardsOn(await freshDatabase('sqlite'))();
    await serving(guard.healthHandler(PATIENT), async (url) => {
      const response = await fetch(url);
      expect(response.status).toBe(200);
      expect(response.headers.get('cache-control')).toBe('no-store');
      expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8');
      expect(await response.json()).toMatchObject({ ok: true, database: { ok: true } });
      const head = await fetch(url, { method: 'HEAD' });
      expect([head.status, await head.text()]).toEqual([200, '']);
    });
  });

  test('many who ask at once share one look', async () => {
    const guard = guardsOn(await freshDatabase('sqlite'), { maxConnections: 1 })();
    const all = await Promise.all(Array.from({ length: 200 }, () => guard.health(PATIENT)));
    expect(new Set(all.map(({ database }) => database.latencyMs)).size).toBe(1);
    expect(all.every(({ ok }) => ok)).toBe(true);
  });
});

test('the module shows its default guard, its own limiters too, and lets the process end', async () => {
  const database = await freshDatabase('sqlite');
  const script = `
    const guard = require('./index.js');
    const { Registry } = require('prom-client');
    (async () => {
      const limiter = guard.createRateLimiter({ limit: 1, name: 'early' });
      await limiter.consume('k');
      guard.configure({ databaseUrl: process.env.URL, logger: { debug() {}, info() {}, warn() {}, error() {} } });
      const seen = [];
      const listener = (event) => seen.push(event.agentId);
      guard.on('conflict', listener).off('conflict', listener);
      guard.once('claimLost', listener);
      const registry = new Registry();
      guard.registerMetrics(registry);
      guard.healthHandler();
      await guard.claimInstance('of-the-module');
      guard.startHeartbeat();
      const { ok } = await guard.health({ timeoutMs: 30_000 });
      const text = await registry.metrics();
      console.log(JSON.stringify({
        ok,
        limits: guard.metrics().rateLimits,
        held: text.includes('baileys_guard_claims_held 1'),
        same: guard.metricsText().includes('baileys_guard_claims_held 1'),
      }));
    })();`;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', script], {
    cwd: path.join(__dirname, '..'),
    env: { ...process.env, URL: database.url },
    timeout: 50_000,
  });
  expect(JSON.parse(stdout)).toEqual({
    ok: true,
    limits: { early: { allowed: 1, refused: 0 } },
    held: true,
    same: true,
  });
});

test('what is kept by name is bounded', () => {
  let now = 0;
  const uptime = new Uptime(() => now);
  for (let n = 0; n < 10_010; n++) {
    uptime.up(`agent-${n}`);
    now += 1;
    if (n > 4) uptime.down(`agent-${n}`); // five stay
  }
  const agents = uptime.byAgent();
  expect(Object.keys(agents)).toHaveLength(10_005);
  expect(agents['agent-5']).toBeUndefined(); // the first that went
  expect(agents['agent-10009']).toEqual({ connected: false, connectedMs: 0, totalMs: 1 });
  expect(agents['agent-0']).toEqual({ connected: true, connectedMs: 10_010, totalMs: 10_010 });
  // What is forgotten is still in the sum.
  expect(uptime.totalMs()).toBe(10_005 + 10_010 + 10_009 + 10_008 + 10_007 + 10_006);
  uptime.up('agent-10009');
  now += 7;
  uptime.up('agent-10009'); // told twice, begun once
  expect(uptime.byAgent()['agent-10009']).toMatchObject({ connectedMs: 7, totalMs: 8 });

  const tallies = new Tallies();
  for (let n = 0; n < 1500; n++) tallies.of({ name: `limiter-${n}` }).allowed += 1;
  expect(Object.keys(tallies.read())).toHaveLength(1001);
  expect(tallies.read().other).toEqual({ allowed: 500, refused: 0 });
});

test('a listener that throws stops nothing', async () => {
  const warnings = [];
  const logger = { ...SILENT, warn: (text) => warnings.push(text) };
  const guardOf = guardsOn(await freshDatabase('sqlite'), { logger });
  const [one, two] = [guardOf(), guardOf()];
  await one.claimInstance('a');
  two.on('conflict', () => {
    throw new Error('of the listener');
  });
  await expect(two.claimInstance('a')).rejects.toMatchObject({ code: 'ERR_AGENT_IN_USE' });
  expect(warnings.some((text) => text.includes('of the listener'))).toBe(true);
});

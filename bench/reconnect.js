'use strict';

// Resuming 1,000 sessions and failing over, on PostgreSQL; the cost of scheduling 10,000 against
// a timer of one's own for each session, which has neither pace nor order.

const { execFileSync } = require('node:child_process');
const { tmpdir } = require('node:os');
const path = require('node:path');

const { createGuard } = require('..');
const { startChild } = require('../__test__/support/child');
const { startPostgres, withClient } = require('../__test__/support/postgres');
const { until } = require('../__test__/support/reconnect');

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
const ROOT = path.join(__dirname, '..');
const SESSIONS = 1000;
const SCHEDULED = 10_000;

/** Sessions that should run and nobody owns. */
async function orphans(url, count) {
  const guard = createGuard({ databaseUrl: url, logger: SILENT });
  await guard.migrate();
  await guard.shutdown();
  await withClient(url, (client) =>
    client.query(
      `INSERT INTO whatsapp_sessions (agent_id, is_active, status)
       SELECT 'agent-' || n, true, 'connected' FROM generate_series(1, $1) AS n
       ON CONFLICT (agent_id) DO UPDATE SET is_active = true`,
      [count],
    ),
  );
}

/** Transactions that the server has committed: outside of one, each statement is its own. */
async function statements(url) {
  const count = `SELECT xact_commit::int AS commits FROM pg_stat_database WHERE datname = current_database()`;
  const { rows } = await withClient(url, (client) => client.query(count));
  return rows[0].commits;
}

function instance(url, options = {}) {
  const guard = createGuard({ databaseUrl: url, logger: SILENT, leaseTtlMs: 10_000 });
  guard.startHeartbeat();
  const begun = [];
  const scheduler = guard.createReconnectScheduler({
    maxConcurrent: 50,
    ...options,
    connect: async (agentId) => {
      begun.push(performance.now());
      scheduler.connected(agentId);
    },
  });
  return { guard, scheduler, begun };
}

function peakPerSecond(begun) {
  let most = 0;
  for (let first = 0, last = 0; last < begun.length; last++) {
    while (begun[last] - begun[first] >= 1000) first += 1;
    most = Math.max(most, last - first + 1);
  }
  return most;
}

async function resume(url, connectsPerSecond) {
  const { guard, scheduler, begun } = instance(url, { connectsPerSecond });
  const before = await statements(url);
  const start = performance.now();
  await scheduler.resumeAll();
  const ms = performance.now() - start;
  const leaving = performance.now();
  await guard.shutdown();
  const shutdownMs = performance.now() - leaving;
  // A connection that ends hands its counts in; the look itself is one, too.
  const count = (await statements(url)) - before;
  return { ms, statements: count, peak: peakPerSecond(begun), shutdownMs };
}

/** From the end of one instance until another has all its sessions. */
async function failover(url, count, end) {
  const other = await startChild('instance.js');
  await other.call('open', { databaseUrl: url, leaseTtlMs: 10_000 }, { intervalMs: 1000 });
  const agents = Array.from({ length: count }, (_, n) => `agent-${n + 1}`);
  const { claims } = await other.call('claimMany', agents);
  if (claims.length !== count) throw new Error(`only ${claims.length} of ${count} were claimed`);
  const here = instance(url, { connectsPerSecond: 1000 });
  await withClient(url, (client) =>
    client.query('UPDATE whatsapp_sessions SET is_active = agent_id = ANY ($1)', [agents]),
  );
  await here.scheduler.resumeAll();
  const start = performance.now();
  await end(other);
  await until(() => here.begun.length === count, { timeoutMs: 60_000 });
  const ms = performance.now() - start;
  await here.guard.shutdown();
  await other.end();
  return ms;
}

const agents = Array.from({ length: SCHEDULED }, (_, n) => `agent-${String(n).padStart(28, '0')}`);

/** Bytes that each of them holds, in a process that has done nothing else. */
function memoryOf(hold) {
  const script = `
    const { createGuard } = require(${JSON.stringify(ROOT)});
    const logger = { debug() {}, info() {}, warn() {}, error() {} };
    const scheduler = createGuard({ databaseUrl: 'sqlite:never-opened.db', logger })
      .createReconnectScheduler({ connect() {} });
    const held = new Map();
    const hold = ${hold};
    const name = (n) => 'agent-' + String(n).padStart(28, '0');
    for (let n = 0; n < 1000; n++) hold(name(-n)); // what the first of them bring into memory
    gc();
    const before = process.memoryUsage().rss;
    for (let n = 1; n <= ${SCHEDULED}; n++) hold(name(n));
    gc();
    console.log((process.memoryUsage().rss - before) / ${SCHEDULED});
    process.exit();`;
  return Number(execFileSync(process.execPath, ['--expose-gc', '-e', script], { cwd: tmpdir() }));
}

/** Adding, then cancelling, what waits for an hour: microseconds each. */
async function ours(url) {
  const { guard, scheduler } = instance(url);
  const start = performance.now();
  for (const agent of agents) scheduler.schedule(agent, { delayMs: 3_600_000 });
  const added = performance.now();
  const listed = performance.now();
  if (scheduler.pending().length !== SCHEDULED) throw new Error('not all are pending');
  const pending = performance.now() - listed;
  const cancelling = performance.now();
  await Promise.all(agents.map((agent) => scheduler.cancel(agent)));
  const cancelled = performance.now() - cancelling;
  await guard.shutdown();
  const each = (ms) => (ms * 1000) / SCHEDULED;
  return { add: each(added - start), cancel: each(cancelled), pending };
}

function peer() {
  const timers = new Map();
  const start = performance.now();
  for (const agent of agents)
    timers.set(
      agent,
      setTimeout(() => {}, 3_600_000),
    );
  const added = performance.now();
  const cancelling = performance.now();
  for (const agent of agents) {
    clearTimeout(timers.get(agent));
    timers.delete(agent);
  }
  const cancelled = performance.now() - cancelling;
  const each = (ms) => (ms * 1000) / SCHEDULED;
  return { add: each(added - start), cancel: each(cancelled) };
}

module.exports.run = async ({ log }) => {
  const server = await startPostgres();
  const url = server.url();
  const rows = [];
  const row = (what, value, unit, note, against) =>
    rows.push({
      what,
      ours: value,
      peer: against,
      ratio: against === undefined ? undefined : against / value,
      unit,
      note,
    });

  await orphans(url, SESSIONS);
  for (const rate of [50, 500]) {
    log(`resuming ${SESSIONS} sessions at ${rate} a second`);
    const result = await resume(url, rate);
    const what = `resume ${SESSIONS} at ${rate}/s`;
    row(what, result.ms / 1000, 's', `the pace alone makes it ${SESSIONS / rate} s`);
    row(`${what}: statements`, result.statements, '', 'claims, looks, beats and the shutdown');
    row(`${what}: peak`, result.peak, 'connects/s', '');
    row(`${what}: shutdown`, result.shutdownMs, 'ms', 'all released at once');
  }
  log('failover');
  const killed = await failover(url, 50, (other) => {
    other.kill('SIGKILL');
    return other.exited;
  });
  row('failover of 50, killed on this machine', killed, 'ms', 'from SIGKILL to the last connect');
  const left = await failover(url, 50, (other) => other.call('shutdown'));
  row('hand-over of 50 at shutdown', left, 'ms', 'from shutdown() to the last connect');

  log(`scheduling ${SCHEDULED}`);
  const [mine, timers] = [await ours(url), peer()];
  const note = 'peer: Map and setTimeout, without pace, claims or order';
  row(`schedule, of ${SCHEDULED}`, mine.add, 'µs', note, timers.add);
  row(`cancel, of ${SCHEDULED}`, mine.cancel, 'µs', 'ours with its promise', timers.cancel);
  const bytes = memoryOf('(agent) => scheduler.schedule(agent, { delayMs: 3_600_000 })');
  const timerBytes = memoryOf('(agent) => held.set(agent, setTimeout(() => {}, 3_600_000))');
  row(`memory of a session, of ${SCHEDULED}`, bytes, 'bytes', 'resident', timerBytes);
  row(`pending() of ${SCHEDULED}`, mine.pending, 'ms', 'as objects');
  await server.remove();
  return rows;
};

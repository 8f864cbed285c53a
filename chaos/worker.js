'use strict';

// A server instance under chaos: real Baileys sockets by way of a scheduler, and a fenced write for
// every claim, again and again. What happens to it goes into its history before it does anything else.

const path = require('node:path');

const OURS = path.join(__dirname, '..', 'lib', path.sep);

// Timers of Baileys and of its ws outlive the socket by up to a minute. Only those of our own are to
// keep a process alive, so that one that does not end shows what we have left behind.
for (const name of ['setTimeout', 'setInterval']) {
  const original = globalThis[name];
  globalThis[name] = (...args) => {
    const timer = original(...args);
    return new Error().stack.includes(OURS) ? timer : timer.unref();
  };
}

const baileys = require('baileys');
const { createGuard } = require('..');
const { trustEndpoint } = require('../examples/whatsapp-endpoint/trust');
const { letGo, serve } = require('../__test__/support/fixture');
const { History } = require('./history');

const WRITE_EVERY_MS = 200;
const KEPT_ALIVE_MS = 10_000;
const TICK_MS = 20;
const LATE_MS = 100;
const SILENT = { level: 'silent', child: () => SILENT };
for (const level of ['trace', 'debug', 'info', 'warn', 'error']) SILENT[level] = () => {};

/** libsignal prints whole sessions. */
console.info = () => {};

let guard;
let scheduler;
let history;
const claims = new Set();

process.on('unhandledRejection', (error) => {
  console.error('unhandled rejection', error);
  process.exit(99);
});

function granted(claim) {
  if (claims.has(claim)) return;
  claims.add(claim);
  const { agentId: agent } = claim;
  const token = String(claim.fencingToken);
  history.add('granted', { agent, token });
  const lost = () => {
    claims.delete(claim);
    history.add('ended', { agent, token, reason: claim.signal.reason.reason });
  };
  if (claim.signal.aborted) lost();
  else claim.signal.addEventListener('abort', lost, { once: true });
}

async function write(claim) {
  const { agentId: agent } = claim;
  const token = String(claim.fencingToken);
  const sent = History.now();
  try {
    await claim.update({ qrCode: `${guard.instanceId}:${token}` });
    history.add('write', { agent, token, sent, accepted: true });
  } catch (error) {
    history.add('write', { agent, token, sent, accepted: false, code: error.code });
  }
}

/** Writes down when this process did not run, or hardly: on a busy machine nobody is told in time. */
function watchLateness() {
  let last = History.now();
  let usage = process.cpuUsage();
  setInterval(() => {
    const from = last;
    last = History.now();
    if (last - from > LATE_MS) {
      const { user, system } = process.cpuUsage(usage);
      history.add('late', { from, ranMs: (user + system) / 1000 });
    }
    usage = process.cpuUsage();
  }, TICK_MS);
}

// It has to end by itself then.
process.once('SIGTERM', async () => {
  await guard.shutdown();
  history.add('shut down');
  letGo();
  const later = () => history.add('kept alive', { by: process.getActiveResourcesInfo() });
  setTimeout(later, KEPT_ALIVE_MS);
});

serve({
  /** @param {object} how databaseUrl, endpoint, line, history, guard, scheduler, heartbeat */
  open(how) {
    history = new History(how.history);
    trustEndpoint(baileys, how.endpoint);
    guard = createGuard({
      databaseUrl: how.databaseUrl,
      logger: { debug() {}, info() {}, warn() {}, error: console.error },
      ...how.guard,
    });
    guard.startHeartbeat(how.heartbeat);
    scheduler = guard.createReconnectScheduler({
      // The first that is called with a claim.
      authState(claim) {
        granted(claim);
        return guard.useGuardedAuthState(claim);
      },
      makeSocket({ auth, agentId, claim }) {
        const phone = auth.creds.me?.id.split(/[:@]/)[0];
        const socket = baileys.makeWASocket({
          auth,
          waWebSocketUrl: phone ? `${how.line}/?jid=${phone}` : how.line,
          logger: SILENT,
          connectTimeoutMs: 5000,
        });
        const token = String(claim.fencingToken);
        socket.ev.on('connection.update', ({ connection }) => {
          if (connection !== 'open' && connection !== 'close') return;
          const jid = auth.creds.me?.id;
          history.add(connection, { agent: agentId, token, jid });
        });
        return socket;
      },
      ...how.scheduler,
    });
    setInterval(() => claims.forEach(write), WRITE_EVERY_MS);
    watchLateness();
    history.add('started', { instanceId: guard.instanceId });
  },
  /** Without waiting for the end of it. */
  resume() {
    scheduler.resumeAll().catch((error) => {
      if (error.code !== 'ERR_SHUT_DOWN') history.add('trouble', { code: error.code });
    });
  },
  /** The event loop stands still; the history knows for how long. */
  stall(ms) {
    setImmediate(() => {
      history.add('stalled');
      const end = performance.now() + ms;
      while (performance.now() < end);
      history.add('runs again');
    });
  },
});

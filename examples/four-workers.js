'use strict';

// Four worker processes on one database share twenty agents. One is killed, and the others have its
// agents.
//
//   DATABASE_URL=postgres://user@host/db node examples/four-workers.js
//
// Without DATABASE_URL it takes an SQLite file, which four processes of one machine can share, too.

const cluster = require('node:cluster');
const { EventEmitter, once } = require('node:events');
const guard = require('baileys-guard');

const WORKERS = 4;
const AGENTS = Array.from({ length: 20 }, (_, n) => `worker-agent-${n + 1}`);
const SHARE = AGENTS.length / WORKERS;

guard.configure({ logger: { debug() {}, info() {}, warn: console.warn, error: console.error } });

async function primary() {
  await guard.migrate();
  const workers = Array.from({ length: WORKERS }, () => cluster.fork());
  const owned = new Map(); // worker → how many agents it has
  const changes = new EventEmitter();
  for (const worker of workers) {
    worker.on('message', (agents) => changes.emit('change', owned.set(worker.id, agents)));
    worker.once('disconnect', () => owned.delete(worker.id));
  }
  /** Waits until so many workers have all agents between them. */
  async function shared(count) {
    const total = () => [...owned.values()].reduce((sum, agents) => sum + agents, 0);
    while (owned.size !== count || total() !== AGENTS.length) await once(changes, 'change');
    const shares = [...owned].sort().map(([id, agents]) => `worker ${id}: ${agents}`);
    console.log(shares.join(', '));
  }

  await shared(WORKERS);
  const [victim, ...rest] = workers;
  victim.process.kill('SIGKILL');
  await once(victim, 'disconnect');
  await shared(WORKERS - 1);

  for (const worker of rest) worker.send('stop');
  await Promise.all(rest.map((worker) => once(worker, 'exit')));
  await guard.shutdown();
}

async function worker() {
  guard.startHeartbeat();
  let agents = 0;
  async function take(wanted) {
    agents += (await guard.claimInstances(wanted)).claims.length;
    process.send(agents);
  }
  const stopWatching = guard.watchOwnership(({ agentIds }) => take(agentIds));
  await stopWatching.ready;
  // Each begins with a share of its own. createReconnectScheduler().resumeAll() shares by itself.
  const first = (cluster.worker.id - 1) * SHARE;
  await take(AGENTS.slice(first, first + SHARE));
  process.once('message', async () => {
    stopWatching();
    await guard.shutdown();
    process.disconnect();
  });
}

if (cluster.isPrimary) primary();
else worker();

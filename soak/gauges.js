'use strict';

// What may not grow: memory, threads, open files, what keeps Node busy, connections, tables.

const fs = require('node:fs');
const { setTimeout: pause } = require('node:timers/promises');

const MIB = 1024 * 1024;

function status() {
  if (!fs.existsSync('/proc/self/status')) return {};
  const text = fs.readFileSync('/proc/self/status', 'utf8');
  return { threads: Number(/^Threads:\s+(\d+)/m.exec(text)[1]) };
}

const files = () =>
  fs.existsSync('/proc/self/fd') ? { files: fs.readdirSync('/proc/self/fd').length } : {};

/** Collects garbage until a round finds none: finalizers of native objects run between rounds. */
async function settled() {
  let before = Infinity;
  for (let round = 0; round < 10; round++) {
    global.gc();
    await pause(50);
    const { rss } = process.memoryUsage();
    if (rss > before - MIB / 4) break;
    before = rss;
  }
}

/**
 * @param {(sql: string) => Promise<{ rows: object[] }>} [query] of the database at work
 * @param {string} [kind] `postgres` or `sqlite`
 */
async function gauge(query, kind) {
  await settled();
  const { rss, heapUsed, external } = process.memoryUsage();
  const seen = {
    rssMiB: rss / MIB,
    heapMiB: (heapUsed + external) / MIB,
    resources: process.getActiveResourcesInfo().length,
    ...status(),
    ...files(),
  };
  if (kind === 'postgres') {
    const { rows } = await query(
      `SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
              pg_database_size(current_database()) / 1048576.0 AS database`,
    );
    seen.connections = Number(rows[0].connections);
    seen.databaseMiB = Number(rows[0].database);
  }
  return seen;
}

/** How much each may grow between two looks at the same work; what is not named may not at all. */
const SLACK = { rssMiB: 12, heapMiB: 3, databaseMiB: 16, threads: 2, files: 4, connections: 4 };

/** Names of what has grown by more than its slack. */
const grown = (before, after) =>
  Object.keys(after).filter((name) => after[name] - before[name] > (SLACK[name] ?? 0));

module.exports = { gauge, grown };

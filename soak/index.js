'use strict';

// npm run soak [-- --minutes 6] [--only TEXT]
//
// Every kind of operation again and again, in one process with a heartbeat running, on SQLite and on
// PostgreSQL. After a third of a kind's time is looked at what it holds, and at its end again: what
// has grown in between would grow for ever. Ends with exit code 1 when something has.

const crypto = require('node:crypto');
const { parseArgs } = require('node:util');
const { Client } = require('pg');

const { createGuard } = require('..');
const { cleanUp } = require('../__test__/support/cleanup');
const { freshDatabase } = require('../__test__/support/databases');
const { startPostgres } = require('../__test__/support/postgres');
const { gauge, grown } = require('./gauges');
const { local, stored } = require('./works');

const SILENT = { debug() {}, info() {}, warn() {}, error: console.error };

async function postgres() {
  const server = await startPostgres();
  const client = new Client({ connectionString: server.url() });
  client.on('error', () => {}); // the server ends first when a soak fails
  await client.connect();
  return { kind: 'postgres', url: server.url(), query: (sql) => client.query(sql), client };
}

async function sqlite() {
  const database = await freshDatabase('sqlite');
  return { kind: 'sqlite', url: database.url };
}

async function soak(name, make, { guard, database, key, ms }) {
  const work = await make({ guard, url: database.url, key });
  const { query, kind } = database;
  const end = performance.now() + ms;
  let operations = 0;
  let before;
  const look = performance.now() + ms / 3;
  while (performance.now() < end || !before) {
    operations += await work();
    if (!before && performance.now() > look) before = await gauge(query, kind);
    else await new Promise(setImmediate);
  }
  const after = await gauge(query, kind);
  return { name, kind, operations, before, after, grown: grown(before, after) };
}

function line({ name, kind, operations, before, after, grown: more }) {
  const change = (gaugeName) =>
    before[gaugeName] === undefined
      ? ''
      : `${Math.round(before[gaugeName] * 10) / 10} → ${Math.round(after[gaugeName] * 10) / 10}`;
  const cells = [
    name.padEnd(32),
    kind.padEnd(8),
    operations.toLocaleString('en-US').padStart(11),
    change('rssMiB').padStart(15),
    change('heapMiB').padStart(13),
    change('resources').padStart(8),
    change('threads').padStart(8),
    change('files').padStart(8),
    change('connections').padStart(7),
    change('databaseMiB').padStart(13),
    more.length ? `GROWN: ${more.join(', ')}` : 'flat',
  ];
  return cells.join('  ');
}

async function main() {
  const { values } = parseArgs({
    options: { minutes: { type: 'string', default: '6' }, only: { type: 'string', default: '' } },
  });
  const wanted = (name) => name.includes(values.only);
  const plan = [
    ...Object.entries(local).map(([name, make]) => ({ name, make, kind: 'sqlite' })),
    ...['sqlite', 'postgres'].flatMap((kind) =>
      Object.entries(stored).map(([name, make]) => ({ name, make, kind })),
    ),
  ].filter(({ name }) => wanted(name));
  const ms = (Number(values.minutes) * 60_000) / plan.length;
  if (!(ms > 0)) throw new Error('--minutes has to be a number above 0, --only part of a name');

  const key = crypto.randomBytes(32).toString('hex');
  const databases = { sqlite: await sqlite(), postgres: await postgres() };
  const guards = {};
  for (const [kind, database] of Object.entries(databases)) {
    guards[kind] = createGuard({ databaseUrl: database.url, encryptionKey: key, logger: SILENT });
    await guards[kind].migrate();
    guards[kind].startHeartbeat({ intervalMs: 1000 });
  }
  console.log('operations; then at a third and at the end: RSS, heap (MiB), resources, threads,');
  console.log('files, connections, database (MiB)\n');
  const results = [];
  for (const { name, make, kind } of plan) {
    const tools = { guard: guards[kind], database: databases[kind], key, ms };
    results.push(await soak(name, make, tools));
    console.log(line(results.at(-1)));
  }
  await Promise.all(Object.values(guards).map((guard) => guard.shutdown()));
  await databases.postgres.client.end();
  const total = results.reduce((sum, { operations }) => sum + operations, 0);
  const failed = results.filter((result) => result.grown.length > 0);
  console.log(`\n${total.toLocaleString('en-US')} operations; ${failed.length} of them grow`);
  console.log(JSON.stringify({ operations: total, results }));
  if (failed.length > 0) process.exitCode = 1;
}

main()
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  })
  .finally(() => cleanUp());

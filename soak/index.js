'use strict';

// npm run soak [-- --minutes 6] [--only TEXT]
// npm run soak -- --calls 100000 [--only TEXT] [--on sqlite|postgres|module]
//
// Every kind of operation again and again, in one process with a heartbeat running, on SQLite and on
// PostgreSQL: by time, the kinds of `works.js`, or by number, each public function by itself
// (`calls/`). After a third of it is looked at what the process holds, and at the end again: what has
// grown in between, and does so in two more rounds, would grow for ever: exit code 1.

const crypto = require('node:crypto');
const { parseArgs } = require('node:util');
const { Client } = require('pg');

const library = require('..');
const { cleanUp } = require('../__test__/support/cleanup');
const { freshDatabase, temporaryFolder } = require('../__test__/support/databases');
const { startPostgres } = require('../__test__/support/postgres');
const calls = require('./calls');
const { gauge } = require('./gauges');
const { byCalls, byTime, soak } = require('./run');
const works = require('./works');

const SILENT = { debug() {}, info() {}, warn() {}, error: console.error };
const KINDS = ['sqlite', 'postgres'];

async function postgres() {
  // A work lasts seconds here: rows that are deleted have to be vacuumed away as often.
  const server = await startPostgres({ settings: { autovacuum_naptime: '1s' } });
  const client = new Client({ connectionString: server.url() });
  client.on('error', () => {}); // the server ends first when a soak fails
  await client.connect();
  return {
    kind: 'postgres',
    url: server.url(),
    query: (sql) => client.query(sql),
    async fresh() {
      await client.query('DROP DATABASE IF EXISTS fresh');
      await client.query('CREATE DATABASE fresh');
      return server.url('fresh');
    },
    client,
  };
}

async function sqlite() {
  const { url } = await freshDatabase('sqlite');
  const fresh = async () => (await freshDatabase('sqlite', { migrated: false })).url;
  return { kind: 'sqlite', url, fresh };
}

/** Some of each kind, for as long as there is time. */
function planByTime(minutes, wanted) {
  const plan = [
    ...Object.entries(works.local).map(([name, make]) => ({ name, make, on: 'sqlite' })),
    ...KINDS.flatMap((on) =>
      Object.entries(works.stored).map(([name, make]) => ({ name, make, on })),
    ),
  ].filter(wanted);
  const ms = (Number(minutes) * 60_000) / plan.length;
  return plan.map((one) => ({ ...one, begin: () => byTime(ms) }));
}

/** Each function so often, or a part of that; on both databases where it meets one. */
function planByCalls(number, wanted) {
  const entries = [
    ...Object.entries({ ...calls.onGuards, ...calls.others }).flatMap(([name, make]) =>
      (make.part ? KINDS : ['sqlite']).map((on) => ({ name, make, on })),
    ),
    ...Object.entries(calls.onModule).map(([name, make]) => ({ name, make, on: 'module' })),
  ];
  return entries.filter(wanted).map((one) => {
    const { part = 1, why } = one.make;
    const note = part === 1 ? '' : `1/${part} of the calls: ${why}`;
    return { ...one, note, begin: () => byCalls(number / part) };
  });
}

function line({ name, kind, operations, before, after, grown, note }) {
  const change = (gaugeName) =>
    before[gaugeName] === undefined
      ? ''
      : `${Math.round(before[gaugeName] * 10) / 10} → ${Math.round(after[gaugeName] * 10) / 10}`;
  const cells = [
    name.padEnd(40),
    kind.padEnd(8),
    operations.toLocaleString('en-US').padStart(11),
    change('rssMiB').padStart(15),
    change('heapMiB').padStart(13),
    change('resources').padStart(8),
    change('threads').padStart(8),
    change('files').padStart(8),
    change('connections').padStart(7),
    change('databaseMiB').padStart(13),
    grown.length ? `GROWN: ${grown.join(', ')}` : 'flat',
    ...(note ? [note] : []),
  ];
  return cells.join('  ');
}

/** A guard, and a rival that has what it may not have. */
async function start(database, key, make) {
  const options = { databaseUrl: database.url, encryptionKey: key, logger: SILENT };
  const guard = make(options);
  await guard.migrate();
  guard.startHeartbeat({ intervalMs: 1000 });
  const rival = library.createGuard(options);
  rival.startHeartbeat({ intervalMs: 1000 });
  return { ...database, key, guard, rival, library, folder: temporaryFolder() };
}

/** The default guard, which is the module. */
function configured(options) {
  library.configure(options);
  return library;
}

async function main() {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '6' },
      calls: { type: 'string' },
      only: { type: 'string', default: '' },
      on: { type: 'string' },
    },
  });
  const wanted = ({ name, on }) => name.includes(values.only) && on === (values.on ?? on);
  const plan =
    values.calls === undefined
      ? planByTime(values.minutes, wanted)
      : planByCalls(Number(values.calls), wanted);
  if (plan.length === 0 || !(Number(values.calls ?? values.minutes) > 0)) {
    throw new Error(
      '--minutes and --calls have to be numbers above 0, --only part of a name, --on a place',
    );
  }

  const key = crypto.randomBytes(32).toString('hex');
  const places = {
    sqlite: async () => start(await sqlite(), key, library.createGuard),
    postgres: async () => start(await postgres(), key, library.createGuard),
    module: async () => start(await sqlite(), key, configured),
  };
  const tools = {};
  for (const on of new Set(plan.map((one) => one.on))) tools[on] = await places[on]();
  console.log('operations; then at a third and at the end: RSS, heap (MiB), resources, threads,');
  console.log('files, connections, database (MiB)\n');
  const results = [];
  for (const { name, make, on, note, begin } of plan) {
    const { kind, query } = tools[on];
    const work = await make(tools[on]);
    const result = await soak(work, begin, () => gauge(query, kind));
    await work.end?.();
    results.push({ name, kind, note, ...result });
    console.log(line(results.at(-1)));
  }
  const guards = Object.values(tools).flatMap(({ guard, rival }) => [guard, rival]);
  await Promise.all(guards.map((guard) => guard.shutdown()));
  await tools.postgres?.client.end();
  const total = results.reduce((sum, { operations }) => sum + operations, 0);
  const failed = results.filter(({ grown }) => grown.length > 0);
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

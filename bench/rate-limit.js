'use strict';

// Rate limits against express-rate-limit 8.7.4 and rate-limiter-flexible: the middleware, its
// memory and pauses, a bare app, and stores on PostgreSQL. Every subject has a process of its own;
// calls are counted a second of processor time.

const { execFile, fork } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const { promisify } = require('node:util');

const autocannon = require('autocannon');

const { databaseRows } = require('./rate-limit/database');

const WORKER = path.join(__dirname, 'rate-limit', 'worker.js');
const PEERS = ['express-rate-limit', 'rate-limiter-flexible'];
const MILLION = 1_000_000;
const APP_ROUNDS = 7;

async function measure(what, subject, ...args) {
  const run = promisify(execFile);
  const node = ['--expose-gc', WORKER, what, subject, ...args.map(String)];
  const { stdout } = await run(process.execPath, node);
  return JSON.parse(stdout);
}

async function middlewareRows({ log }) {
  const rows = [];
  for (const [response, label] of [
    ['stub', 'middleware alone'],
    ['node', 'with a real ServerResponse'],
  ]) {
    for (const keys of [1, 100_000]) {
      log(`middleware, ${label}, ${keys} keys`);
      const { perSecond: ours } = await measure(`middleware:${response}`, 'ours', keys);
      for (const peer of [...PEERS, 'the least work']) {
        const { perSecond } = await measure(`middleware:${response}`, peer, keys);
        rows.push({
          what: `${label}, ${keys.toLocaleString('en-US')} ${keys === 1 ? 'key' : 'keys'}`,
          ours,
          peer: perSecond,
          ratio: ours / perSecond,
          unit: 'calls/s',
          note: peer,
        });
      }
    }
  }
  return rows;
}

async function memoryRows({ log }) {
  log('memory and pauses with a million keys');
  const ours = await measure('memory', 'ours', MILLION);
  const rows = [];
  for (const peer of PEERS) {
    const theirs = await measure('memory', peer, MILLION);
    for (const [what, unit, name] of [
      ['a key at a million keys', 'bytes', 'bytes'],
      ['longest turn of ten hits while they come', 'ms', 'pauseMs'],
      ['a full garbage collection afterwards', 'ms', 'fullCollectionMs'],
    ]) {
      const ratio = theirs[name] / ours[name];
      rows.push({ what, ours: ours[name], peer: theirs[name], ratio, unit, note: peer });
    }
  }
  return rows;
}

/** Servers take turns, so that what else the machine does meets each of them; the median counts. */
async function appRows({ log }) {
  log('a bare Express 5 app, without and with limiters');
  const subjects = ['none', 'ours', ...PEERS];
  const servers = await Promise.all(
    subjects.map(async (subject) => {
      const server = fork(WORKER, ['serve', subject]);
      const [port] = await once(server, 'message');
      return { subject, server, url: `http://127.0.0.1:${port}/`, rates: [] };
    }),
  );
  const cpuSeconds = async (server) => {
    server.send('cpu');
    const [{ user, system }] = await once(server, 'message');
    return (user + system) / 1e6;
  };
  for (let round = 0; round <= APP_ROUNDS; round++) {
    for (const { server, url, rates } of servers) {
      const before = await cpuSeconds(server);
      const { requests } = await autocannon({ url, connections: 32, duration: 2 });
      const rate = requests.total / ((await cpuSeconds(server)) - before);
      if (round > 0) rates.push(rate); // the first is for the compiler
    }
  }
  for (const { server } of servers) server.kill();
  const median = Object.fromEntries(
    servers.map(({ subject, rates }) => [
      subject,
      rates.sort((a, b) => a - b)[Math.floor(rates.length / 2)],
    ]),
  );
  return ['none', ...PEERS].map((peer) => ({
    what: 'Express 5 app',
    ours: median.ours,
    peer: median[peer],
    ratio: median.ours / median[peer],
    unit: 'requests/s',
    note: peer === 'none' ? 'no limiter' : peer,
  }));
}

exports.run = async (ctx) => [
  ...(await middlewareRows(ctx)),
  ...(await memoryRows(ctx)),
  ...(await appRows(ctx)),
  ...(await databaseRows(ctx)),
];

if (require.main === module) {
  const { cleanUp } = require('../__test__/support/cleanup');
  exports
    .run({ log: (text) => console.error(`  ${text}`) })
    .then((rows) => console.table(rows))
    .finally(cleanUp);
}

'use strict';

// Rate limits against express-rate-limit 8.7.4 and rate-limiter-flexible: the middleware, its
// memory and pauses, a bare app, and stores on PostgreSQL. Every subject has a process of its own;
// calls are counted a second of processor time.

const { execFile, fork } = require('node:child_process');
const path = require('node:path');
const { promisify } = require('node:util');

const autocannon = require('autocannon');

const { databaseRows } = require('./rate-limit/database');

const WORKER = path.join(__dirname, 'rate-limit', 'worker.js');
const PEERS = ['express-rate-limit', 'rate-limiter-flexible'];
const MILLION = 1_000_000;

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
      for (const peer of PEERS) {
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
      ['longest single hit while a million keys come', 'ms', 'longestHit'],
      ['longest event-loop delay meanwhile', 'ms', 'pauseMs'],
      ['a full garbage collection afterwards', 'ms', 'fullCollectionMs'],
    ]) {
      const ratio = theirs[name] / ours[name];
      rows.push({ what, ours: ours[name], peer: theirs[name], ratio, unit, note: peer });
    }
  }
  return rows;
}

async function appRows({ log }) {
  const requests = async (subject) => {
    log(`a bare Express 5 app with ${subject}`);
    const server = fork(WORKER, ['serve', subject]);
    const port = await new Promise((resolve) => server.once('message', resolve));
    const load = { url: `http://127.0.0.1:${port}/`, connections: 32, duration: 4 };
    await autocannon({ ...load, duration: 1 });
    const { requests: counted } = await autocannon(load);
    server.kill();
    return counted.average;
  };
  const none = await requests('none');
  const ours = await requests('ours');
  const rows = [
    {
      what: 'Express 5 app',
      ours,
      peer: none,
      ratio: ours / none,
      unit: 'requests/s',
      note: 'no limiter',
    },
  ];
  for (const peer of PEERS) {
    const theirs = await requests(peer);
    rows.push({
      what: 'Express 5 app',
      ours,
      peer: theirs,
      ratio: ours / theirs,
      unit: 'requests/s',
      note: peer,
    });
  }
  return rows;
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

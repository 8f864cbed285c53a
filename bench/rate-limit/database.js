'use strict';

// Hits a second on PostgreSQL, 32 in flight, spread over 10,000 keys or on one, with no refusals
// and with nothing but refusals.

const { Pool } = require('pg');

const { createGuard } = require('../..');
const { startPostgres } = require('../../__test__/support/postgres');

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
const IN_FLIGHT = 32;
const CONNECTIONS = 8;
const MANY = 1e9;
const WINDOW_MS = 600_000;

/** Hits a second of `hit(i)`, so many at a time. */
async function rate(hit, seconds = 3) {
  let count = 0;
  const until = performance.now() + seconds * 1000;
  const worker = async () => {
    while (performance.now() < until) {
      await hit((count += 1));
      // Answers that need no database would otherwise never let a timer run.
      if (count % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  return count / seconds;
}

const key = { spread: (i) => `key ${(i * 7919) % 10_000}`, hot: () => 'hot' };

/** Makers of `(limit) => (key) => Promise`, and what ends them. */
async function subjects(url) {
  const pool = new Pool({ connectionString: url, max: CONNECTIONS });
  pool.on('error', () => {}); // the server is stopped in the end
  const guard = createGuard({ databaseUrl: url, maxConnections: CONNECTIONS, logger: SILENT });
  await guard.migrate();
  const { RateLimiterPostgres } = require('rate-limiter-flexible');
  const flexible = (limit) =>
    new Promise((resolve, reject) => {
      const options = { storeClient: pool, points: limit, duration: WINDOW_MS / 1000 };
      const limiter = new RateLimiterPostgres({ ...options, keyPrefix: `f${limit}` }, (error) =>
        error ? reject(error) : resolve((name) => limiter.consume(name).catch(() => {})),
      );
    });
  const { PostgresStore } = require('@acpr/rate-limit-postgresql');
  const listed = async (limit) => {
    const complain = console.error;
    console.error = () => {}; // it makes its tables in the background and complains until then
    const store = new PostgresStore({ connectionString: url, max: CONNECTIONS }, `l${limit}`);
    store.init({ windowMs: WINDOW_MS });
    store.pool.on('error', () => {});
    while (!(await store.increment('x').catch(() => false)));
    console.error = complain;
    stores.push(store);
    return (name) => store.increment(name);
  };
  const stores = [];
  const ours = (algorithm) => async (limit) => {
    const options = { store: 'database', algorithm, limit, windowMs: WINDOW_MS, logger: SILENT };
    const limiter = guard.createRateLimiter({ ...options, name: `${algorithm} ${limit}` });
    return (name) => limiter.consume(name);
  };
  return {
    select: () => pool.query({ name: 'one', text: 'SELECT 1' }),
    ours: ours('fixed-window'),
    sliding: ours('sliding-window'),
    gcra: ours('gcra'),
    peers: { 'rate-limiter-flexible': flexible, '@acpr/rate-limit-postgresql': listed },
    async end() {
      await Promise.all(stores.map((store) => store.pool.end()));
      await guard.shutdown();
      await pool.end();
    },
  };
}

async function databaseRows({ log }) {
  // As a server is set up: it writes its log to the disk.
  const server = await startPostgres({ settings: { fsync: 'on' } });
  const { select, ours, sliding, gcra, peers, end } = await subjects(server.url());
  const rows = [];
  const add = (what, mine, theirs, note) =>
    rows.push({ what, ours: mine, peer: theirs, ratio: mine / theirs, unit: 'hits/s', note });

  log('PostgreSQL: SELECT 1');
  const plain = await rate(select);
  for (const [spread, of] of Object.entries(key)) {
    const where = spread === 'hot' ? 'one key' : '10,000 keys';
    log(`PostgreSQL: ${where}`);
    const hit = await ours(MANY + (spread === 'hot'));
    const mine = await rate((i) => hit(of(i)));
    add(`PostgreSQL, ${where}`, mine, plain, 'SELECT 1 through node-postgres');
    for (const [name, make] of Object.entries(peers)) {
      const theirs = await make(MANY + (spread === 'hot'));
      add(`PostgreSQL, ${where}`, mine, await rate((i) => theirs(of(i))), name);
    }
  }
  log('PostgreSQL: one key that is refused');
  const refused = await ours(10);
  const mine = await rate(() => refused('hot'));
  for (const [name, make] of Object.entries(peers)) {
    const theirs = await make(10);
    add('PostgreSQL, one key over its limit', mine, await rate(() => theirs('hot')), name);
  }
  for (const [name, make, limit] of [
    ['sliding-window', sliding, 30],
    ['gcra', gcra, MANY],
  ]) {
    log(`PostgreSQL: ${name}`);
    const hit = await make(limit);
    add(
      `PostgreSQL, 10,000 keys, ${name}`,
      await rate((i) => hit(key.spread(i))),
      plain,
      'SELECT 1',
    );
  }
  await end();
  await server.stop();
  return rows;
}

module.exports = { databaseRows };

'use strict';

// Published express-rate-limit stores, unchanged, on their own servers. The test of Redis runs
// where a redis-server is installed.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const net = require('node:net');

const { PostgresStore } = require('@acpr/rate-limit-postgresql');
const { RedisStore } = require('rate-limit-redis');

const { rateLimit } = require('..');
const reference = require('express-rate-limit');
const { defer } = require('./support/cleanup');
const { freshDatabase } = require('./support/databases');
const { onPath } = require('./support/debian-package');
const { FakeResponse, fakeRequest } = require('./rate-limit/fakes');

async function hit(limiter, ip = '1.2.3.4') {
  const request = fakeRequest({ ip });
  const response = new FakeResponse(() => {});
  const next = jest.fn();
  await limiter(request, response, next);
  expect(next.mock.calls[0]?.[0]).toBeUndefined();
  return { passed: next.mock.calls.length === 1, info: request.rateLimit };
}

/** What a store makes of the same requests here and in express-rate-limit. */
async function behavesAsThere(makeStore) {
  const seen = {};
  for (const [name, library] of Object.entries({
    reference: reference.rateLimit,
    ours: rateLimit,
  })) {
    const errors = [];
    const logger = { error: (error) => errors.push(error), warn: (error) => errors.push(error) };
    const options = { limit: 3, windowMs: 60_000, logger, store: makeStore(name) };
    const [one, two] = [options, { ...options, store: makeStore(name) }].map((o) => library(o));
    const hits = [];
    for (let i = 0; i < 5; i += 1) hits.push(await hit(i % 2 ? one : two));
    await one.resetKey('1.2.3.4');
    hits.push(await hit(two));
    expect(errors).toEqual([]);
    seen[name] = hits.map(({ passed, info: { used, remaining, resetTime } }) => {
      expect(Math.abs(resetTime.getTime() - Date.now() - 60_000)).toBeLessThan(10_000);
      return { passed, used, remaining };
    });
  }
  expect(seen.ours).toEqual(seen.reference);
  expect(seen.ours.map(({ passed }) => passed)).toEqual([true, true, true, false, false, true]);
}

test('@acpr/rate-limit-postgresql', async () => {
  const database = await freshDatabase('postgres', { migrated: false });
  const stores = [];
  const makeStore = (name) => {
    const store = new PostgresStore({ connectionString: database.url }, `for ${name}`);
    stores.push(store);
    return store;
  };
  // It makes its tables in the background, and complains aloud until they are there.
  const complaint = jest.spyOn(console, 'error').mockImplementation(() => {});
  const first = makeStore('the tables');
  first.init({ windowMs: 60_000 });
  for (let there = false; !there;) there = await first.increment('x').catch(() => false);
  complaint.mockRestore();
  await behavesAsThere(makeStore);
  // Each store migrates on a connection of its own, too.
  const others = `SELECT count(*)::int AS others FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()`;
  await Promise.all(stores.map((store) => store.pool.end()));
  while ((await database.query(others)).rows[0].others > 0);
});

/** `test`, or a line that says why it is left out. */
function testWithRedis(title, run) {
  if (onPath('redis-server')) return test(title, run);
  console.warn(`SKIPPED: ${title}, because there is no redis-server on this system`);
  return test.skip(title, run);
}

testWithRedis('rate-limit-redis', async () => {
  const { createClient } = require('redis');
  const port = await freePort();
  const args = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const server = spawn('redis-server', args.map(String), { stdio: ['ignore', 'pipe', 'ignore'] });
  defer(() => server.kill());
  for await (const chunk of server.stdout) if (/Ready to accept/.test(chunk)) break;
  server.stdout.resume();
  const client = createClient({ url: `redis://127.0.0.1:${port}` });
  await client.connect();
  const sendCommand = (...command) => client.sendCommand(command);
  await behavesAsThere((name) => new RedisStore({ sendCommand, prefix: `${name}:` }));
  await client.close();
});

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

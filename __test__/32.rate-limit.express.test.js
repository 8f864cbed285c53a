'use strict';

// In real Express 4 and 5 apps, over HTTP, beside express-rate-limit.

const { once } = require('node:events');
const http = require('node:http');

const expressVersions = { 4: require('express4'), 5: require('express') };
const libraries = { reference: require('express-rate-limit'), ours: require('../rate-limit') };

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

const servers = [];

async function listen(app) {
  const server = app.listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return server.address().port;
}

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  jest.restoreAllMocks();
});

function get(port, path = '/', headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.get({ port, path, headers, agent: false }, async (response) => {
      const chunks = [];
      for await (const chunk of response) chunks.push(chunk);
      const { date, connection, ...seen } = response.headers;
      resolve({
        status: response.statusCode,
        headers: seen,
        body: Buffer.concat(chunks).toString(),
      });
    });
    request.on('error', reject);
  });
}

function appWith(express, limiters, prepare = () => {}) {
  const app = express();
  prepare(app);
  app.get('/ok', ...limiters, (request, response) => response.json(request.rateLimit ?? null));
  app.get('/fail', ...limiters, (_request, response) => response.status(500).send('failed'));
  app.use((error, _request, response, _next) => {
    response.status(500).json({ name: error.name, code: error.code });
  });
  return app;
}

/** What a client sees of the same requests, with each library. */
async function bothSee(express, makeLimiters, requests, prepare) {
  jest.spyOn(Date, 'now').mockReturnValue(NOW);
  const seen = {};
  for (const [name, library] of Object.entries(libraries)) {
    const codes = [];
    const log = (error) => codes.push(error.code ?? error.message);
    const logger = { error: log, warn: log };
    const port = await listen(appWith(express, makeLimiters(library, logger), prepare));
    seen[name] = { codes, responses: [] };
    for (const [path, headers] of requests) {
      seen[name].responses.push(await get(port, path, headers));
    }
  }
  return seen;
}

describe.each(Object.entries(expressVersions))('Express %s', (_version, express) => {
  const ok = ['/ok'];
  const four = [ok, ok, ok, ok];

  test.each([
    ['by default', {}, four],
    ['draft 6', { limit: 2, standardHeaders: true, legacyHeaders: false }, four],
    ['draft 7', { limit: 2, standardHeaders: 'draft-7', windowMs: 90_500 }, four],
    ['draft 8', { limit: 2, standardHeaders: 'draft-8', windowMs: 7_200_000 }, four],
    ['a JSON message', { limit: 1, message: { error: 'slow down' }, statusCode: 420 }, four],
    ['an async message', { limit: 1, message: async () => 'later' }, four],
    ['a message that fails', { limit: 1, message: () => Promise.reject(new Error('x')) }, four],
    ['an undefined limit', { limit: () => undefined }, four],
    [
      'an undefined key under draft 8',
      { keyGenerator: () => undefined, standardHeaders: 'draft-8' },
      [ok],
    ],
    ['a failing handler', { limit: 0, handler: () => Promise.reject(new RangeError('x')) }, [ok]],
    ['skipFailedRequests', { limit: 1, skipFailedRequests: true }, [['/fail'], ['/fail'], ok, ok]],
    ['skipSuccessfulRequests', { limit: 1, skipSuccessfulRequests: true }, [ok, ok, ['/fail'], ok]],
    ['a forwarded address', { limit: 1 }, [['/ok', { 'x-forwarded-for': '9.9.9.9' }], ok]],
  ])('the same to a client: %s', async (_what, options, requests) => {
    const makeLimiters = (library, logger) => [library.rateLimit({ ...options, logger })];
    const { reference, ours } = await bothSee(express, makeLimiters, requests);
    expect(ours).toEqual(reference);
    expect(reference.responses.length).toBe(requests.length);
  });

  test('the same to a client: two limiters on one route', async () => {
    const makeLimiters = ({ rateLimit }, logger) => [
      rateLimit({ limit: 5, standardHeaders: 'draft-8', logger }),
      rateLimit({
        limit: 2,
        windowMs: 1000,
        standardHeaders: 'draft-8',
        identifier: 'burst',
        logger,
      }),
    ];
    const { reference, ours } = await bothSee(express, makeLimiters, four);
    expect(ours).toEqual(reference);
    expect(ours.responses[0].headers['ratelimit-policy']).toMatch(/"5-in-1min".*, "burst"/);
  });

  test.each([
    [
      'one proxy trusted',
      1,
      ['1.1.1.1, 2.2.2.2', '3.3.3.3, 2.2.2.2', '2.2.2.2, 4.4.4.4'],
      [1, 2, 1],
    ],
    ['IPv6 networks', 1, ['2001:db8:0:1::1', '2001:db8:0:2::1', '2001:db8:1:100::1'], [1, 2, 1]],
    ['IPv4 in IPv6', 1, ['::ffff:9.8.7.6', '9.8.7.6', '::ffff:908:706'], [1, 2, 3]],
  ])('the same behind a proxy: %s', async (_what, trust, forwarded, used) => {
    const requests = forwarded.map((ip) => ['/ok', { 'x-forwarded-for': ip }]);
    const prepare = (app) => app.set('trust proxy', trust);
    const makeLimiters = ({ rateLimit }, logger) => [rateLimit({ logger })];
    const { reference, ours } = await bothSee(express, makeLimiters, requests, prepare);
    expect(ours).toEqual(reference);
    expect(ours.responses.map(({ body }) => JSON.parse(body).used)).toEqual(used);
  });

  test('the same complaints: made in a handler, and everybody trusted', async () => {
    const makeLimiters = ({ rateLimit }, logger) => [
      (request, response, next) => rateLimit({ logger })(request, response, next),
    ];
    const prepare = (app) => app.set('trust proxy', true);
    const { reference, ours } = await bothSee(express, makeLimiters, [ok], prepare);
    expect(ours).toEqual(reference);
    expect(ours.codes).toEqual([
      'ERR_ERL_CREATED_IN_REQUEST_HANDLER',
      'ERR_ERL_PERMISSIVE_TRUST_PROXY',
    ]);
  });

  test('a client that goes away has not used its hit up', async () => {
    const { rateLimit } = libraries.ours;
    const app = express();
    const store = new libraries.ours.MemoryStore();
    const given = new Promise((resolve) => {
      const decrement = store.decrement.bind(store);
      store.decrement = (key) => decrement(key).then(() => resolve(key));
    });
    app.use(rateLimit({ skipFailedRequests: true, store, validate: false }));
    const arrived = new Promise((resolve) => app.get('/hang', () => resolve()));
    const request = http.get({ port: await listen(app), path: '/hang', agent: false });
    request.on('error', () => {});
    await arrived;
    request.destroy();
    const key = await given;
    expect(await store.get(key)).toMatchObject({ totalHits: 0 });
  });

  test.each([['fixed-window'], ['sliding-window'], ['gcra']])(
    'fifty requests at once with a limit of ten: ten pass (%s)',
    async (algorithm) => {
      const limiter = libraries.ours.rateLimit({ limit: 10, algorithm, validate: false });
      const port = await listen(appWith(express, [limiter]));
      const seen = await Promise.all(Array.from({ length: 50 }, () => get(port, '/ok')));
      expect(seen.filter(({ status }) => status === 200)).toHaveLength(10);
      expect(seen.filter(({ status }) => status === 429)).toHaveLength(40);
    },
  );
});

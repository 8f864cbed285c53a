'use strict';

// What rateLimit() does where express-rate-limit does otherwise, and what two limiters, several
// requests at once and users' fake clocks make of it.

const reference = require('express-rate-limit');
const ours = require('../rate-limit');
const { FakeResponse, fakeRequest } = require('./rate-limit/fakes');

const { MemoryStore, rateLimit } = ours;

const quiet = { error: () => {}, warn: () => {} };

/** One request through a limiter: what became of it. */
async function hit(limiter, { ip = '1.2.3.4', headers, ...rest } = {}) {
  const request = { ...fakeRequest({ ip, headers }), ...rest };
  const response = new FakeResponse(() => {});
  const next = jest.fn();
  await limiter(request, response, next);
  return {
    passed: next.mock.calls.length === 1 && next.mock.calls[0][0] === undefined,
    error: next.mock.calls[0]?.[0],
    status: response.statusCode,
    info: request.rateLimit,
    request,
    response,
  };
}

function collecting() {
  const entries = [];
  const log = (level) => (error, message) => entries.push({ level, error, message });
  return { entries, logger: { error: log('error'), warn: log('warn') } };
}

describe('several requests at once', () => {
  const wait = () => new Promise((resolve) => setImmediate(resolve));

  test.each([
    ['nothing to wait for', {}],
    ['an async skip', { skip: async () => (await wait(), false) }],
    ['an async key', { keyGenerator: async () => (await wait(), 'key') }],
    ['an async limit', { limit: async () => (await wait(), 5) }],
  ])('of ten with a limit of five, five pass: %s', async (_name, options) => {
    const limiter = rateLimit({ limit: 5, logger: quiet, ...options });
    const hits = await Promise.all(Array.from({ length: 10 }, () => hit(limiter)));
    expect(hits.filter(({ passed }) => passed)).toHaveLength(5);
    expect(hits.map(({ info }) => info.used)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  test('a date in the request property is nobody else’s', async () => {
    const limiter = rateLimit({ limit: 5, logger: quiet });
    const first = await hit(limiter);
    const end = first.info.resetTime.getTime();
    first.info.resetTime.setTime(0);
    expect((await hit(limiter)).info.resetTime.getTime()).toBe(end);
  });
});

describe('with a clock that a test moves', () => {
  beforeEach(() => jest.useFakeTimers({ now: Date.UTC(2026, 0, 1) }));
  afterEach(() => jest.useRealTimers());

  test('windows follow it, and there is no timer', async () => {
    const limiter = rateLimit({ windowMs: 1000, limit: 1, logger: quiet });
    expect((await hit(limiter)).passed).toBe(true);
    expect((await hit(limiter)).passed).toBe(false);
    jest.advanceTimersByTime(999);
    expect((await hit(limiter)).passed).toBe(false);
    jest.advanceTimersByTime(1);
    expect((await hit(limiter)).passed).toBe(true);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('a year is a year', async () => {
    const year = 365 * 24 * 3600 * 1000;
    const { logger, entries } = collecting();
    const limiter = rateLimit({ windowMs: year, limit: 1, logger });
    expect((await hit(limiter)).passed).toBe(true);
    jest.advanceTimersByTime(year - 1);
    expect((await hit(limiter)).passed).toBe(false);
    jest.advanceTimersByTime(1);
    expect((await hit(limiter)).passed).toBe(true);
    // Said as express-rate-limit does, whose own store would not limit at all.
    expect(entries.map(({ error }) => error.code)).toContain('ERR_ERL_WINDOW_MS');
  });

  test('a clock set back keeps nobody out for longer', async () => {
    const limiter = rateLimit({ windowMs: 1000, limit: 1, logger: quiet });
    await hit(limiter);
    jest.setSystemTime(Date.UTC(2020, 0, 1));
    const refused = await hit(limiter);
    expect(refused.passed).toBe(false);
    expect(refused.info.resetTime.getTime()).toBe(Date.UTC(2020, 0, 1) + 1000);
    jest.advanceTimersByTime(1000);
    expect((await hit(limiter)).passed).toBe(true);
  });
});

describe('keys of all kinds', () => {
  const symbol = Symbol('s');
  const object = {};
  const keys = [
    '',
    '1',
    1,
    1.5,
    NaN,
    'NaN',
    undefined,
    'undefined',
    null,
    'null',
    true,
    'true',
    1n,
    2n,
    symbol,
    Symbol.for('s'),
    object,
    {},
    () => {},
    'key',
    'key\0',
    'Key',
    '\ud800',
    '\ud801',
    '\udc00',
    'k'.repeat(100_000),
    'k'.repeat(100_001),
    '🙂',
    'k'.repeat(126),
    'k'.repeat(127),
    'k'.repeat(128),
    'k'.repeat(129),
  ];

  test('each is counted on its own, and as the same again', async () => {
    const store = new MemoryStore();
    store.init({ windowMs: 60_000 });
    for (const key of keys) expect(await store.increment(key)).toMatchObject({ totalHits: 1 });
    for (const key of keys) expect(await store.increment(key)).toMatchObject({ totalHits: 2 });
    expect(store.size).toBe(keys.length);
    for (const key of keys) await store.decrement(key);
    for (const key of keys) expect(await store.get(key)).toMatchObject({ totalHits: 1 });
    await store.resetKey(undefined);
    expect(await store.get(undefined)).toBeUndefined();
    expect(await store.get('undefined')).toMatchObject({ totalHits: 1 });
    expect(await store.increment(-0)).toEqual(
      await store.decrement(0).then(() => store.increment(0)),
    );
  });

  test.each([['sliding-window'], ['gcra']])('and so under %s', async (algorithm) => {
    let key;
    const limiter = rateLimit({ limit: 1, algorithm, keyGenerator: () => key, logger: quiet });
    for (key of keys) expect((await hit(limiter)).passed).toBe(true);
    for (key of keys) expect((await hit(limiter)).passed).toBe(false);
  });
});

describe('MemoryStore', () => {
  test('works before init, in a window without end', async () => {
    const store = new MemoryStore();
    const { totalHits, resetTime } = await store.increment('a');
    expect(totalHits).toBe(1);
    expect(resetTime.getTime()).toBeNaN();
    expect(store.windowMs).toBeUndefined();
    expect(store.localKeys).toBe(true);
  });

  test.each([[-1], [0]])('a window of %d ms ends at once', async (windowMs) => {
    const store = new MemoryStore();
    store.init({ windowMs });
    await store.increment('a');
    expect((await store.increment('a')).totalHits).toBe(1);
  });

  test('resetAll and shutdown forget everything, and it can be used again', async () => {
    const store = new MemoryStore();
    store.init({ windowMs: 1000 });
    await store.increment('a');
    await store.resetAll();
    expect(await store.get('a')).toBeUndefined();
    await store.increment('a');
    expect(store.shutdown()).toBeUndefined();
    expect((await store.increment('a')).totalHits).toBe(1);
  });

  test('a store that is watched or overridden is asked as any other', async () => {
    const store = new MemoryStore();
    const increment = jest.spyOn(store, 'increment');
    const limiter = rateLimit({ store, logger: quiet });
    await hit(limiter);
    expect(increment).toHaveBeenCalledWith('1.2.3.4');

    const watched = jest.spyOn(MemoryStore.prototype, 'increment');
    watched.mockRejectedValueOnce(new Error('the store is down'));
    const open = rateLimit({ passOnStoreError: true, logger: quiet });
    expect(await hit(open)).toMatchObject({ passed: true, info: undefined });
    expect((await hit(open)).info.used).toBe(1);
    expect(watched).toHaveBeenCalledTimes(2);
    watched.mockRestore();

    class Doubling extends MemoryStore {
      async increment(key) {
        await super.increment(key);
        return super.increment(key);
      }
    }
    const doubling = rateLimit({ store: new Doubling(), limit: 3, logger: quiet });
    expect((await hit(doubling)).info.used).toBe(2);
    expect((await hit(doubling)).passed).toBe(false);
  });

  test('when it is full, new keys share one count, and it says so once a minute', async () => {
    jest.useFakeTimers();
    const { entries, logger } = collecting();
    const limiter = rateLimit({ limit: 2, windowMs: 200_000, maxKeys: 3, validate: false, logger });
    for (let i = 0; i < 3; i += 1) await hit(limiter, { ip: `1.1.1.${i}` });
    const shared = [];
    for (let i = 0; i < 3; i += 1) shared.push(await hit(limiter, { ip: `2.2.2.${i}` }));
    expect(shared.map(({ info }) => info.used)).toEqual([1, 2, 3]);
    expect((await hit(limiter, { ip: '1.1.1.0' })).info.used).toBe(2);
    const told = () => entries.filter(({ error }) => error.code === 'WRN_RATE_LIMIT_KEYS').length;
    expect(told()).toBe(1);
    jest.advanceTimersByTime(60_000);
    await hit(limiter, { ip: '3.3.3.3' });
    expect(told()).toBe(2);
    jest.advanceTimersByTime(200_000);
    expect((await hit(limiter, { ip: '3.3.3.3' })).info.used).toBe(1);
    expect(entries.every(({ level }) => level === 'warn')).toBe(true);
    jest.useRealTimers();
  });

  test('what nobody holds any more is freed, and hits leave nothing behind', () => {
    const script = `
      const { MemoryStore, createRateLimiter } = require('.');
      const idle = async () => {
        for (let i = 0; i < 5; i += 1) {
          global.gc();
          await new Promise((resolve) => setImmediate(resolve));
        }
        return process.memoryUsage().rss;
      };
      const make = async (count) => {
        for (let i = 0; i < count; i += 1) {
          const store = new MemoryStore();
          await store.increment('a');
          await createRateLimiter({ algorithm: 'sliding-window' }).acquire('a');
          if (i % 500 === 0) await idle();
        }
        return idle();
      };
      (async () => {
        const before = await make(1000);
        const after = await make(4000);
        const store = new MemoryStore();
        await idle();
        for (let i = 0; i < 100_000; i += 1) await store.increment('k' + (i % 100));
        console.log(JSON.stringify({ objects: after - before, hits: (await idle()) - after }));
      })();
    `;
    const cwd = require('node:path').join(__dirname, '..');
    const { execFileSync } = require('node:child_process');
    const grown = JSON.parse(
      execFileSync(process.execPath, ['--expose-gc', '-e', script], { cwd }),
    );
    // Kept, they would be 60 MB.
    expect(grown.objects).toBeLessThan(15e6);
    expect(grown.hits).toBeLessThan(15e6);
  });

  test.each([[0], [1.5], [-1], ['many'], [2 ** 32]])('maxKeys %p is refused', (maxKeys) => {
    expect(() => new MemoryStore({ maxKeys })).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_OPTION', option: 'maxKeys' }),
    );
  });
});

describe('what a limiter is', () => {
  test('has the shape of express-rate-limit’s', () => {
    for (const library of [reference, ours]) {
      const limiter = library.rateLimit();
      expect(limiter).toHaveLength(3);
      expect(Object.keys(limiter)).toEqual(['resetKey', 'getKey']);
    }
    expect(Object.keys(ours).sort()).toEqual(
      [...Object.keys(reference), 'createRateLimiter'].sort(),
    );
    expect(typeof ours).toBe('function');
    expect(ours.default).toBe(ours.rateLimit);
    expect(require('..').rateLimit({ limit: 1 })).toHaveLength(3);
  });

  test('does not change the options it is given, nor is it changed through those it shows', async () => {
    const options = Object.freeze({ limit: 1, statusCode: 420, handler: undefined, logger: quiet });
    expect((await hit(rateLimit(options))).passed).toBe(true);

    const store = { init: (used) => Object.assign(used, { limit: 100 }), ...countingStore() };
    const limiter = rateLimit({ limit: 1, store, logger: quiet });
    await hit(limiter);
    expect((await hit(limiter)).passed).toBe(false);
  });

  test('can be swapped in by name', () => {
    jest.isolateModules(() => {
      jest.doMock('express-rate-limit', () => jest.requireActual('../rate-limit'));
      const mapped = require('express-rate-limit');
      expect(mapped({ limit: 1 })).toHaveLength(3);
      expect(mapped.ipKeyGenerator('::1')).toBe('::/56');
      jest.dontMock('express-rate-limit');
    });
  });

  test('is there for import, too', async () => {
    const { execFileSync } = require('node:child_process');
    const script = `
      import limit, { rateLimit, MemoryStore, ipKeyGenerator } from 'baileys-guard/rate-limit';
      console.log(limit === rateLimit, typeof MemoryStore, ipKeyGenerator('1.2.3.4'));
    `;
    const args = ['--input-type=module', '-e', script];
    const cwd = require('node:path').join(__dirname, '..');
    expect(execFileSync(process.execPath, args, { cwd, encoding: 'utf8' })).toBe(
      'true function 1.2.3.4\n',
    );
  });
});

function countingStore() {
  let totalHits = 0;
  return {
    increment: () => ({ totalHits: (totalHits += 1), resetTime: undefined }),
    decrement: () => {},
    resetKey: () => {},
  };
}

describe.each([
  ['express-rate-limit', reference],
  ['baileys-guard', ours],
])('limiters that meet, in %s', (_name, library) => {
  function log() {
    const { entries, logger } = collecting();
    return { logger, codes: () => entries.map(({ error }) => error.code) };
  }

  test('a store of two limiters is told', () => {
    const store = new library.MemoryStore();
    const { codes, logger } = log();
    library.rateLimit({ store, logger });
    library.rateLimit({ store, logger });
    expect(codes()).toEqual(['ERR_ERL_STORE_REUSE']);
  });

  test('a request that is counted twice under one key is told', async () => {
    const { codes, logger } = log();
    const store = () => Object.assign(new (class Same {})(), countingStore());
    const one = library.rateLimit({ store: store(), logger });
    const two = library.rateLimit({ store: store(), logger });
    const request = fakeRequest({ ip: '1.2.3.4' });
    for (const limiter of [one, two]) {
      await limiter(request, new FakeResponse(() => {}), () => {});
    }
    expect(codes()).toEqual(['ERR_ERL_DOUBLE_COUNT']);
  });

  test.each([[0], [-5], [NaN], ['60000'], [2 ** 31]])('a windowMs of %p is told', (windowMs) => {
    const { codes, logger } = log();
    library.rateLimit({ windowMs, logger });
    expect(codes()).toEqual(['ERR_ERL_WINDOW_MS']);
  });

  test.each([
    ['req.ip', (req) => req.ip, ['ERR_ERL_KEY_GEN_IPV6']],
    ['ipKeyGenerator', (req) => library.ipKeyGenerator(req.ip), []],
  ])('a keyGenerator with %s', (_what, keyGenerator, expected) => {
    const { codes, logger } = log();
    library.rateLimit({ keyGenerator, logger });
    expect(codes()).toEqual(expected);
  });

  test.each([
    ['no store', { store: { increment() {} } }],
    ['no store by name', { store: 'redis' }],
    ['an init that is no function', { store: { ...countingStore(), init: 'x' } }],
    ['no logger', { logger: { error() {} } }],
  ])('%s throws a TypeError', (_what, options) => {
    expect(() => library.rateLimit(options)).toThrow(TypeError);
  });

  test('without a logger it speaks to the console, message first', async () => {
    const error = jest.spyOn(console, 'error').mockImplementation(() => {});
    const failure = new Error('down');
    const store = { ...countingStore(), increment: () => Promise.reject(failure) };
    const limiter = library.rateLimit({ store, passOnStoreError: true, validate: false });
    expect((await hit(limiter)).passed).toBe(true);
    expect(error.mock.calls).toEqual([
      ['express-rate-limit: error from store, allowing request without rate-limiting.', failure],
    ]);
    error.mockRestore();
  });
});

describe('options of our own', () => {
  test.each([
    [{ algorithm: 'leaky' }, 'algorithm'],
    [{ algorithm: 'gcra', store: countingStore() }, 'algorithm'],
    [{ burst: 3 }, 'burst'],
    [{ burst: 3, algorithm: 'sliding-window' }, 'burst'],
    [{ burst: 0, algorithm: 'gcra' }, 'burst'],
    [{ burst: 2 ** 31, limit: 1, windowMs: 1e12, algorithm: 'gcra' }, 'burst'],
    [{ limit: 1.5, algorithm: 'gcra' }, 'limit'],
    [{ limit: Infinity, algorithm: 'sliding-window' }, 'limit'],
    [{ windowMs: 0, algorithm: 'sliding-window' }, 'windowMs'],
    [{ windowMs: Infinity, algorithm: 'gcra' }, 'windowMs'],
    [{ name: '' }, 'name'],
    [{ name: '', store: 'database' }, 'name'],
    [{ insurance: 'memory' }, 'insurance'],
    [{ insurance: 'redis', store: 'database' }, 'insurance'],
    [{ maxKeys: 3, store: 'database' }, 'maxKeys'],
    [{ maxKeys: 3, store: countingStore() }, 'maxKeys'],
    [{ maxKeys: 0.5 }, 'maxKeys'],
  ])('%j is refused, by name', (options, option) => {
    expect(() => rateLimit({ logger: quiet, ...options })).toThrow(
      expect.objectContaining({ name: 'GuardError', code: 'ERR_INVALID_OPTION', option }),
    );
  });
});

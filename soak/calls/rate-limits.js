'use strict';

// Limiters: counted in native tables, which forget by themselves.

const { setMaxListeners } = require('node:events');
const { IncomingMessage, ServerResponse } = require('node:http');
const { Socket } = require('node:net');

const library = require('../..');
const compatible = require('../../rate-limit');
const { costly, refusal, repeat } = require('./repeat');

const COMMIT = 'every call commits to the database';
const SILENT = { warn() {}, error() {} };
const ALGORITHMS = ['fixed-window', 'sliding-window', 'gcra'];

const rule = (n) => ({ windowMs: 200, limit: 5, algorithm: ALGORITHMS[n % 3], logger: SILENT });
const middlewareOptions = (n) => ({ ...rule(n), validate: false, keyGenerator: ({ key }) => key });

/** Half of the hits on ever new keys, half on one that is over its limit. */
const keyOf = (n) => (n % 2 ? `key-${n}` : 'busy');

function hit(limit) {
  const request = new IncomingMessage(new Socket());
  return (n) => {
    request.key = keyOf(n);
    return limit(request, new ServerResponse(request), () => {});
  };
}

function limiterWork(call, refused = () => []) {
  return ({ guard }) => {
    const limiters = ALGORITHMS.map((_, n) => guard.createRateLimiter(rule(n)));
    return repeat((n) => call(limiters[n % 3], n), { refused: refused(limiters[0]) });
  };
}

function storeWork(call) {
  return () => {
    const store = new library.MemoryStore({ maxKeys: 10_000 });
    store.init({ windowMs: 200, logger: SILENT });
    return repeat((n) => call(store, keyOf(n)));
  };
}

const onGuard = {
  rateLimit: ({ guard }) =>
    repeat((n) => guard.rateLimit(middlewareOptions(n)), {
      refused: [() => guard.rateLimit({ ...rule(0), algorithm: 'leaky-bucket' })],
    }),
  createRateLimiter: ({ guard }) =>
    repeat((n) => guard.createRateLimiter(rule(n)), {
      refused: [() => guard.createRateLimiter({ limit: 0 })],
    }),
};

const others = {
  'rate-limit': () => repeat((n) => compatible(middlewareOptions(n))),
  ipKeyGenerator: () =>
    repeat((n) => library.ipKeyGenerator(n % 2 ? '192.0.2.1' : `2001:db8:${(n % 9999) + 1}::1`)),

  RateLimitRequestHandler: ({ guard }) => {
    const hits = ALGORITHMS.map((_, n) => hit(guard.rateLimit(middlewareOptions(n))));
    return repeat((n) => hits[n % 3](n));
  },
  'RateLimitRequestHandler, in the database': costly(10, COMMIT, ({ guard }) => {
    const limit = guard.rateLimit({ ...middlewareOptions(0), store: 'database', name: 'hits' });
    return repeat(hit(limit), { together: 50 });
  }),
  'RateLimitRequestHandler.resetKey': ({ guard }) => {
    const limit = guard.rateLimit(middlewareOptions(0));
    return repeat((n) => limit.resetKey(keyOf(n)));
  },
  'RateLimitRequestHandler.getKey': async ({ guard }) => {
    const limit = guard.rateLimit(middlewareOptions(0));
    await hit(limit)(0);
    return repeat((n) => limit.getKey(keyOf(n)));
  },

  MemoryStore: () =>
    repeat(
      (n) => {
        const store = new library.MemoryStore();
        store.init({ windowMs: 200 });
        return store.increment(keyOf(n));
      },
      { refused: [() => new library.MemoryStore({ maxKeys: 0 })] },
    ),
  'MemoryStore.init': storeWork((store) => store.init({ windowMs: 200, logger: SILENT })),
  'MemoryStore.increment': storeWork((store, key) => store.increment(key)),
  'MemoryStore.decrement': storeWork((store, key) => store.decrement(key)),
  'MemoryStore.get': storeWork((store, key) => store.get(key)),
  'MemoryStore.resetKey': storeWork((store, key) => store.resetKey(key)),
  'MemoryStore.resetAll': storeWork((store) => store.resetAll()),
  'MemoryStore.shutdown': storeWork((store) => store.shutdown()),
  'MemoryStore.size': storeWork((store) => store.size),

  'RateLimiter.consume': limiterWork(
    (limiter, n) => limiter.consume(keyOf(n)),
    (limiter) => [() => limiter.consume('key', 0), () => limiter.consume('key', 6)],
  ),
  'RateLimiter.consume, in the database': costly(10, COMMIT, ({ guard }) => {
    const limiter = guard.createRateLimiter({ ...rule(0), store: 'database', name: 'points' });
    return repeat((n) => limiter.consume(keyOf(n)), { together: 50 });
  }),
  'RateLimiter.peek': limiterWork((limiter, n) => limiter.peek(keyOf(n))),
  'RateLimiter.reset': limiterWork((limiter, n) => limiter.reset(keyOf(n))),
  'RateLimiter.acquire': ({ guard }) => {
    // Those after the first wait in line until they are called away, or find it full.
    const limiter = guard.createRateLimiter({ limit: 1, windowMs: 60_000, maxQueue: 150 });
    let n = 0;
    return async () => {
      const away = new AbortController();
      setMaxListeners(0, away.signal);
      const key = `key-${n++}`;
      const acquire = () => limiter.acquire(key, { signal: away.signal, onProgress() {} });
      const first = await acquire();
      const waiting = Array.from({ length: 198 }, () =>
        acquire().catch(({ code, name }) => code ?? name),
      );
      away.abort();
      await Promise.all(waiting);
      await refusal(() => limiter.acquire(key, { points: 2 }));
      return first.allowed ? 200 : 0;
    };
  },
  'RateLimiter.pending': limiterWork((limiter, n) => [
    limiter.pending(),
    limiter.pending(keyOf(n)),
  ]),
  'RateLimiter.close': ({ guard }) =>
    repeat(async (n) => {
      const limiter = guard.createRateLimiter({ ...rule(n), windowMs: 60_000 });
      await limiter.consume('key', 5);
      const waiting = refusal(() => limiter.acquire('key'));
      limiter.close();
      await waiting;
    }),
};

module.exports = { onGuard, others };

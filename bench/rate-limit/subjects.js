'use strict';

// What is compared: middleware and stores of three libraries, made alike.

const LIMIT = 1e9; // nothing is refused: every call does the whole work
const WINDOW_MS = 600_000;

/**
 * No limiter, but what can be seen of one that answers as express-rate-limit does by default: no
 * options, no errors, no expiry, a Map that grows. One in JavaScript can hardly cost less.
 */
function leastWork() {
  const counts = new Map();
  let second, date;
  return (request, response, next) => {
    const key = request.ip;
    const now = Date.now();
    let count = counts.get(key);
    if (count === undefined) counts.set(key, (count = { hits: 0, resetAt: now + WINDOW_MS }));
    const used = (count.hits += 1);
    const [limit, remaining] = [LIMIT, LIMIT - used];
    const info = { limit, used, remaining, resetTime: new Date(count.resetAt), key };
    Object.defineProperty(info, 'current', { value: used });
    request.rateLimit = info;
    if (second !== Math.floor(now / 1000)) {
      second = Math.floor(now / 1000);
      date = new Date(now).toUTCString();
    }
    response.setHeader('X-RateLimit-Limit', limit.toString());
    response.setHeader('X-RateLimit-Remaining', remaining.toString());
    response.setHeader('Date', date);
    response.setHeader('X-RateLimit-Reset', Math.ceil(count.resetAt / 1000).toString());
    next();
  };
}

const SUBJECTS = {
  ours: {
    middleware: () =>
      require('../..').rateLimit({ limit: LIMIT, windowMs: WINDOW_MS, validate: false }),
    store() {
      const store = new (require('../..').MemoryStore)({ maxKeys: 4_000_000 });
      store.init({ windowMs: WINDOW_MS });
      return (key) => store.increment(key);
    },
  },
  'express-rate-limit': {
    middleware: () =>
      require('express-rate-limit').rateLimit({
        limit: LIMIT,
        windowMs: WINDOW_MS,
        validate: false,
      }),
    store() {
      const store = new (require('express-rate-limit').MemoryStore)();
      store.init({ windowMs: WINDOW_MS });
      return (key) => store.increment(key);
    },
  },
  'rate-limiter-flexible': {
    // It has no middleware of its own; this is the one its documentation shows, with the headers.
    middleware() {
      const { RateLimiterMemory } = require('rate-limiter-flexible');
      const limiter = new RateLimiterMemory({ points: LIMIT, duration: WINDOW_MS / 1000 });
      return (request, response, next) =>
        limiter
          .consume(request.ip)
          .then((result) => {
            response.setHeader('X-RateLimit-Limit', String(LIMIT));
            response.setHeader('X-RateLimit-Remaining', String(result.remainingPoints));
            const resetAt = Math.ceil((Date.now() + result.msBeforeNext) / 1000);
            response.setHeader('X-RateLimit-Reset', String(resetAt));
            next();
          })
          .catch(() => response.status(429).send('Too Many Requests'));
    },
    store() {
      const { RateLimiterMemory } = require('rate-limiter-flexible');
      const limiter = new RateLimiterMemory({ points: LIMIT, duration: WINDOW_MS / 1000 });
      return (key) => limiter.consume(key);
    },
  },
  'the least work': { middleware: leastWork },
};

const address = (i) => `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;

module.exports = { SUBJECTS, address };

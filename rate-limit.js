'use strict';

// `baileys-guard/rate-limit`: what `require('express-rate-limit')` gives, so that mapping the one
// module name to the other is enough.

const guard = require('./index');

const { MemoryStore, ipKeyGenerator, createRateLimiter } = guard;
const rateLimit = (options) => guard.rateLimit(options);

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

module.exports = Object.assign(rateLimit, {
  default: rateLimit,
  rateLimit,
  MemoryStore,
  ipKeyGenerator,
  createRateLimiter,
  SECOND,
  MINUTE,
  HOUR,
  DAY,
});

'use strict';

// `baileys-guard/rate-limit`: what `require('express-rate-limit')` gives, so that mapping the one
// module name to the other is enough.

const { MemoryStore, ipKeyGenerator, createRateLimiter } = require('./index');
const { limits } = require('./lib/default-guard');

/** As express-rate-limit's it knows of no guard, and goes on after the end of one. */
const rateLimit = (options) => limits.rateLimit(options);

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

'use strict';

// The public face: every name one by one, so that bundlers, ESM and readers find it.

const errors = require('./lib/errors');

module.exports.GuardError = errors.GuardError;
module.exports.AgentInUseError = errors.AgentInUseError;
module.exports.ClaimLostError = errors.ClaimLostError;
module.exports.DecryptionError = errors.DecryptionError;

const rateLimits = require('./lib/rate-limit');
const { invalidOption } = errors;

// The database's side of `store: 'database'` is set here once a guard has a store to give.
const databaseLimits = rateLimits.createDatabaseLimits(() => {
  throw invalidOption('store', 'no database is configured');
});

module.exports.rateLimit = rateLimits.createRateLimit(databaseLimits);
module.exports.createRateLimiter = rateLimits.createRateLimiterFactory(databaseLimits);
module.exports.MemoryStore = rateLimits.MemoryStore;
module.exports.ipKeyGenerator = rateLimits.ipKeyGenerator;
